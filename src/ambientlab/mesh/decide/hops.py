"""The way of a request: from its client to what its address stands for, through the proxies between them.

What the node proxy does is L4 and knows no route: it looks an address up, and either tunnels to the waypoint of what
the address belongs to, or picks an endpoint itself. So whoever is not captured, or asks for what has no waypoint, meets
no L7 policy at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from ipaddress import ip_address

from ambientlab.cluster import DOMAIN
from ambientlab.mesh.decide import endpoints, lots, paths
from ambientlab.mesh.decide.answers import local_answer
from ambientlab.mesh.decide.decision import (
    Decision,
    Delivered,
    Failed,
    Hop,
    Outcome,
    Reason,
    Result,
    Routing,
    Source,
    Target,
    Why,
)
from ambientlab.mesh.decide.request import Request
from ambientlab.mesh.decide.routing import At, hop_to, routed
from ambientlab.mesh.ir import (
    AppProtocol,
    Destination,
    Endpoint,
    Key,
    Mesh,
    Port,
    Protocol,
    Service,
    Waypoint,
    Workload,
)

NDOTS = 5
"""A name with fewer dots is looked for in the search domains first (a pod's resolv.conf)."""


@dataclass(frozen=True, slots=True)
class _Way:
    """What follows once it is known what the address stands for."""

    waypoint: Key | None
    why: Why
    outcomes: tuple[Outcome, ...]
    hops: tuple[Hop, ...] = ()
    routing: Routing | None = None


def decide(mesh: Mesh, client: Key | None, request: Request, *, domain: str = DOMAIN) -> Decision:
    """`client` is a workload, or None for somebody outside the cluster's pods. Raises KeyError for an unknown workload,
    `re2.ExpressionError` where a rewrite cannot be carried out."""
    workload = None if client is None else mesh.workloads[client]
    captured = workload is not None and workload.protocol is Protocol.HBONE
    source = Source(client, captured, workload.identity if workload is not None and captured else "")
    service, ip = _resolved(mesh, client, request.host, domain)
    if service is not None and (service.vips or service.waypoint):
        target = Target((service.vips or ("",))[0], request.port, service.host)
        way = _to_service(mesh, source, service, request)
    elif service is not None:
        # a name without an address of its own stands for those of the endpoints
        target = Target("", request.port, service.host)
        way = _to_any(mesh, source, [endpoint.address for endpoint in service.endpoints], request)
    elif ip:
        found = next((w for w in mesh.workloads.values() if w.ip == ip), None)
        target = Target(ip, request.port, workload=found.key if found is not None else None)
        way = _to_any(mesh, source, [ip], request)
    else:
        target = Target("", request.port)
        way = _Way(None, Why.OUTSIDE, _failed(Reason.UNRESOLVED))
    return Decision(request, source, target, way.waypoint, way.why, way.hops, way.routing, way.outcomes)


def _resolved(mesh: Mesh, client: Key | None, host: str, domain: str) -> tuple[Service | None, str]:
    """The service, or else the address, that a name stands for."""
    try:
        address = str(ip_address(host))
    except ValueError:
        return next((s for name in _names(client, host, domain) if (s := mesh.services.get(name))), None), ""
    return next((s for s in mesh.services.values() if address in s.vips), None), address


def _names(client: Key | None, host: str, domain: str) -> Iterator[str]:
    name = host.lower()
    if name.endswith("."):
        yield name[:-1]
        return
    searched = [] if client is None else [f"{client.namespace}.svc.{domain}", f"svc.{domain}", domain]
    full = [f"{name}.{suffix}" for suffix in searched]
    yield from (*full, name) if name.count(".") < NDOTS else (name, *full)


def _to_service(mesh: Mesh, source: Source, service: Service, request: Request) -> _Way:
    port = next((p for p in service.ports if p.number == request.port), None)
    if not source.captured or service.waypoint is None:
        why = Why.NO_WAYPOINT if source.captured else Why.NOT_CAPTURED
        if port is None:
            return _Way(None, why, _failed(Reason.NO_PORT))
        return _Way(None, why, _connected(mesh, Destination(service.host, port.number), source.identity, request))
    if port is None:
        return _Way(service.waypoint, Why.SERVICE, _failed(Reason.NO_PORT))
    found = [(share, waypoint) for key, share in service.waypoints if (waypoint := mesh.waypoints.get(key))]
    shares = [(share, waypoint) for share, waypoint in found if share and waypoint.members]
    if not shares:
        return _Way(service.waypoint, Why.SERVICE, _failed(Reason.NO_ENDPOINT))
    ways = [(share, _through(mesh, source, waypoint, service, port, request)) for share, waypoint in shares]
    _, most = max(ways, key=lambda way: way[0])
    return _joined(lots.weighted(ways), most if len(ways) == 1 else replace(most, hops=()))


def _through(mesh: Mesh, source: Source, waypoint: Waypoint, service: Service, port: Port, request: Request) -> _Way:
    hops = (_hop_to_waypoint(waypoint, source),)
    routing, outcomes = _at_port(mesh, waypoint, service, port, request)
    return _Way(waypoint.key, Why.SERVICE, outcomes, hops, routing)


def _joined(ways: lots.Lot[_Way], way: _Way) -> _Way:
    """One of several ways; `way` is the one to show of them."""
    certain = Fraction(1)
    drawn = lots.joined(
        ways, lambda each: tuple((o.probability, replace(o, probability=certain)) for o in each.outcomes)
    )
    return replace(way, outcomes=tuple(replace(outcome, probability=share) for share, outcome in drawn))


def _at_port(
    mesh: Mesh, waypoint: Waypoint, service: Service, port: Port, request: Request
) -> tuple[Routing | None, tuple[Outcome, ...]]:
    """Only HTTP in the clear is routed. TLS passes where it is expected or found out; on a port of HTTP it is none."""
    identity = waypoint.members[0].identity
    if request.scheme == "http" and (port.protocol.http or port.protocol is AppProtocol.UNDECLARED):
        return routed(At(mesh, waypoint.key, identity), service, port, request)
    if request.scheme == "https" and port.protocol.http:
        return None, _failed(Reason.PROTOCOL)
    return None, _connected(mesh, Destination(service.host, port.number), identity, request)


def _connected(mesh: Mesh, destination: Destination, identity: str, request: Request) -> tuple[Outcome, ...]:
    """Endpoints as connections are spread over them: one for each request, as curl makes them."""
    found = endpoints.chosen(mesh, destination)
    if not found:
        return _failed(Reason.NO_ENDPOINT)
    return tuple(
        Outcome(share, Delivered(destination, endpoint, hop_to(endpoint, destination.port, identity), request))
        for share, endpoint in found
    )


def _to_any(mesh: Mesh, source: Source, ips: Sequence[str], request: Request) -> _Way:
    """One of several addresses, of workloads or of anything else."""
    if not ips:
        return _Way(None, Why.OUTSIDE, _failed(Reason.UNRESOLVED))
    by_ip = {workload.ip: workload for workload in mesh.workloads.values()}
    ways = [_to_address(mesh, source, ip, by_ip.get(ip), request) for ip in ips]
    first = ways[0]
    alike = all((way.waypoint, way.why) == (first.waypoint, first.why) for way in ways)
    return _joined(lots.evenly(ways), first if alike else _Way(None, Why.NO_WAYPOINT, ()))


def _to_address(mesh: Mesh, source: Source, ip: str, workload: Workload | None, request: Request) -> _Way:
    """A waypoint of workloads recognises HTTP and routes none."""
    endpoint = Endpoint(ip, ((request.port, request.port),), workload)
    there = Destination("", request.port)
    if not source.captured or workload is None or workload.waypoint is None:
        why = Why.OUTSIDE if workload is None else Why.NO_WAYPOINT if source.captured else Why.NOT_CAPTURED
        direct = Delivered(there, endpoint, hop_to(endpoint, request.port, source.identity), request)
        return _Way(None, why, _certain(direct))
    waypoint = mesh.waypoints.get(workload.waypoint)
    if waypoint is None or not waypoint.members:
        return _Way(workload.waypoint, Why.WORKLOAD, _failed(Reason.NO_ENDPOINT))
    hops = (_hop_to_waypoint(waypoint, source),)
    path = paths.normalised(request.path) if request.scheme == "http" else request.path
    result: Result = local_answer(request, 400, Reason.BAD_PATH)
    if path is not None:
        hop = hop_to(endpoint, request.port, waypoint.members[0].identity)
        result = Delivered(there, endpoint, hop, replace(request, path=path))
    return _Way(workload.waypoint, Why.WORKLOAD, _certain(result), hops)


def _hop_to_waypoint(waypoint: Waypoint, source: Source) -> Hop:
    address = f"{waypoint.address}:{waypoint.hbone_port}"
    return Hop(Protocol.HBONE, address, None, waypoint.key, source.identity, waypoint.members[0].identity)


def _certain(result: Result) -> tuple[Outcome, ...]:
    return tuple(Outcome(share, end) for share, end in lots.certain(result))


def _failed(reason: Reason) -> tuple[Outcome, ...]:
    return _certain(Failed(reason))
