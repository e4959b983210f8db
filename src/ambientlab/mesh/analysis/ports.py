"""Routes and the ports they are for."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import SERVICE
from ambientlab.mesh.analysis import codes, cures
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.explain import Remedy, remedies
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.index.drafts import RouteSet
from ambientlab.mesh.ir import AppProtocol


def analyse(index: MeshIndex) -> Iterator[Finding]:
    """Ports with routes for requests that nobody says carry any."""
    for host, number in sorted(index.mesh.routes.keys()):
        service = index.mesh.services[host]
        port = service.port(number)
        if port is None or port.protocol is not AppProtocol.UNDECLARED or service.kind != SERVICE.kind:
            continue
        ref = ObjectRef(service.kind, *service.key)
        name = f"its name {port.name} does not say" if port.name else "it has no name that says"
        message = f"there are HTTP routes for port {number}, and {name} what it carries"
        yield Finding(
            codes.UNDECLARED_PROTOCOL, ref, message, _field(index, ref, number), (_declare(index, ref, number),)
        )


def named(index: MeshIndex, diagnostic: Diagnostic) -> bool:
    """Whether the ports that a route without effect is for are there, so that it is about what they carry."""
    shape = index.shapes.get(diagnostic.host)
    wanted = _wanted(index, diagnostic)
    return shape is not None and any(number == 0 or shape.port(number) is not None for number in wanted)


def there(index: MeshIndex, host: str) -> str:
    shape = index.shapes[host]
    found = ", ".join(f"{port.number} ({port.protocol})" for port in shape.ports)
    return f"{shape.kind} {shape.key} has {found or 'no port'}"


def moved(index: MeshIndex, diagnostic: Diagnostic) -> Iterator[Remedy]:
    """To the only port of the parent."""
    shape = index.shapes[diagnostic.host]
    if len(shape.ports) == 1 and diagnostic.field.startswith("spec.parentRefs["):
        number = shape.ports[0].number
        command = remedies.patch(diagnostic.object, ("replace", f"{cures.pointer(diagnostic.field)}/port", number))
        yield Remedy(f"attach it to port {number}", (command,))


def declared(index: MeshIndex, diagnostic: Diagnostic) -> Iterator[Remedy]:
    """That the ports carry HTTP, if an HTTP route is for them."""
    shape = index.shapes[diagnostic.host]
    if shape.kind != SERVICE.kind or not any(s.drafts for s in _sets(index, diagnostic)):
        return
    wanted = _wanted(index, diagnostic)
    for port in shape.ports:
        if port.number in wanted or 0 in wanted:
            yield _declare(index, ObjectRef(shape.kind, *shape.key), port.number)


def _declare(index: MeshIndex, ref: ObjectRef, number: int) -> Remedy:
    field = _field(index, ref, number)
    command = remedies.patch(ref, ("add", f"{cures.pointer(field)}/appProtocol", "http"))
    return Remedy(f"say that port {number} of {ref.name} carries HTTP", (command,))


def _field(index: MeshIndex, ref: ObjectRef, number: int) -> str:
    spec = (remedies.object_of(index, ref) or {"spec": {}})["spec"]
    return next((f"spec.ports[{i}]" for i, p in enumerate(spec.get("ports") or ()) if p.get("port") == number), "")


def _sets(index: MeshIndex, diagnostic: Diagnostic) -> list[RouteSet]:
    asking = index.routes.asking(index.graph.reader(), diagnostic.host)
    return [s for s in asking if s.origin == diagnostic.object]


def _wanted(index: MeshIndex, diagnostic: Diagnostic) -> set[int]:
    """The ports that what is said to be without effect asks for; 0 is any."""
    found: set[int] = set()
    for asking in _sets(index, diagnostic):
        if asking.field == diagnostic.field:
            found |= {draft.port for draft in asking.drafts}
        for rule in (*asking.tls, *asking.tcp):
            if rule.field == diagnostic.field:
                found |= {number for number, _ in rule.matches} or {0}
    return found
