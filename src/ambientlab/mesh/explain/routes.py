"""Routes that were meant for a request: which decided, and what kept the others from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from ambientlab.api.kinds import GATEWAY_GROUP, GRPCROUTE, HTTPROUTE, SERVICE, TCPROUTE, TLSROUTE, VIRTUALSERVICE
from ambientlab.api.objects import Object
from ambientlab.mesh.decide import Candidate
from ambientlab.mesh.explain import remedies, words
from ambientlab.mesh.explain.explanation import Cause, Finding, Remedy
from ambientlab.mesh.explain.scope import Scope
from ambientlab.mesh.index import Diagnostic, ObjectRef, candidates, resolve
from ambientlab.mesh.index.drafts import RouteSet
from ambientlab.mesh.index.gatewayroute import TO_A_WAYPOINT, precedence
from ambientlab.mesh.index.values import host_of, service_host
from ambientlab.mesh.ir import Destination, Forward, Key

_GATEWAY_API = (HTTPROUTE, GRPCROUTE, TCPROUTE, TLSROUTE)
_WHOLE = frozenset(
    {
        Cause.NO_WAYPOINT,
        Cause.WAYPOINT_NOT_READY,
        Cause.WAYPOINT_REFUSES,
        Cause.WRONG_NAMESPACE,
        Cause.NOT_EXPORTED,
        Cause.SHADOWED,
        Cause.OTHER_PORT,
        Cause.NEVER_MATCHES,
    }
)
_PLACES = (
    "VirtualServices that are private to the waypoint's namespace",
    "VirtualServices that are exported to the waypoint's namespace",
    "routes of the Gateway API in the waypoint's namespace",
)
_NO_EFFECT_OF_ITS_OWN = frozenset({"ResolvedWaypoints", "OtherController", TO_A_WAYPOINT})
_SAID_TWICE = frozenset({Cause.NO_WAYPOINT, Cause.WAYPOINT_NOT_READY, Cause.WAYPOINT_REFUSES})


def findings(scope: Scope) -> Iterator[Finding]:
    if not scope.host:
        return
    heard: set[ObjectRef] = set()
    for asking in scope.index.routes.asking(scope.ctx, scope.host):
        heard.add(asking.origin)
        yield from _of_set(scope, asking)
    yield from _missing(scope)
    yield from _not_for_mesh(scope, heard)
    yield from _void(scope, heard)
    yield from _astray(scope, heard)
    yield from _of_waypoints(scope)


def _of_set(scope: Scope, asking: RouteSet) -> Iterator[Finding]:
    """What became of the routes of one object for the host."""
    ref = asking.origin
    said = list(_said(scope, ref))
    if whole := [finding for finding in said if _of_all(scope, asking, finding)]:
        yield whole[0]
    elif scope.bypassed:
        yield scope.past_the_waypoint(ref, asking.field)
    else:
        yield from (finding for finding in said if finding.cause is not Cause.SHADOWED or finding.field != asking.field)
        if scope.routing is not None and asking.drafts:
            yield from _of_request(scope, asking)


def _of_all(scope: Scope, asking: RouteSet, finding: Finding) -> bool:
    """Whether a finding says that the object has no part in this request at all."""
    if finding.field not in (asking.field, "spec.exportTo") or finding.cause not in _WHOLE:
        return False
    chosen = scope.routing.chosen if scope.routing is not None else None
    # it may be behind another on one port of the host, and decide on the next
    return finding.cause is not Cause.SHADOWED or chosen is None or _origin(chosen) != asking.origin


def _said(scope: Scope, ref: ObjectRef) -> Iterator[Finding]:
    """What the index says of it. What is for Istio's conditions says some of it again, and of no service."""
    seen: set[Cause] = set()
    for diagnostic in sorted(scope.diagnostics(ref), key=lambda d: not d.host):
        finding = scope.finding(diagnostic, *_remedies(scope, diagnostic))
        if _concerns(scope, diagnostic) and (diagnostic.host or finding.cause not in seen & _SAID_TWICE):
            seen.add(finding.cause)
            yield finding


