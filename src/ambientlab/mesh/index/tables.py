"""Which routes a service's port gets, from all the objects that ask for some.

The routes of all candidates are tried, in the order of the candidates; a port that nobody has a route for is forwarded
to as it is (listener_waypoint.go, buildWaypointInboundHTTPRouteConfig).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ambientlab.flow.collection import Context
from ambientlab.mesh.index.candidates import Candidate, RouteSets, admitted
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.drafts import REQUEST_PORT
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import (
    AppProtocol,
    Destination,
    Forward,
    Key,
    Mirror,
    Redirect,
    Route,
    RouteTable,
    WeightedDestination,
)


@dataclass(frozen=True, slots=True)
class Routing:
    """The tables of one service, and what became of every object that asked for a place in them."""

    tables: tuple[RouteTable, ...]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What routes refer to. Each answer is a dependency."""

    shape: Callable[[str], Shape | None]
    subset_names: Callable[[str], frozenset[str]]

    def exists(self, destination: Destination) -> bool:
        shape = self.shape(destination.host)
        if shape is None or shape.port(destination.port) is None:
            return False
        return not destination.subset or destination.subset in self.subset_names(destination.host)

    def placed(self, destination: Destination, port: int) -> Destination:
        """With its port: where none is named, an only port of the service, or else the port asked for."""
        if destination.port or not destination.host:
            return destination
        shape = self.shape(destination.host)
        number = shape.ports[0].number if shape is not None and len(shape.ports) == 1 else port
        return replace(destination, port=number)


def routing(ctx: Context, shape: Shape, sets: RouteSets, around: Surroundings) -> Routing | None:
    """None for a service that no object wants to route."""
    asking = sets.of(ctx, shape.host)
    if not asking:
        return None
    waypoint = shape.binding.waypoint
    if waypoint is None:
        why = shape.binding.message or "no istio.io/use-waypoint label on it or its namespace"
        message = f"no effect on {shape.host}: the service has no waypoint ({why})"
        return Routing((), tuple(Diagnostic(s.origin, "NoWaypoint", message, field=s.field) for s in asking))
    notes: list[Diagnostic] = []
    candidates = [c for c in admitted(asking, shape, waypoint, notes) if any(s.http for s in c.sets)]
    tables: list[RouteTable] = []
    heard: dict[Candidate, list[tuple[int, str]]] = {candidate: [] for candidate in candidates}
    for port in shape.ports:
        if port.protocol.http or port.protocol is AppProtocol.UNDECLARED:
            routes, taken = _routes(candidates, port.number, waypoint, around)
            for candidate, behind in taken:
                heard[candidate].append((port.number, behind))
            if routes:
                tables.append(RouteTable(shape.host, port.number, routes))
    for candidate, ports in heard.items():
        notes += _unheard(shape.host, candidate, ports)
    notes += _missing(candidates, tables)
    return Routing(tuple(tables), tuple(notes))


def _routes(
    candidates: list[Candidate], port: int, waypoint: Key, around: Surroundings
) -> tuple[tuple[Route, ...], list[tuple[Candidate, str]]]:
    """The routes of one port; and each candidate that has some, with what takes all requests before it, if anything."""
    routes: list[Route] = []
    taken: list[tuple[Candidate, str]] = []
    behind = ""
    for candidate in candidates:
        drafts = [
            draft
            for draft in candidate.drafts
            if draft.port in (0, port) and draft.source_namespace in ("", waypoint.namespace)
        ]
        if drafts:
            taken.append((candidate, behind))
            routes += [_resolved(draft.route, port, around) for draft in drafts]
        catch_all = next((draft.route.origin for draft in drafts if draft.takes_all), None)
        if catch_all is not None:
            behind = behind or f"{catch_all[0]} {catch_all[1]}"
    return tuple(routes), taken


def _unheard(host: str, candidate: Candidate, ports: list[tuple[int, str]]) -> list[Diagnostic]:
    """Findings about a candidate no request gets to, or none on some of the ports it has routes for."""
    behind = dict.fromkeys(before for _, before in ports)
    if not candidate.drafts:
        reason, message = "NoRoute", f"no effect on {host}: none of its routes can match at a waypoint"
    elif not ports:
        reason, message = "NoPort", f"no effect on {host}: it has no HTTP port that matches"
    elif "" not in behind:
        reason, message = "Shadowed", f"no effect on {host}: {', '.join(behind)} comes first and takes all requests"
    else:
        lost = [(number, before) for number, before in ports if before]
        return [
            Diagnostic(
                s.origin,
                "Shadowed",
                f"no effect on {host}:{number}: {before} comes first and takes all requests",
                field=s.field,
            )
            for number, before in lost
            for s in candidate.sets
        ]
    return [Diagnostic(s.origin, reason, message, field=s.field) for s in candidate.sets]


def _resolved(route: Route, port: int, around: Surroundings) -> Route:
    action = route.action
    if isinstance(action, Redirect):
        number = port if action.port == REQUEST_PORT else action.port
        own = {"https": 443}.get(action.scheme, 80)
        return replace(route, action=replace(action, port=0 if number == own else number))
    if not isinstance(action, Forward):
        return route
    destinations: list[WeightedDestination] = []
    for item in action.destinations:
        there = around.placed(item.destination, port)
        destinations.append(replace(item, destination=there, found=item.found and around.exists(there)))
    mirrors: list[Mirror] = []
    for mirror in action.mirrors:
        there = around.placed(mirror.destination, port)
        if around.exists(there):
            mirrors.append(replace(mirror, destination=there))
    return replace(route, action=replace(action, destinations=tuple(destinations), mirrors=tuple(mirrors)))


def _missing(candidates: list[Candidate], tables: list[RouteTable]) -> list[Diagnostic]:
    """Findings for shares that nothing serves; the status of an HTTPRoute says so only of whole Services."""
    seen: dict[tuple[tuple[str, Key], Destination], int] = {}
    for table in tables:
        for route in table.routes:
            if isinstance(route.action, Forward):
                for item in route.action.destinations:
                    if not item.found:
                        seen[(route.origin, item.destination)] = route.action.not_found_status
    by_key = {(s.origin.kind, s.key): s.origin for candidate in candidates for s in candidate.sets}
    return [
        Diagnostic(
            by_key[origin],
            "DestinationMissing",
            f"requests for {_words(destination)} are answered {status}: there is no such destination",
        )
        for (origin, destination), status in seen.items()
    ]


def _words(destination: Destination) -> str:
    if not destination.host:
        return "an unusable reference"
    subset = f" subset {destination.subset}" if destination.subset else ""
    return f"{destination.host}:{destination.port}{subset}"


def by_port(value: Routing) -> Mapping[tuple[str, int], RouteTable]:
    return {(table.host, table.port): table for table in value.tables}
