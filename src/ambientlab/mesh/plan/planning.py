"""What a change of objects does to traffic, and what of it does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ambientlab.mesh.analysis import ANALYSERS, Finding, Severity, analyse
from ambientlab.mesh.foreseen import Change, foresee
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.coverage import name_of
from ambientlab.mesh.ir import Mesh
from ambientlab.mesh.plan.comparing import Comparison, compare


@dataclass(frozen=True, slots=True)
class Plan:
    """`before` is the mesh as it is. `warnings` are findings about the objects that change, as they are to be, and
    those that there are only then."""

    before: Mesh
    comparison: Comparison
    warnings: tuple[Finding, ...]


def plan(index: MeshIndex, changes: Sequence[Change]) -> Plan:
    """The index is of the mesh as it is, and then of the mesh as it is to be."""
    known = frozenset(analyse(index, ANALYSERS))
    before = index.mesh.snapshot()
    for resource, key, obj in foresee(index.sources, changes):
        if obj is not None:
            index.put(resource, obj)
        elif (old := index.sources[resource].get(key)) is not None:
            index.remove(resource, old)
    index.settle()
    return Plan(before, compare(before, index.mesh, index.domain), tuple(_warnings(index, changes, known)))


def _warnings(index: MeshIndex, changes: Sequence[Change], known: frozenset[Finding]) -> list[Finding]:
    changed = {ref_of(change) for change in changes if change.new is not None}
    return [
        finding
        for finding in analyse(index, ANALYSERS)
        if (finding.object in changed and finding.code.severity is not Severity.INFO) or finding not in known
    ]


def ref_of(change: Change) -> ObjectRef:
    return ObjectRef(name_of(change.resource.group, change.resource.kind), *change.key)
