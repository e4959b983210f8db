"""Which routes a service's port gets, from all the objects that ask for some.

The rules are Istio's for waypoints. The candidates come in this order: VirtualServices private or exported to the
waypoint's namespace, HTTPRoutes of that namespace, then all others, each by creation (push_context.go,
VirtualServicesForGateway); those of other namespaces than the service's and the waypoint's are left out, and the first
of the rest decides ALONE (listener_waypoint.go, buildWaypointInboundHTTPRouteConfig). HTTPRoutes of one namespace for
the same service and port count as one (route_collections.go, mergeHTTPRoutes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.drafts import REQUEST_PORT, Draft, RouteSet
from ambientlab.mesh.index.gatewayroute import precedence
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.values import host_matches
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
class _Candidate:
    """One or more route sets that count as one. `rank` is the place in the order of candidates."""

    rank: tuple[int, str, str]
    sets: tuple[RouteSet, ...]
    drafts: tuple[Draft, ...]


class RouteSets:
    """Route sets by the host they are for."""

    def __init__(self, *collections: Collection[tuple[Key, int], RouteSet]) -> None:
        self._exact = [sets.index(lambda _, s: s.hosts) for sets in collections]
        self._wild = [
            sets.index(lambda _, s: ("*",) if any(h.startswith("*") for h in s.hosts) else ()) for sets in collections
        ]

    def of(self, ctx: Context, host: str) -> list[RouteSet]:
        exact = [s for index in self._exact for s in ctx.select(index, host)]
        wild = [
            s for index in self._wild for s in ctx.select(index, "*") if any(host_matches(h, host) for h in s.hosts)
        ]
        return exact + [s for s in wild if s not in exact]


def routing(
    ctx: Context,
    shape: Shape,
    sets: RouteSets,
    lookup: Callable[[str], Shape | None],
    subset_names: Callable[[str], frozenset[str]],
) -> Routing | None:
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
    eligible: list[RouteSet] = []
    for s in asking:
        if s.origin.namespace not in (shape.key.namespace, waypoint.namespace):
            notes.append(
                Diagnostic(
                    s.origin,
                    "ForeignNamespace",
                    f"no effect on {shape.host}: a waypoint takes routes only from the namespace of the service "
                    f"({shape.key.namespace}) or its own ({waypoint.namespace})",
                    field=s.field,
                )
            )
        elif not _visible(s, waypoint.namespace):
            notes.append(
                Diagnostic(
                    s.origin,
                    "NotExported",
                    f"no effect on {shape.host}: exportTo does not reach {waypoint.namespace}, where its waypoint is",
                    field="spec.exportTo",
                )
            )
        else:
            eligible.append(s)
    candidates = sorted(_candidates(eligible, waypoint.namespace), key=lambda c: c.rank)
    if not candidates:
        return Routing((), tuple(notes))
    winner = candidates[0]
    for loser in candidates[1:]:
        notes += [
            Diagnostic(
                s.origin,
                "Shadowed",
                f"no effect on {shape.host}: {winner.sets[0].origin} was there first, and a waypoint follows only one",
                field=s.field,
            )
            for s in loser.sets
        ]
    tables = []
    for port in shape.ports:
        if not (port.protocol.http or port.protocol is AppProtocol.UNDECLARED):
            continue
        routes = tuple(
            _resolve(d.route, port.number, lookup, subset_names) for d in winner.drafts if d.port in (0, port.number)
        )
        if routes:
            tables.append(RouteTable(shape.host, port.number, routes))
    if not tables:
        notes += [
            Diagnostic(
                s.origin, "NoPort", f"no effect on {shape.host}: it has no HTTP port that matches", field=s.field
            )
            for s in winner.sets
        ]
    notes += _missing(winner, tables)
    return Routing(tuple(tables), tuple(notes))


def _visible(s: RouteSet, namespace: str) -> bool:
    return not s.export_to or any(
        e in ("*", namespace) or (e == "." and s.origin.namespace == namespace) for e in s.export_to
    )


def _candidates(sets: list[RouteSet], home: str) -> list[_Candidate]:
    result = []
    merged: dict[tuple[str, int], list[RouteSet]] = {}
    for s in sets:
        if s.gateway_api:
            merged.setdefault((s.origin.namespace, s.port), []).append(s)
            continue
        if s.export_to == (".",):
            place = 0
        elif s.export_to and "*" not in s.export_to:
            place = 1
        else:
            place = 3
        result.append(_Candidate((place, s.created, f"{s.origin.name}.{s.origin.namespace}"), (s,), s.drafts))
    for (namespace, port), group in merged.items():
        group.sort(key=lambda s: (s.created, s.origin.namespace, s.origin.name))
        drafts = sorted((d for s in group for d in s.drafts), key=lambda d: precedence(d.route))
        name = f"{namespace}~{port}~" if port else f"{namespace}~"
        place = 2 if namespace == home else 3
        result.append(_Candidate((place, group[0].created, name), tuple(group), tuple(drafts)))
    return result


def _resolve(
    route: Route,
    port: int,
    lookup: Callable[[str], Shape | None],
    subset_names: Callable[[str], frozenset[str]],
) -> Route:
    action = route.action
    if isinstance(action, Redirect):
        number = port if action.port == REQUEST_PORT else action.port
        own = {"https": 443}.get(action.scheme, 80)
        return replace(route, action=replace(action, port=0 if number == own else number))
    if not isinstance(action, Forward):
        return route

    def place(destination: Destination) -> Destination:
        if destination.port or not destination.host:
            return destination
        shape = lookup(destination.host)
        number = shape.ports[0].number if shape is not None and len(shape.ports) == 1 else port
        return replace(destination, port=number)

    def exists(destination: Destination) -> bool:
        shape = lookup(destination.host)
        if shape is None or shape.port(destination.port) is None:
            return False
        return not destination.subset or destination.subset in subset_names(destination.host)

    destinations: list[WeightedDestination] = []
    for item in action.destinations:
        there = place(item.destination)
        destinations.append(replace(item, destination=there, found=item.found and exists(there)))
    mirrors: list[Mirror] = []
    for mirror in action.mirrors:
        there = place(mirror.destination)
        if exists(there):
            mirrors.append(replace(mirror, destination=there))
    return replace(route, action=replace(action, destinations=tuple(destinations), mirrors=tuple(mirrors)))


def _missing(winner: _Candidate, tables: list[RouteTable]) -> list[Diagnostic]:
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
