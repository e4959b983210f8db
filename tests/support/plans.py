"""Plans for the lab's cluster as commands make it, without an API: objects are as manifests are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ambientlab.cli.plan.report import Report
from ambientlab.host import manifests
from ambientlab.host.rehearsal import Outcome
from ambientlab.mesh.foreseen import Change
from ambientlab.mesh.index.coverage import name_of
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan import Connection, denials, plan
from support.decisions import KINDS
from support.typed_lab import TypedLab


def planned(
    made: TypedLab,
    text: str = "",
    namespace: str = "default",
    deleted: Iterable[tuple[str, str, str]] = (),
    seen: Iterable[Connection] = (),
    file: str = "plan.yaml",
) -> Report:
    """`deleted` are kinds, namespaces and names; the text is that of `file`."""
    index = made.index()
    read = manifests.read([(file, text)], namespace)
    outcomes = []
    for resource, some in read.objects.items():
        for obj in some:
            key = Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            old = made.objects.get((resource.kind, *key))
            outcomes.append(Outcome(Change(resource, key, old, obj), "created" if old is None else "configured"))
    for kind, home, name in deleted:
        resource = next(r for r in KINDS.values() if name_of(r.group, r.kind) == kind)
        old = made.objects[(kind, home, name)]
        outcomes.append(Outcome(Change(resource, Key(home, name), old, None), "deleted"))
    result = plan(index, [outcome.change for outcome in outcomes])
    report = Report(result, tuple(outcomes), read.problems, index)
    return replace(report, denied=tuple(denials(result.comparison, seen)))
