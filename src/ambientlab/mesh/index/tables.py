"""Which routes a service's port gets, from all the objects that ask for some.

The routes of all candidates are tried, in the order of the candidates; a port that nobody has a route for is forwarded
to as it is (listener_waypoint.go, buildWaypointInboundHTTPRouteConfig).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ambientlab.mesh.index import candidates, connections, resolve
from ambientlab.mesh.index.candidates import Candidate
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.drafts import RouteSet
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import SERVICE_KIND, AppProtocol, Destination, Forward, Key, Route, RouteTable, TcpRoute


@dataclass(frozen=True, slots=True)
class Routing:
    """The routes of one service, and what became of every object that asked for some."""

    tables: tuple[RouteTable, ...]
    tcp_routes: tuple[TcpRoute, ...]
    diagnostics: tuple[Diagnostic, ...]


def routing(shape: Shape, asking: list[RouteSet], around: resolve.Surroundings) -> Routing | None:
    """None for a service that no object wants to route."""
    if not asking:
        return None
    waypoint = shape.binding.waypoint
    if waypoint is None:
        # who says *.hello means no Gateway of it
        named = [s for s in asking if not shape.binding.managed or shape.host in s.hosts]
        return Routing((), (), tuple(shape.no_waypoint(s.origin, s.field) for s in named))
    notes: list[Diagnostic] = []
    if shape.kind == SERVICE_KIND and not shape.vips:
        why = "it is headless, and connections to its pods go past the waypoint"
        notes += [shape.past_waypoint(s.origin, s.field, why) for s in asking]
    admitted = candidates.admitted(asking, shape, waypoint, notes)
    tables = _tables(shape, [c for c in admitted if any(s.http for s in c.sets)], waypoint, around, notes)
    tcp_routes = connections.routes(shape, [s for c in admitted for s in c.sets], around, notes)
    return Routing(tables, tcp_routes, tuple(notes))


def _tables(
    shape: Shape,
    admitted: list[Candidate],
    waypoint: Key,
    around: resolve.Surroundings,
    notes: list[Diagnostic],
) -> tuple[RouteTable, ...]:
    tables: list[RouteTable] = []
    heard: dict[Candidate, list[tuple[int, ObjectRef | None]]] = {candidate: [] for candidate in admitted}
    for port in shape.ports:
        if port.protocol.http or port.protocol is AppProtocol.UNDECLARED:
            routes, taken = _routes(admitted, port.number, waypoint, around)
            for candidate, behind in taken:
                heard[candidate].append((port.number, behind))
            if routes:
                tables.append(RouteTable(shape.host, port.number, routes))
    for candidate, ports in heard.items():
        notes += _unheard(shape.host, candidate, ports)
    notes += _missing(shape.host, admitted, tables)
    notes += _missing_mirrors(shape.host, admitted, tables, around)
    return tuple(tables)


def _routes(
    admitted: list[Candidate], port: int, waypoint: Key, around: resolve.Surroundings
) -> tuple[tuple[Route, ...], list[tuple[Candidate, ObjectRef | None]]]:
    """The routes of one port; and each candidate that has some, with what takes all requests before it, if anything."""
    routes: list[Route] = []
    taken: list[tuple[Candidate, ObjectRef | None]] = []
    behind: ObjectRef | None = None
    for candidate in admitted:
        drafts = [
            draft
            for draft in candidate.drafts
            if draft.port in (0, port) and draft.source_namespace in ("", waypoint.namespace)
        ]
        if drafts:
            taken.append((candidate, behind))
            routes += [resolve.resolved(draft.route, port, around) for draft in drafts]
        catch_all = next((draft.route.origin for draft in drafts if draft.takes_all), None)
        if catch_all is not None:
            behind = behind or ObjectRef(catch_all[0], *catch_all[1])
    return tuple(routes), taken


def _unheard(host: str, candidate: Candidate, ports: list[tuple[int, ObjectRef | None]]) -> list[Diagnostic]:
    """Findings about a candidate no request gets to, or none on some of the ports it has routes for."""
    behind = tuple(dict.fromkeys(before for _, before in ports if before is not None))
    first: tuple[ObjectRef, ...] = ()
    if not candidate.drafts:
        reason, message = "NoRoute", f"no effect on {host}: none of its routes can match at a waypoint"
    elif not ports:
        reason, message = "NoPort", f"no effect on {host}: it has no HTTP port that matches"
    elif all(before is not None for _, before in ports):
        reason, first = "Shadowed", behind
        message = f"no effect on {host}: {', '.join(map(str, first))} comes first and takes all requests"
    else:
        lost = [(number, before) for number, before in ports if before is not None]
        return [
            Diagnostic(
                s.origin,
                "Shadowed",
                f"no effect on {host}:{number}: {before} comes first and takes all requests",
                field=s.field,
                host=host,
                first=(before,),
            )
            for number, before in lost
            for s in candidate.sets
        ]
    return [Diagnostic(s.origin, reason, message, field=s.field, host=host, first=first) for s in candidate.sets]


def _missing(host: str, admitted: list[Candidate], tables: list[RouteTable]) -> list[Diagnostic]:
    """Findings for shares that nothing serves; the status of an HTTPRoute says so only of whole Services."""
    seen: dict[tuple[tuple[str, Key], Destination], int] = {}
    for table in tables:
        for route in table.routes:
            if isinstance(route.action, Forward):
                for item in route.action.destinations:
                    if not item.found:
                        seen[(route.origin, item.destination)] = route.action.not_found_status
    by_key = {(s.origin.kind, s.key): s.origin for candidate in admitted for s in candidate.sets}
    return [
        Diagnostic(
            by_key[origin],
            "DestinationMissing",
            f"requests for {resolve.words(destination)} are answered {status}: there is no such destination",
            host=host,
            destination=destination,
        )
        for (origin, destination), status in seen.items()
    ]


def _missing_mirrors(
    host: str, admitted: list[Candidate], tables: list[RouteTable], around: resolve.Surroundings
) -> Iterator[Diagnostic]:
    """Findings for copies that go nowhere, which their requests do not show."""
    seen: dict[tuple[ObjectRef, Destination], None] = {}
    for candidate in admitted:
        for draft in candidate.drafts:
            if not isinstance(draft.route.action, Forward):
                continue
            for mirror in draft.route.action.mirrors:
                for port in (table.port for table in tables if draft.port in (0, table.port)):
                    there = around.placed(mirror.destination, port)
                    if not around.exists(there):
                        seen |= {(s.origin, there): None for s in candidate.sets}
    for origin, destination in seen:
        message = f"no copies of requests are sent to {resolve.words(destination)}: there is no such destination"
        yield Diagnostic(origin, "MirrorMissing", message, host=host, destination=destination)


def by_port(value: Routing) -> Mapping[tuple[str, int], RouteTable]:
    return {(table.host, table.port): table for table in value.tables}


def tcp_by_port(value: Routing) -> Mapping[tuple[str, int], TcpRoute]:
    return {(route.host, route.port): route for route in value.tcp_routes}