def _concerns(scope: Scope, diagnostic: Diagnostic) -> bool:
    """Of destinations that are missing, those of the route that decides are told by the decision itself; of the index
    are left those that a filter of its rule names, for mirrors."""
    if diagnostic.reason != "BackendNotFound":
        return diagnostic.reason not in ("DestinationMissing", TO_A_WAYPOINT)
    chosen = scope.routing.chosen if scope.routing is not None else None
    if chosen is None or _origin(chosen) != diagnostic.object:
        return False
    number = chosen.route.name.removeprefix(f"{diagnostic.object.namespace}.{diagnostic.object.name}.")
    return diagnostic.field == f"spec.rules[{number}].filters"


def _remedies(scope: Scope, diagnostic: Diagnostic) -> Iterable[Remedy]:
    match diagnostic.reason:
        case "Shadowed" | "Unreachable":
            return _without(scope.routing.chosen if scope.routing is not None else None, diagnostic.object)
        case "NoPort":
            return _to_port(scope, diagnostic.object)
    return ()


def _missing(scope: Scope) -> Iterator[Finding]:
    """Destinations of the route that decides that are not there."""
    for passage in scope.decision.passages:
        chosen = passage.routing.chosen if passage.routing is not None else None
        if chosen is not None and isinstance(action := chosen.route.action, Forward):
            ref, items, end = _origin(chosen), action.destinations, f"they are answered {action.not_found_status}"
        elif (connections := passage.connections) is not None:
            kind, key = connections.origin
            ref, items, end = ObjectRef(kind, *key), connections.destinations, "their connections are closed"
        else:
            continue
        total = sum(item.weight for item in items)
        for item in items:
            if not item.found and item.weight:
                share = words.percent(Fraction(item.weight, total))
                message = f"{share} of requests are for {resolve.words(item.destination)}, which does not exist: {end}"
                yield Finding(ref, Cause.MISSING_BACKEND, message, "", _provided(scope, item.destination))


def _provided(scope: Scope, destination: Destination) -> tuple[Remedy, ...]:
    there = scope.index.mesh.services.get(destination.host)
    if there is None:
        return remedies.provide(scope.index, destination)
    return () if destination.subset else (remedies.ports_of(there),)


def _of_request(scope: Scope, asking: RouteSet) -> Iterator[Finding]:
    """Routes that this very request does not get to, whatever becomes of others."""
    assert scope.routing is not None
    ref, chosen = asking.origin, scope.routing.chosen
    if all(draft.port not in (0, scope.port) for draft in asking.drafts):
        ports = ", ".join(str(port) for port in sorted({draft.port for draft in asking.drafts}))
        message = f"it is for port {ports}, and the request goes to {scope.port}"
        yield Finding(ref, Cause.OTHER_PORT, message, asking.field, tuple(_to_port(scope, ref)))
        return
    own = [c for c in scope.routing.candidates if _origin(c) == ref]
    if not own or any(c is chosen for c in own):
        return
    if chosen is not None and any(c.matches for c in own):
        message = f"it matches too, and {_origin(chosen)} comes first: {_why_first(scope, chosen, own)}"
        yield Finding(ref, Cause.SHADOWED, message, asking.field, tuple(_without(chosen, ref)))
    else:
        closest = min((c for c in own if c.failed), key=lambda c: len(c.failed))
        message = f"no match: {', '.join(map(str, closest.failed))}"
        yield Finding(ref, Cause.NO_MATCH, message, asking.field)


def _origin(candidate: Candidate) -> ObjectRef:
    kind, key = candidate.route.origin
    return ObjectRef(kind, *key)


