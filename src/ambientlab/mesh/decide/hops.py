"""The way of a request: from its client to what its address stands for, through the proxies between them.

What the node proxy does is L4 and knows no route: it looks an address up, and either tunnels to the waypoint of what
the address belongs to, or picks an endpoint itself. So whoever is not captured, or asks for what has no waypoint, meets
no L7 policy at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from ambientlab.cluster import DOMAIN, HBONE_PORT, PROXY_PORTS
from ambientlab.mesh.decide import connections, endpoints, lookup, lots, paths, policy, tokens
from ambientlab.mesh.decide.admission import NO_TUNNEL, OWN_PORT
from ambientlab.mesh.decide.answers import local_answer
from ambientlab.mesh.decide.decision import (
    Answered,
    Decision,
    Delivered,
    End,
    Failed,
    Hop,
    Outcome,
    Passage,
    Reason,
    Result,
    Source,
    Target,
    Why,
)
from ambientlab.mesh.decide.request import Request
from ambientlab.mesh.decide.routing import At, handed_over, hop_to, routed
from ambientlab.mesh.ir import (
    SERVICE_KIND,
    AppProtocol,
    Destination,
    Endpoint,
    Guard,
    Key,
    Mesh,
    Port,
    Protocol,
    Resolution,
    Service,
    Waypoint,
    Workload,
    with_port,
)

_BAD_PATH = Answered(400, Reason.BAD_PATH)


@dataclass(frozen=True, slots=True)
class _Way:
    """What follows once it is known what the address stands for."""

    waypoint: Key | None
    why: Why
    ends: lots.Lot[End]
    passages: tuple[Passage, ...] = ()


def decide(mesh: Mesh, client: Key | None, request: Request, *, domain: str = DOMAIN, node: str = "") -> Decision:
    """`client` is a workload, or None for somebody outside the cluster's pods, or in the network of `node`. Raises
    KeyError for an unknown workload, `re2.ExpressionError` where a rewrite cannot be carried out."""
    workload = None if client is None else mesh.workloads[client]
    captured = workload is not None and workload.captured
    identity, node = (workload.identity, workload.node) if workload is not None else ("", node)
    found = lookup.found(mesh, client, request.host, request.port, domain)
    address = workload.towards(found.address) if workload is not None else ""
    source = Source(client, captured, identity if captured else "", address, node)
    target = Target(
        found.address,
        request.port,
        found.service.host if found.service is not None else "",
        found.workload.key if found.workload is not None else None,
    )
    way = _way(mesh, source, found, request)
    outcomes = tuple(Outcome(share, result, delay) for share, (delay, result) in way.ends)
    return Decision(request, source, target, way.waypoint, way.why, way.passages, outcomes)


def _way(mesh: Mesh, source: Source, found: lookup.Found, request: Request) -> _Way:
    service = found.service
    if service is None:
        if not found.address:
            return _Way(None, Why.OUTSIDE, _failed(Reason.UNRESOLVED))
        return _to_address(mesh, source, found.address, found.workload, request)
    if not source.captured and service.kind != SERVICE_KIND:
        # only the mesh knows of it: to others it is a name like any
        return _to_address(mesh, source, found.address or request.host, None, request, Why.NOT_CAPTURED)
    if service.networks and not found.address:
        return _to_address(mesh, source, request.host, None, request, Why.OUTSIDE)
    if service.vips or service.networks or (service.waypoint is not None and service.kind != SERVICE_KIND):
        return _to_service(mesh, source, service, found.address, request)
    return _to_any(mesh, source, [endpoint.address for endpoint in service.endpoints], request)


def _to_service(mesh: Mesh, source: Source, service: Service, address: str, request: Request) -> _Way:
    single = not service.networks or address in service.vips  # a waypoint is not asked about networks
    if service.resolution is Resolution.NONE and not (single and service.waypoint):
        # the node proxy leaves such connections as they are, whatever their port
        endpoint = Endpoint(address, ((request.port, request.port),), None)
        itself = Destination(service.host, request.port)
        direct = connections.entered(mesh, itself, endpoint, source.identity, source.address, request)
        return _Way(None, Why.NO_WAYPOINT, lots.certain((0, direct)))
    port = service.port(request.port)
    called = endpoints.Called(address, request.port, client=source.address, captured=source.captured, node=source.node)
    if not source.captured or service.waypoint is None or not single:
        why = Why.NO_WAYPOINT if source.captured else Why.NOT_CAPTURED
        if port is None:
            return _Way(None, why, _failed(Reason.NO_PORT))
        itself = Destination(service.host, port.number)
        return _Way(None, why, connections.ended(mesh, itself, source.identity, called, request))
    if port is None:
        return _Way(service.waypoint, Why.SERVICE, _failed(Reason.NO_PORT))
    there = [(percent, mesh.waypoints[key]) for key, percent in service.waypoints if key in mesh.waypoints]
    drawn = lots.weighted((percent, waypoint) for percent, waypoint in there if waypoint.members)
    if not drawn:
        return _Way(service.waypoint, Why.SERVICE, _failed(Reason.NO_ENDPOINT))
    through = [(share, _through(mesh, source, waypoint, service, port, called, request)) for share, waypoint in drawn]
    passages = tuple(replace(passage, probability=share) for share, (passage, _) in through)
    return _Way(service.waypoint, Why.SERVICE, lots.joined(tuple(through), lambda way: way[1]), passages)


def _through(
    mesh: Mesh,
    source: Source,
    waypoint: Waypoint,
    service: Service,
    port: Port,
    called: endpoints.Called,
    request: Request,
) -> tuple[Passage, lots.Lot[End]]:
    """Only HTTP in the clear is routed as such. TLS passes where it is expected or found out; on a port of HTTP it is
    none."""
    guard = mesh.guards.get((waypoint.key, service.host))
    source = _towards(mesh, source, waypoint, called.address)
    instance = waypoint.members[0]
    called = replace(called, viewer=instance)
    at = At(mesh, waypoint.key, instance.identity, called)
    passage = Passage(lots.ALWAYS, _hop_to_waypoint(waypoint, source, called.address))
    if request.scheme == "http" and (port.protocol.http or port.protocol is AppProtocol.UNDECLARED):
        path = paths.normalised(request.path)
        if path is None:
            return passage, lots.certain((0, _BAD_PATH))
        passage, seen = _met(passage, guard, source, called, replace(request, path=path))
        called = replace(called, authority=request.authority)
        at = replace(at, called=called, refusal=seen.refusal, stripped=seen.stripped)
        routing, ends = routed(at, service, port, seen.request)
        return replace(passage, routing=routing), ends
    if request.scheme == "https" and port.protocol.http:
        return passage, _failed(Reason.PROTOCOL)
    route = mesh.tcp_routes.get((service.host, port.number))
    server_name = request.server_name if port.protocol is AppProtocol.TLS else ""
    passage = replace(_connected(passage, guard, source, called, server_name), connections=route)
    if not passage.verdict.allowed:
        return passage, _failed(Reason.DENIED)
    itself = Destination(service.host, port.number)
    return passage, connections.routed(mesh, route, itself, at.identity, called, request)


def _met(
    passage: Passage, guard: Guard | None, source: Source, called: endpoints.Called, request: Request
) -> tuple[Passage, tokens.Seen]:
    """What stands before everything else that is done with requests: tokens, then policies."""
    seen = tokens.seen(guard.jwt_rules if guard is not None else (), request)
    if seen.refusal is not None:
        return passage, seen
    attempt = policy.Attempt(seen.request, source.identity, source.address, called.address, called.port, seen.claims)
    verdict = policy.verdict(guard, attempt)
    if not verdict.allowed:
        refusal = local_answer(seen.request, 403, Reason.DENIED, policy.REFUSAL)
        seen = replace(seen, refusal=refusal)
    return replace(passage, verdict=verdict), seen


def _connected(
    passage: Passage, guard: Guard | None, source: Source, called: endpoints.Called, server_name: str = ""
) -> Passage:
    """The same for connections, which have no tokens."""
    attempt = policy.Attempt(
        None, source.identity, source.address, called.address, called.port, server_name=server_name
    )
    return replace(passage, verdict=policy.verdict(guard, attempt))


def _to_any(mesh: Mesh, source: Source, addresses: Sequence[str], request: Request) -> _Way:
    """One of several addresses, of workloads or of anything else."""
    if not addresses:
        return _Way(None, Why.OUTSIDE, _failed(Reason.UNRESOLVED))
    by_ip = {ip: workload for workload in mesh.workloads.values() for ip in workload.ips}
    ways = [_to_address(mesh, source, address, by_ip.get(address), request) for address in addresses]
    first = ways[0]
    alike = all((way.waypoint, way.why) == (first.waypoint, first.why) for way in ways)
    ends = lots.joined(lots.evenly(ways), lambda way: way.ends)
    return replace(first, ends=ends) if alike else _Way(None, Why.NO_WAYPOINT, ends)


def _to_address(
    mesh: Mesh, source: Source, address: str, workload: Workload | None, request: Request, why: Why | None = None
) -> _Way:
    """A waypoint of workloads recognises HTTP and routes none."""
    if source.captured and request.port in PROXY_PORTS and _loopback(address):
        return _Way(None, Why.OUTSIDE, lots.certain((0, Failed(Reason.OWN_PORT, OWN_PORT))))
    endpoint = Endpoint(address, ((request.port, request.port),), workload)
    there = Destination("", request.port)
    if workload is not None and workload.key == source.workload:
        return _Way(None, Why.ITSELF, lots.certain((0, _to_itself(workload, there, endpoint, request))))
    if not source.captured or workload is None or workload.waypoint is None:
        known = Why.NO_WAYPOINT if source.captured else Why.NOT_CAPTURED
        seen_as = endpoints.Called(address, request.port, client=source.address, node=source.node).source(endpoint)
        direct = connections.entered(mesh, there, endpoint, source.identity, seen_as, request)
        return _Way(None, why or (known if workload is not None else Why.OUTSIDE), lots.certain((0, direct)))
    waypoint = mesh.waypoints.get(workload.waypoint)
    if waypoint is None or not waypoint.members:
        return _Way(workload.waypoint, Why.WORKLOAD, _failed(Reason.NO_ENDPOINT))
    source = _towards(mesh, source, waypoint, address)
    passage = Passage(lots.ALWAYS, _hop_to_waypoint(waypoint, source, address))
    instance = waypoint.members[0]
    guard, called = mesh.guards.get((waypoint.key, "")), endpoints.Called(address, request.port, viewer=instance)
    end: Result
    if request.scheme == "http":
        path = paths.normalised(request.path)
        if path is None:
            return _Way(workload.waypoint, Why.WORKLOAD, lots.certain((0, _BAD_PATH)), (passage,))
        passage, seen = _met(passage, guard, source, called, replace(request, path=path))
        sent = replace(seen.request, headers=tuple(h for h in seen.request.headers if h[0] not in seen.stripped))
        at = At(mesh, waypoint.key, instance.identity, called)
        end = seen.refusal or handed_over(at, there, endpoint, request, sent)
    else:
        passage = _connected(passage, guard, source, called)
        end = Failed(Reason.DENIED)
        if passage.verdict.allowed:
            end = connections.entered(mesh, there, endpoint, instance.identity, instance.towards(address), request)
    return _Way(workload.waypoint, Why.WORKLOAD, lots.certain((0, end)), (passage,))


def _to_itself(workload: Workload, there: Destination, endpoint: Endpoint, request: Request) -> Delivered | Failed:
    """By its loopback device, whose traffic is not redirected (istio, cni/pkg/nftables/nftables.go, AppendInpodRules):
    ztunnel sees none of it but what comes to its own ports."""
    if workload.captured and request.port in PROXY_PORTS:
        return Failed(Reason.OWN_PORT, OWN_PORT if request.port != HBONE_PORT else NO_TUNNEL)
    return Delivered(there, endpoint, hop_to(endpoint, request.port, ""), request)


def _towards(mesh: Mesh, source: Source, waypoint: Waypoint, called: str) -> Source:
    """With the address that the waypoint sees it have."""
    if source.workload is None:
        return source
    return replace(source, address=mesh.workloads[source.workload].towards(waypoint.towards(called)))


def _hop_to_waypoint(waypoint: Waypoint, source: Source, called: str) -> Hop:
    address = with_port(waypoint.towards(called), waypoint.hbone_port)
    return Hop(Protocol.HBONE, address, None, waypoint.key, source.identity, waypoint.members[0].identity)


def _loopback(address: str) -> bool:
    """Never redirected, so that who calls ztunnel's ports there calls ztunnel. Not of a name."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _failed(reason: Reason) -> lots.Lot[End]:
    return lots.certain((0, Failed(reason)))
