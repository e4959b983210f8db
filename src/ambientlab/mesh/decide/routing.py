"""What a waypoint does with a request for a port of a service: the route table, the route's faults, then its action."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, replace

from ambientlab.mesh.decide import admission, cors, endpoints, faults, headers, lots, paths
from ambientlab.mesh.decide.admission import Admission, Connection
from ambientlab.mesh.decide.answers import local_answer
from ambientlab.mesh.decide.decision import Answered, Delivered, End, Hop, Reason, Result, Routing, refused
from ambientlab.mesh.decide.matching import candidates
from ambientlab.mesh.decide.request import Headers, Request
from ambientlab.mesh.ir import (
    DEFAULT_RETRIES,
    Destination,
    DirectResponse,
    Endpoint,
    Forward,
    HeaderChange,
    Key,
    Match,
    Mesh,
    Port,
    Protocol,
    Redirect,
    Resolution,
    Route,
    Service,
    WeightedDestination,
    with_port,
)

_CUT_OFF = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
"""What a waypoint answers where the endpoint's ztunnel refuses the tunnel."""


@dataclass(frozen=True, slots=True)
class At:
    """Where a request is decided about. `identity` is the waypoint's, which its tunnels show. Whatever is asked for is
    answered with `refusal`, if there is one; the headers `stripped` are not passed on."""

    mesh: Mesh
    waypoint: Key
    identity: str
    called: endpoints.Called
    refusal: Answered | None = None
    stripped: tuple[str, ...] = ()


def routed(at: At, service: Service, port: Port, request: Request) -> tuple[Routing, lots.Lot[End]]:
    """`request` has a path that is normalised. Where its authority says where it goes, it must be one of the service's
    (pilot/pkg/networking/core/listener_waypoint.go, buildRouteVHostDomains)."""
    below = service.hostname[1:] if service.resolution is Resolution.DYNAMIC_DNS else ""
    if not request.authority.lower().endswith(below):
        answer = at.refusal or local_answer(request, 404, Reason.NO_ROUTE)
        return Routing(at.waypoint), lots.certain((0, answer))
    table = at.mesh.routes.get((service.host, port.number))
    if table is None:
        itself = Destination(service.host, port.number)
        sent = replace(request, headers=headers.changed(request.headers, [HeaderChange(remove=at.stripped)]))
        ends = _to(at, itself, request, sent) if at.refusal is None else lots.certain(at.refusal)
        return Routing(at.waypoint, retries=DEFAULT_RETRIES), _at_once(ends)
    tried = candidates(table, request)
    chosen = next((candidate for candidate in tried if candidate.matches), None)
    if chosen is None:
        answer = at.refusal or local_answer(request, 404, Reason.NO_ROUTE)
        return Routing(at.waypoint, table, tried), lots.certain((0, answer))
    action = chosen.route.action
    routing = Routing(at.waypoint, table, tried, chosen)
    if isinstance(action, Forward):
        asked = DEFAULT_RETRIES if action.retries is None else action.retries
        retries = asked if asked.attempts > 0 else None
        routing = replace(routing, timeout_ms=action.timeout_ms, retries=retries, mirrors=action.mirrors)
    return routing, _by_route(at, chosen.route, request)


def _by_route(at: At, route: Route, request: Request) -> lots.Lot[End]:
    if at.refusal is not None and not isinstance(route.action, Forward):
        return lots.certain((0, at.refusal))
    match route.action:
        case Redirect() as action:
            where = paths.location(request.path, request.authority, request.scheme, route.match, action)
            found = headers.changed((("location", where),), [route.response_headers])
            answer = local_answer(request, action.status, Reason.REDIRECT, "", found)
            return _after_faults(route, request, (), lots.certain(answer))
        case DirectResponse() as action:
            found = headers.changed(_own_location(request, action.status), [route.response_headers])
            answer = local_answer(request, action.status, Reason.DIRECT_RESPONSE, _body(action), found)
            return _after_faults(route, request, (), lots.certain(answer))
        case Forward() as action:
            shares = lots.weighted((item.weight, item) for item in action.destinations)
            return lots.joined(shares, lambda item: _forwarded(at, route, action, item, request))


def _own_location(request: Request, status: int) -> Headers:
    """Where a status is about a place, Envoy names one: that of the request (source/common/router/router.cc)."""
    if status != 201 and status not in range(300, 400):
        return ()
    return (("location", paths.location(request.path, request.authority, request.scheme, Match(), Redirect())),)