def _why_first(scope: Scope, chosen: Candidate, own: list[Candidate]) -> str:
    """Routes that count as one are tried by how specific they are, then by age; all others by who may route the
    service, then by age (see `mesh.index.candidates`)."""
    shape, waypoint = scope.index.shapes.get(scope.host), scope.binding.waypoint
    if shape is None or waypoint is None:
        return "it is asked before"
    asking = scope.index.routes.asking(scope.ctx, scope.host)
    found = {s.origin: c for c in candidates.admitted(asking, shape, waypoint, []) for s in c.sets}
    first, later = found[_origin(chosen)], found[_origin(own[0])]
    if first is later:
        match = next(candidate for candidate in own if candidate.matches)
        specific = precedence(chosen.route) < precedence(match.route)
        return "its match is more specific" if specific else "of two as specific, the older"
    if first.rank[0] == later.rank[0]:
        return "it is the older" if first.rank[1] < later.rank[1] else "of two as old, by its name"
    return f"{_PLACES[first.rank[0]]} are asked before others"


def _without(chosen: Candidate | None, ref: ObjectRef) -> Iterator[Remedy]:
    if chosen is not None and _origin(chosen) != ref:
        yield remedies.instead(ref, _origin(chosen))


def _to_port(scope: Scope, ref: ObjectRef) -> Iterator[Remedy]:
    """A parentRef that names another port, of a route of the Gateway API."""
    obj = scope.object(ref)
    for i, parent in enumerate((obj or {"spec": {}})["spec"].get("parentRefs") or ()):
        if scope.callee.object is not None and parent.get("name") == scope.callee.object.name and parent.get("port"):
            command = remedies.patch(ref, ("replace", f"/spec/parentRefs/{i}/port", scope.port))
            yield Remedy(f"attach it to port {scope.port}", (command,))


def _not_for_mesh(scope: Scope, heard: set[ObjectRef]) -> Iterator[Finding]:
    """VirtualServices of the host that are for gateways alone."""
    for ref, obj in scope.objects(VIRTUALSERVICE):
        if ref in heard or not scope.concerned(ref, _hosts(scope, ref, obj)):
            continue
        for diagnostic in scope.diagnostics(ref):
            if diagnostic.field == "spec.gateways":
                heard.add(ref)
                command = remedies.patch(ref, ("add", "/spec/gateways/-", "mesh"))
                remedy = Remedy("let it hold within the mesh too", (command,))
                yield Finding(ref, Cause.NOT_FOR_MESH, diagnostic.message, diagnostic.field, (remedy,))


def _void(scope: Scope, heard: set[ObjectRef]) -> Iterator[Finding]:
    """Routes of the Gateway API for the callee of which nothing is left: what is said of them, and not of other
    parents."""
    callee = scope.callee.object
    for resource in _GATEWAY_API:
        for ref, obj in scope.objects(resource):
            parents = [_parent(ref, each) for each in obj["spec"].get("parentRefs") or ()]
            if ref in heard or callee not in parents:
                continue
            others = {f"spec.parentRefs[{i}]" for i, parent in enumerate(parents) if parent != callee}
            for diagnostic in scope.diagnostics(ref):
                if diagnostic.field not in others and diagnostic.reason not in _NO_EFFECT_OF_ITS_OWN:
                    yield scope.finding(diagnostic)


def _parent(ref: ObjectRef, parent: Mapping[str, Any]) -> ObjectRef:
    kind: str = parent.get("kind", "Gateway")
    return ObjectRef(kind, parent.get("namespace") or ref.namespace, parent["name"])


def _of_waypoints(scope: Scope) -> Iterator[Finding]:
    """Routes that were meant for all that a waypoint stands before."""
    callee = scope.callee.object
    for resource in _GATEWAY_API:
        for ref, obj in scope.objects(resource):
            for diagnostic in scope.diagnostics(ref) if callee is not None else ():
                if diagnostic.reason != TO_A_WAYPOINT:
                    continue
                number = int(diagnostic.field.removeprefix("spec.parentRefs[").removesuffix("]"))
                parent = obj["spec"]["parentRefs"][number]
                if Key(parent.get("namespace") or ref.namespace, parent["name"]) in scope.binding.waypoints:
                    message = "a waypoint takes routes by their Services and ServiceEntries, and none by its Gateway"
                    yield Finding(ref, Cause.NOT_FOR_MESH, message, diagnostic.field, _to_callee(ref, number, callee))


