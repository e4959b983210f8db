"""Which routes a service's port gets, from all the objects that ask for some.

Of the candidates that say anything about HTTP, the first decides ALONE, for all ports: one that it has no route for is
forwarded to as if there were no routes at all (listener_waypoint.go, buildWaypointInboundHTTPRouteConfig).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    if not candidates:
        return Routing((), tuple(notes))
    winner, losers = candidates[0], candidates[1:]
    notes += _shadowed(shape, winner, losers)
    tables = tuple(_tables(shape, winner, waypoint, around))
    if not tables:
        notes += _idle(shape, winner)
    notes += _missing(winner, tables)
    return Routing(tables, tuple(notes))


def _tables(shape: Shape, winner: Candidate, waypoint: Key, around: Surroundings) -> Iterator[RouteTable]:
    for port in shape.ports:
        if port.protocol.http or port.protocol is AppProtocol.UNDECLARED:
            routes = tuple(
                _resolved(draft.route, port.number, around)
                for draft in winner.drafts
                if draft.port in (0, port.number) and draft.source_namespace in ("", waypoint.namespace)
            )
            if routes:
                yield RouteTable(shape.host, port.number, routes)


def _shadowed(shape: Shape, winner: Candidate, losers: list[Candidate]) -> list[Diagnostic]:
    first = winner.sets[0].origin
    message = f"no effect on {shape.host}: {first} was there first, and a waypoint follows only one"
    return [Diagnostic(s.origin, "Shadowed", message, field=s.field) for loser in losers for s in loser.sets]


def _idle(shape: Shape, winner: Candidate) -> list[Diagnostic]:
    if winner.drafts:
        reason, why = "NoPort", "it has no HTTP port that matches"
    else:
        reason, why = "NoRoute", "none of its routes can match at a waypoint, which forwards all requests as they are"
    return [Diagnostic(s.origin, reason, f"no effect on {shape.host}: {why}", field=s.field) for s in winner.sets]


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


def _missing(winner: Candidate, tables: tuple[RouteTable, ...]) -> list[Diagnostic]:
    """Findings for shares that nothing serves; the status of an HTTPRoute says so only of whole Services."""
    seen: dict[tuple[tuple[str, Key], Destination], int] = {}
    for table in tables:
        for route in table.routes:
            if isinstance(route.action, Forward):
                for item in route.action.destinations:
                    if not item.found:
                        seen[(route.origin, item.destination)] = route.action.not_found_status
    by_key = {(s.origin.kind, s.key): s.origin for s in winner.sets}
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