def _body(action: DirectResponse) -> str:
    return b64decode(action.encoded).decode(errors="replace") if action.encoded else action.body


def _after_faults(route: Route, request: Request, own: Headers, ends: lots.Lot[Result]) -> lots.Lot[End]:
    """Milliseconds of delay and the end, which is an abort with the headers `own` or one of `ends`."""

    def then(drawn: tuple[int, Answered | None]) -> lots.Lot[End]:
        delay, abort = drawn
        return lots.certain((delay, abort)) if abort is not None else tuple((p, (delay, end)) for p, end in ends)

    return lots.joined(faults.drawn(route.fault, request, own), then)


def _forwarded(at: At, route: Route, action: Forward, item: WeightedDestination, request: Request) -> lots.Lot[End]:
    """Changes of a share are made before its route's, unless it is the only one: then both are one change. Those of
    responses are made to every response of a proxy that has picked the share, its own as well."""
    if len(action.destinations) == 1:
        before: tuple[HeaderChange, ...] = (headers.together(route.request_headers, item.request_headers),)
        after: tuple[HeaderChange, ...] = (headers.together(route.response_headers, item.response_headers),)
    else:
        before = (item.request_headers, route.request_headers)
        after = (item.response_headers, route.response_headers)
    own = headers.changed((), after)
    if at.refusal is not None:
        return lots.certain((0, replace(at.refusal, headers=headers.changed(at.refusal.headers, after))))
    authority = item.authority
    path = request.path
    if (rewrite := action.rewrite) is not None:
        authority = rewrite.authority or authority
        path = paths.rewritten(path, route.match, rewrite)
    sent = replace(
        request,
        headers=headers.changed(request.headers, (HeaderChange(remove=at.stripped), *before)),
        authority=authority or request.authority,
        path=path,
    )
    asked = cors.preflight(route.cors, request)
    added = (*after, cors.response_change(route.cors, request))
    ends: lots.Lot[Result] = (
        lots.certain(asked)
        if asked is not None
        else _to(at, item.destination, request, sent, added, action.not_found_status)
    )
    return _after_faults(route, request, own, ends)


def _to(
    at: At,
    destination: Destination,
    request: Request,
    sent: Request | None = None,
    changes: tuple[HeaderChange, ...] = (),
    not_found_status: int = 503,
) -> lots.Lot[Result]:
    found = endpoints.chosen(at.mesh, destination, at.called)
    if not found:
        own = headers.changed((), changes)
        status, reason, body = not_found_status, Reason.NO_CLUSTER, ""
        if found is not None:
            status, reason, body = 503, Reason.NO_ENDPOINT, "no healthy upstream"
        return lots.certain(local_answer(request, status, reason, body, own, destination=destination))
    made = tuple(change for change in changes if change)
    return tuple(
        (share, handed_over(at, destination, endpoint, request, sent or request, made)) for share, endpoint in found
    )


def handed_over(
    at: At,
    destination: Destination,
    endpoint: Endpoint,
    request: Request,
    sent: Request,
    changes: tuple[HeaderChange, ...] = (),
) -> Result:
    """By the waypoint to an endpoint, whose ztunnel may refuse the tunnel."""
    hop = hop_to(endpoint, destination.port, at.identity)
    entry = admission_at(at.mesh, endpoint, destination.port, hop, at.called.source(endpoint))
    if entry.allowed:
        return Delivered(destination, endpoint, hop, sent, changes, entry)
    own = headers.changed((), changes)
    answer = local_answer(request, 503, refused(entry), _CUT_OFF, own, destination=destination)
    return replace(answer, admission=entry)


def hop_to(endpoint: Endpoint, port: int, identity: str) -> Hop:
    """The last leg, from a proxy that shows `identity` in tunnels."""
    workload = endpoint.workload
    address = with_port(endpoint.address, endpoint.target(port) or port)
    if workload is None or workload.protocol is Protocol.TCP or not identity:
        return Hop(Protocol.TCP, address, workload.key if workload is not None else None)
    return Hop(Protocol.HBONE, address, workload.key, None, identity, workload.identity)


def admission_at(mesh: Mesh, endpoint: Endpoint, port: int, hop: Hop, source: str) -> Admission:
    """What the endpoint's ztunnel says of the last leg, which comes from the address `source`."""
    connection = Connection(hop.source_identity, source, endpoint.address, endpoint.target(port) or port)
    return admission.at(mesh, endpoint.workload, connection)


def _at_once(results: lots.Lot[Result]) -> lots.Lot[End]:
    return tuple((share, (0, result)) for share, result in results)
