"""Routes: the objects that ask for some, read, and what every service's ports get of them."""

from __future__ import annotations

from collections.abc import Mapping

from ambientlab.api import objects
from ambientlab.api.kinds import (
    GATEWAY,
    GATEWAYCLASS,
    GRPCROUTE,
    HTTPROUTE,
    NAMESPACE,
    REFERENCEGRANT,
    SERVICE,
    SERVICEENTRY,
    TCPROUTE,
    TLSROUTE,
    VIRTUALSERVICE,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Collection, Context, Derive, Graph
from ambientlab.mesh.index import (
    candidates,
    delegates,
    gatewayroute,
    grpcroute,
    httproute,
    meanings,
    resolve,
    tables,
    tcproute,
    virtualservice,
    waypoints,
)
from ambientlab.mesh.index.destinationrules import Rules
from ambientlab.mesh.index.drafts import Reading, RouteSet
from ambientlab.mesh.index.findings import Said, of_readings
from ambientlab.mesh.index.grants import Grants
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import Key, RouteTable, TcpRoute, names

_GATEWAY_API: Mapping[Resource, gatewayroute.Read] = {
    HTTPROUTE: httproute.read,
    GRPCROUTE: grpcroute.read,
    TCPROUTE: tcproute.read_tcp,
    TLSROUTE: tcproute.read_tls,
}


class Routes:
    """The collections of routes, derived within the graph of everything else.

    `gateway_api` and `virtual_services` are the objects as they are read; `tables` and `connections` are what is to be
    done with the requests and with the connections to a port of a host.
    """

    def __init__(
        self,
        graph: Graph,
        sources: Mapping[Resource, Collection[Key, Object]],
        shapes: Collection[str, Shape],
        rules: Rules,
        domain: str,
    ) -> None:
        self._sources, self._shapes, self._rules, self._domain = sources, shapes, rules, domain
        self._granted = Grants(sources[REFERENCEGRANT])
        self.gateway_api: dict[Resource, Collection[Key, Reading]] = {
            resource: graph.derive(f"{resource.kind}s read", sources[resource], self._reader(read))
            for resource, read in _GATEWAY_API.items()
        }
        self._delegating = sources[VIRTUALSERVICE].index(delegates.targets)
        self.virtual_services: Collection[Key, Reading] = graph.derive(
            "VirtualServices read", sources[VIRTUALSERVICE], self._virtual_service
        )
        self._sets = candidates.RouteSets(*(graph.derive(f"sets of {r.name}", r, _sets) for r in self._readings))
        self._routing: Collection[str, tables.Routing] = graph.derive("routing", shapes, self._route)
        self.tables: Collection[tuple[str, int], RouteTable] = graph.derive(
            "route tables", self._routing, lambda _, __, value: tables.by_port(value)
        )
        self.connections: Collection[tuple[str, int], TcpRoute] = graph.derive(
            "TCP routes", self._routing, lambda _, __, value: tables.tcp_by_port(value)
        )

    def said(self) -> list[Said]:
        return [*map(of_readings, self._readings), of_readings(self._routing)]

    def asking(self, ctx: Context, host: str) -> list[RouteSet]:
        """What objects want to route a host, whether or not they are heard. To those in a namespace where its name
        means something else, that is meant."""
        found = self._sets.of(ctx, names.hostname(host))
        homes = {s.origin.namespace for s in found}
        concerned = {home for home in homes if meanings.concerned(ctx, self._shapes, home, host)}
        return [s for s in found if s.origin.namespace in concerned]

    @property
    def _readings(self) -> tuple[Collection[Key, Reading], ...]:
        return (*self.gateway_api.values(), self.virtual_services)

    def _reader(self, read: gatewayroute.Read) -> Derive[Key, Object, Key, Reading]:
        return lambda ctx, key, obj: {key: read(key, obj, self._surroundings(ctx))}

    def _surroundings(self, ctx: Context) -> gatewayroute.Surroundings:
        sources = self._sources
        return gatewayroute.Surroundings(
            lambda service: ctx.fetch(sources[SERVICE], service),
            lambda entry: ctx.fetch(sources[SERVICEENTRY], entry),
            lambda host: ctx.fetch(self._shapes, host) is not None,
            lambda name: objects.labels_of(ctx.fetch(sources[NAMESPACE], Key("", name)) or {"metadata": {}}),
            lambda gateway: waypoints.controller(ctx, gateway, sources[GATEWAY], sources[GATEWAYCLASS]),
            lambda source, target: self._granted.allowed(ctx, source, target),
            self._domain,
        )

    def _virtual_service(self, ctx: Context, key: Key, obj: Object) -> Mapping[Key, Reading]:
        reading = virtualservice.read(
            key,
            obj,
            self._domain,
            lambda other: ctx.fetch(self._sources[VIRTUALSERVICE], other),
            lambda other: bool(ctx.select(self._delegating, other)),
        )
        return {key: reading}

    def _route(self, ctx: Context, host: str, shape: Shape) -> Mapping[str, tables.Routing]:
        waypoint = shape.binding.waypoint
        home = shape.key.namespace if waypoint is None else waypoint.namespace

        def subset_names(target: Shape) -> frozenset[str]:
            rule = self._rules.of(ctx, target.key.namespace, target.hostname, waypoint)
            return frozenset(subset.name for subset, _ in rule.subsets) if rule is not None else frozenset()

        around = resolve.Surroundings(lambda of: meanings.meant(ctx, self._shapes, home, of), subset_names)
        value = tables.routing(shape, self.asking(ctx, host), around)
        return {} if value is None else {host: value}


def _sets(_: Context, key: Key, reading: Reading) -> Mapping[tuple[Key, int], RouteSet]:
    return {(key, i): s for i, s in enumerate(reading.sets)}
