"""Names of services that mean nothing where they are written."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.mesh.analysis import cures
from ambientlab.mesh.explain import Remedy, remedies
from ambientlab.mesh.index import Diagnostic, MeshIndex
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.values import host_of


def completed(index: MeshIndex, diagnostic: Diagnostic) -> Iterator[Remedy]:
    """The name of the only service that may be meant: one of that name in another namespace."""
    ref, field = diagnostic.object, diagnostic.field
    spec = (remedies.object_of(index, ref) or {"spec": {}})["spec"]
    if diagnostic.reason == "HostNotFound":
        written = [(f"/spec/hosts/{i}", host) for i, host in enumerate(spec.get("hosts") or ())]
        written += [("/spec/host", spec["host"])] if "host" in spec else []
        for path, host in written:
            full = host_of(host, ref.namespace, index.domain)
            meant = _named(index, host.partition(".")[0])
            if full not in index.shapes and full in diagnostic.message.split() and meant is not None:
                command = remedies.patch(ref, ("replace", path, meant.host))
                yield Remedy(f"name {meant.host} in full", (command,))
    elif diagnostic.reason == "NoMatchingParent":
        number = int(next(step for step in cures.steps(field) if step.isdecimal()))
        parent = spec["parentRefs"][number]
        meant = _named(index, parent["name"])
        if meant is not None and meant.kind == parent.get("kind"):
            command = remedies.patch(ref, ("add", f"{cures.pointer(field)}/namespace", meant.key.namespace))
            yield Remedy(f"attach it to {meant.kind} {meant.key}", (command,))


def _named(index: MeshIndex, name: str) -> Shape | None:
    found = [shape for shape in index.shapes.values() if shape.key.name == name]
    return found[0] if len(found) == 1 else None
