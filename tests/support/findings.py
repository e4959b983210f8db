"""Examples of findings, applied to the world `hello` of the goldens."""

from __future__ import annotations

from collections.abc import Iterable

from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.host import manifests
from ambientlab.host.merging import as_kubectl
from ambientlab.mesh.analysis import ANALYSERS, Finding, analyse
from ambientlab.mesh.foreseen import foreseen
from ambientlab.mesh.index import index
from support.decisions import GOLDEN, KINDS, world

HERE = GOLDEN / "findings"


def with_example(name: str) -> dict[Resource, list[Object]]:
    path = HERE / f"{name}.yaml"
    written = manifests.read([(path.name, path.read_text())])
    assert written.problems == ()
    return foreseen(by_resource(world()), written.objects, as_kubectl)


def by_resource(objects: Iterable[Object]) -> dict[Resource, list[Object]]:
    found: dict[Resource, list[Object]] = {}
    for obj in objects:
        found.setdefault(KINDS[(obj["apiVersion"], obj["kind"])], []).append(obj)
    return found


def found(name: str) -> tuple[Finding, ...]:
    return analyse(index(with_example(name)), ANALYSERS)