def _to_callee(ref: ObjectRef, number: int, callee: ObjectRef | None) -> tuple[Remedy, ...]:
    if callee is None or callee.kind != SERVICE.kind or callee.namespace != ref.namespace:
        return ()
    parent = {"group": "", "kind": callee.kind, "name": callee.name}
    command = remedies.patch(ref, ("replace", f"/spec/parentRefs/{number}", parent))
    return (Remedy(f"attach it to {callee}", (command,)),)


def _hosts(scope: Scope, ref: ObjectRef, obj: Object) -> list[str]:
    return [host_of(host, ref.namespace, scope.index.domain) for host in obj["spec"].get("hosts") or ()]


def _astray(scope: Scope, heard: set[ObjectRef]) -> Iterator[Finding]:
    """Objects that name the service, and mean another that does not exist: a short name is completed in the namespace
    of whoever writes it, and one with a dot not at all."""
    for ref, obj in scope.objects(VIRTUALSERVICE):
        if ref in heard:
            continue
        for i, (written, full) in enumerate(zip(obj["spec"].get("hosts") or (), _hosts(scope, ref, obj), strict=True)):
            if meant(scope, written, full):
                command = remedies.patch(ref, ("replace", f"/spec/hosts/{i}", scope.host))
                yield astray(scope, ref, f"spec.hosts[{i}]", written, full, command)
                break
    for resource in _GATEWAY_API:
        for ref, obj in scope.objects(resource):
            if ref not in heard:
                yield from _parents_astray(scope, ref, obj)


def meant(scope: Scope, written: str, full: str) -> bool:
    """Whether whoever wrote a host may have meant the callee: it would in the callee's namespace, or if it were
    completed."""
    known = full in scope.index.shapes
    return not known and full != scope.host and (scope.host == written or scope.host.startswith(f"{written}."))


def astray(scope: Scope, ref: ObjectRef, field: str, written: str, full: str, command: str) -> Finding:
    stands = f"{written} stands for {full}" if full != written else f"nothing is called {written}"
    message = f"{stands}, and the request is for {scope.host}"
    remedy = Remedy(f"name {scope.host} in full", (command,))
    return Finding(ref, Cause.OTHER_HOST, message, field, (remedy,))


def _parents_astray(scope: Scope, ref: ObjectRef, obj: Object) -> Iterator[Finding]:
    callee = scope.callee.object
    if callee is None:
        return
    for i, parent in enumerate(obj["spec"].get("parentRefs") or ()):
        group, kind = parent.get("group", GATEWAY_GROUP), parent.get("kind", "Gateway")
        key = Key(parent.get("namespace") or ref.namespace, parent["name"])
        field = f"spec.parentRefs[{i}]"
        if parent["name"] != callee.name:
            continue
        if kind == callee.kind and service_host(key, scope.index.domain) not in scope.index.shapes:
            message = f"its parent is {kind} {key}, which does not exist, and the request is for {callee}"
            command = remedies.patch(ref, ("add", f"/spec/parentRefs/{i}/namespace", callee.namespace))
            yield Finding(ref, Cause.OTHER_HOST, message, field, (Remedy(f"attach it to {callee}", (command,)),))
        elif kind == "Gateway" and group == GATEWAY_GROUP and key.namespace == callee.namespace:
            message = f"its parent is a Gateway: within the mesh, routes attach to the {callee.kind} itself"
            value = {"group": remedies.resource_of(callee).group, "kind": callee.kind, "name": callee.name}
            command = remedies.patch(ref, ("replace", f"/spec/parentRefs/{i}", value))
            yield Finding(ref, Cause.OTHER_HOST, message, field, (Remedy(f"attach it to {callee}", (command,)),))
