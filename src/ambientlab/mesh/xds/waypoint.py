"""A waypoint: Envoy between the clients of services and their endpoints.

    15008 connect_terminate ──▶ main_internal ──▶ inbound-vip|… clusters ──▶ connect_originate ──▶ the pods' 15008
          (tunnel ends)     ├─▶ main_internal_detect ┤   (routes, faults)      (tunnels begin)
                            └─▶ main_internal_tls ───┘

A CONNECT asks for a service's VIP and port; the internal listeners have one filter chain for each, named as in Istio,
whose routes come by RDS under the same name. A chain that does not change keeps its connections when others come and
go, and what usually changes are routes, endpoints and policies, which touch no listener at all. Ports that declare no
protocol have a listener of their own, and ports of TLS another, because what is found out about a connection is a
property of the whole listener in Envoy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from google.protobuf.message import Message

from ambientlab.flow.collection import Collection, Context, Graph, Source
from ambientlab.mesh.ir import (
    EVERYTHING,
    THE_MESH,
    AppProtocol,
    Destination,
    Guard,
    HashKey,
    Key,
    Mesh,
    Port,
    Resolution,
    RouteTable,
    Service,
    Telemetry,
    TrafficPolicy,
    TrustDomains,
    Workload,
    by_address,
)
from ambientlab.mesh.xds import guards, routes, waypoint_clusters, waypoint_listeners
from ambientlab.mesh.xds.health import health
from ambientlab.mesh.xds.routes import ANY
from ambientlab.mesh.xds.trials import Trial
from ambientlab.mesh.xds.types import CLUSTER, EXTENSION, LISTENER, ROUTES, Made, Owned
from ambientlab.mesh.xds.waypoint_backends import UNKNOWN_SERVICE, Backends, inbound_names
from ambientlab.mesh.xds.waypoint_clusters import ENCAP, MAIN_INTERNAL, MAIN_INTERNAL_DETECT, MAIN_INTERNAL_TLS
from ambientlab.mesh.xds.waypoint_listeners import Chain


class Waypoints:
    """Derives the resources of the Gateways in `served`, which are those that have proxies.

    Endpoints change more often than anything else: only assignments are made from them, all else from `promises`, the
    services without. `trials` are of what a proxy refuses of `tables`, which are as it is to have them. In `leaving`
    are services with waypoints that they do not use any more and clients may still be on their way to, likewise
    workloads in `leaving_workloads`. `ipv6` is whether waypoints can be reached by it.
    """

    def __init__(self, graph: Graph, mesh: Mesh, *, ipv6: bool = True) -> None:
        self._mesh = mesh
        self._ipv6 = ipv6
        self.served: Source[Key, Key] = graph.source("waypoints with proxies")
        self.leaving: Source[tuple[Key, str], Key] = graph.source("services that leave waypoints")
        self._left = self.leaving.index(lambda place, _: (place[1],))
        self.leaving_workloads: Source[tuple[Key, Key], Key] = graph.source("workloads that leave waypoints")
        self._left_by = self.leaving_workloads.index(lambda place, _: (place[1],))
        self.trials: Source[tuple[Key, str, int], Trial] = graph.source("trials of route tables")
        promises: Collection[str, Service] = graph.derive(
            "services without endpoints", mesh.services, lambda _, host, each: {host: replace(each, endpoints=())}
        )
        self._promises = promises
        fronted: Collection[tuple[Key, str], Service] = graph.derive("services of waypoints", promises, self._fronted)
        self._claims = graph.group("addresses of waypoints", fronted, _claims)
        numbers = graph.group(
            "ports of waypoints", fronted, lambda place, service: [(place[0], port.number) for port in service.ports]
        )
        self._disputed: Collection[tuple[Key, int], bool] = graph.derive("disputed ports", numbers, _disputed)
        self.tables: Collection[tuple[Key, str, int], RouteTable] = graph.derive(
            "route tables of waypoints", fronted, self._tables_of
        )
        self._filters: Collection[tuple[Key, str, int], frozenset[str]] = graph.derive(
            "filters of routes", self.tables, lambda _, place, table: {place: routes.filters(table)}
        )
        self._counted: Collection[tuple[Key, str, int], bool] = graph.derive(
            "ports with statistics of routes",
            self.tables,
            lambda _, place, table: {place: True} if routes.counted(table) else {},
        )
        self.backends = Backends(graph, mesh, promises, self.served, fronted, self.tables)
        bound: Collection[tuple[Key, Key], Workload] = graph.derive(
            "workloads of waypoints", mesh.workloads, self._bound
        )
        self._addresses = graph.derive(
            "addresses of waypoints' workloads",
            graph.group("workloads by waypoint", bound, lambda place, _: (place[0],)),
            _addresses,
        )
        chains: Collection[tuple[Key, str, int, str], Chain] = graph.derive("filter chains", fronted, self._chains_of)
        self._chains = graph.group("filter chains by waypoint", chains, lambda place, _: (place[0],))
        self.resources: tuple[Collection[Owned, Message], ...] = (
            graph.derive("what every waypoint has", self.served, self._constant),
            self.backends.clusters,
            self.backends.assignments,
            graph.derive("doors of waypoints", self.served, self._doors),
            graph.derive("internal listeners of waypoints", self.served, self._internal_listeners),
            graph.derive("routes of waypoints", fronted, self._routes_of),
            graph.derive("policies of services", fronted, self._guard_of_service),
            graph.derive("policies of waypoints themselves", self.served, self._guard_of_waypoint),
        )

    def _fronted(self, ctx: Context, host: str, service: Service) -> Mapping[tuple[Key, str], Service]:
        gateways = dict.fromkeys([*(gateway for gateway, _ in service.waypoints), *ctx.select(self._left, host)])
        return {(gateway, host): service for gateway in gateways if ctx.fetch(self.served, gateway)}

    def _bound(self, ctx: Context, key: Key, workload: Workload) -> Mapping[tuple[Key, Key], Workload]:
        gateways = dict.fromkeys(ctx.select(self._left_by, key))
        if workload.waypoint is not None:
            gateways[workload.waypoint] = None
        return {(gateway, key): workload for gateway in gateways}

    def _tables_of(
        self, ctx: Context, place: tuple[Key, str], service: Service
    ) -> Mapping[tuple[Key, str, int], RouteTable]:
        gateway, host = place
        found = {}
        for port in service.ports:
            table = ctx.fetch(self._mesh.routes, (host, port.number))
            if table is not None:
                trial = ctx.fetch(self.trials, (gateway, host, port.number))
                found[gateway, host, port.number] = table if trial is None else trial.published(table)
        return found

    def _constant(self, ctx: Context, gateway: Key, _: Key) -> Made:
        clusters, listener = waypoint_clusters.shared(self._trust(ctx)), health()
        return {
            **{(gateway, CLUSTER, name): cluster for name, cluster in clusters.items()},
            (gateway, LISTENER, listener.name): listener,
        }

    def _trust(self, ctx: Context) -> TrustDomains:
        return ctx.fetch(self._mesh.trust_domains, THE_MESH) or TrustDomains()

    def _doors(self, ctx: Context, gateway: Key, _: Key) -> Made:
        """Where tunnels end, and where those to endpoints begin."""
        own = self._telemetry(ctx, gateway)
        end = waypoint_listeners.connect_terminate(own, self._trust(ctx), ipv6=self._ipv6)
        beginning = waypoint_listeners.connect_originate(own, gateway)
        return {(gateway, LISTENER, listener.name): listener for listener in (end, beginning)}

    def _internal_listeners(self, ctx: Context, gateway: Key, _: Key) -> Made:
        own = self._telemetry(ctx, gateway)
        chains = [*(ctx.fetch(self._chains, gateway) or ()), *self._direct(ctx, gateway, own)]
        by_listener: dict[str, list[Chain]] = {MAIN_INTERNAL: [], MAIN_INTERNAL_DETECT: []}
        for chain in chains:
            by_listener.setdefault(chain.listener, []).append(chain)
        made: dict[Owned, Message] = {
            (gateway, LISTENER, name): waypoint_listeners.main_internal(name, some, own)
            for name, some in by_listener.items()
        }
        del by_listener[MAIN_INTERNAL]
        targets = {
            name: sorted({target for one in some for target in one.targets}) for name, some in by_listener.items()
        }
        made[gateway, ROUTES, "connect_terminate"] = waypoint_listeners.termination_routes(targets)
        if MAIN_INTERNAL_TLS in by_listener:
            made[gateway, CLUSTER, MAIN_INTERNAL_TLS] = waypoint_clusters.inner(MAIN_INTERNAL_TLS)
        return made

    def _direct(self, ctx: Context, gateway: Key, own: Telemetry) -> list[Chain]:
        """Connections to the addresses of workloads that use this waypoint; HTTP is recognised, not routed."""
        ips = ctx.fetch(self._addresses, gateway)
        if ips is None:
            return []
        targets = tuple((ip, 0) for ip in ips)
        http = waypoint_listeners.direct_http_chain(own)
        tcp = waypoint_listeners.tcp_chain(own, "direct-tcp", guards.DIRECT, ((ENCAP, 1),))
        return [
            Chain("direct-http", targets, http, MAIN_INTERNAL_DETECT, http=True),
            Chain("direct-tcp", targets, tcp, MAIN_INTERNAL_DETECT, http=False),
        ]

    def _chains_of(
        self, ctx: Context, place: tuple[Key, str], service: Service
    ) -> Mapping[tuple[Key, str, int, str], Chain]:
        """In the order that the listeners have them in."""
        gateway, host = place
        telemetry = self._telemetry(ctx, gateway, host)
        found = {}
        for position, port in enumerate(service.ports):
            listener = self._listener(ctx, gateway, port)
            targets = tuple((vip, port.number) for vip in service.vips if self._answers(ctx, place, vip, port))
            for kind, name in inbound_names(service, port).items():
                if kind == "http":
                    chain = waypoint_listeners.http_chain(
                        telemetry,
                        name,
                        host,
                        http2=port.protocol.http2,
                        dynamic=service.resolution is Resolution.DYNAMIC_DNS,
                        counted=ctx.fetch(self._counted, (*place, port.number)) or False,
                    )
                else:
                    shares, policy = self._connections(ctx, gateway, service, port)
                    chain = waypoint_listeners.tcp_chain(telemetry, name, host, shares, policy)
                found[gateway, host, position, kind] = Chain(name, targets, chain, listener, http=kind == "http")
        return found

    def _listener(self, ctx: Context, gateway: Key, port: Port) -> str:
        """Istio's waypoint has one listener, which looks for HTTP in all connections if it stands before workloads, and
        else in those to ports that its services do not agree about (buildWaypointInternal, httpInspector). Of clients
        that speak first nothing can be told by that; whose server does waits in vain."""
        if port.protocol is AppProtocol.TCP and (
            ctx.fetch(self._addresses, gateway) is not None or ctx.fetch(self._disputed, (gateway, port.number))
        ):
            return MAIN_INTERNAL_DETECT
        return waypoint_clusters.inner_listener(port.protocol)

    def _answers(self, ctx: Context, place: tuple[Key, str], vip: str, port: Port) -> bool:
        """Whether no other service of the waypoint has the address."""
        gateway, host = place
        claimants = ctx.fetch(self._claims, (gateway, vip, port.number)) or ()
        return by_address(claimants)[vip, port.number].host == host

    def _connections(
        self, ctx: Context, gateway: Key, service: Service, port: Port
    ) -> tuple[tuple[tuple[str, int], ...], TrafficPolicy]:
        """The clusters that connections go to by weight, none for the service's own, and the policy they keep to: one
        proxy has one, so that of the first destination stands for all (buildWaypointNetworkFilters)."""
        route = ctx.fetch(self._mesh.tcp_routes, (service.host, port.number))
        if route is None:
            return (), service.policy(0)
        if not route.destinations:
            return ((UNKNOWN_SERVICE, 1),), TrafficPolicy()
        shares = tuple((self.backends.name(ctx, gateway, d.destination), d.weight) for d in route.destinations)
        first = ctx.fetch(self._promises, route.destinations[0].destination.host)
        return shares, TrafficPolicy() if first is None else first.policy(0)

    def _routes_of(self, ctx: Context, place: tuple[Key, str], service: Service) -> Made:
        gateway, host = place
        made = {}
        for port in service.ports:
            name = inbound_names(service, port).get("http")
            if name is not None:
                table = ctx.fetch(self.tables, (gateway, host, port.number))
                config = (
                    # of the service as a whole: for requests without routes, Istio does not ask what holds for the port
                    routes.default_routes(name, host, port.number, _hash_key(service, 0), _authorities(service))
                    if table is None
                    else routes.table_routes(
                        name,
                        table,
                        lambda destination: self.backends.name(ctx, gateway, destination),
                        lambda destination: self._hash_key(ctx, destination),
                        _authorities(service),
                    )
                )
                made[gateway, ROUTES, name] = config
        return made

    def _hash_key(self, ctx: Context, destination: Destination) -> HashKey | None:
        service = ctx.fetch(self._promises, destination.host)
        return None if service is None else _hash_key(service, destination.port, destination.subset)

    def _guard_of_service(self, ctx: Context, place: tuple[Key, str], service: Service) -> Made:
        protocols = [port.protocol for port in service.ports]
        http = any(protocol.http or protocol is AppProtocol.UNDECLARED for protocol in protocols)
        network = any(not protocol.http for protocol in protocols)
        found = (ctx.fetch(self._filters, (*place, port.number)) for port in service.ports)
        filters: frozenset[str] = frozenset().union(*(names for names in found if names))
        return self._guard(ctx, *place, service.host, http=http, network=network, filters=filters)

    def _guard_of_waypoint(self, ctx: Context, gateway: Key, _: Key) -> Made:
        if ctx.fetch(self._addresses, gateway) is None:
            return {}
        return self._guard(ctx, gateway, "", guards.DIRECT, http=True, network=True)

    def _guard(
        self,
        ctx: Context,
        gateway: Key,
        host: str,
        owner: str,
        *,
        http: bool,
        network: bool,
        filters: frozenset[str] = frozenset(),
    ) -> Made:
        guard = ctx.fetch(self._mesh.guards, (gateway, host)) or Guard()
        provider = guard.provider
        destination = Destination(provider.host, provider.port) if provider is not None else None
        cluster = self.backends.name(ctx, gateway, destination) if destination is not None else ""
        found = [
            *((guards.http_content(owner, guard, cluster, filters),) if http else ()),
            *(guards.network_contents(owner, guard, cluster) if network else ()),
        ]
        return {(gateway, EXTENSION, content.name): content for content in found}

    def _telemetry(self, ctx: Context, gateway: Key, host: str = "") -> Telemetry:
        return ctx.fetch(self._mesh.telemetry, (gateway, host)) or EVERYTHING


def _claims(place: tuple[Key, str], service: Service) -> Iterator[tuple[Key, str, int]]:
    for vip, port in by_address([service]):
        yield place[0], vip, port


def _disputed(_: Context, place: tuple[Key, int], services: tuple[Service, ...]) -> Mapping[tuple[Key, int], bool]:
    """Those that HTTP may come to, and something else."""
    ports = [port for service in services for port in service.ports if port.number == place[1]]
    http = {port.protocol.http for port in ports}
    return {place: True} if len(http) > 1 or any(p.protocol is AppProtocol.UNDECLARED for p in ports) else {}


def _addresses(_: Context, gateway: Key, workloads: tuple[Workload, ...]) -> Mapping[Key, tuple[str, ...]]:
    return {gateway: tuple(sorted(ip for workload in workloads for ip in workload.ips))}


def _authorities(service: Service) -> str:
    """Which a request may have. Where its authority says where it goes, it must be one of the service's
    (listener_waypoint.go, buildRouteVHostDomains)."""
    return service.hostname if service.resolution is Resolution.DYNAMIC_DNS else ANY


def _hash_key(service: Service, port: int, subset: str = "") -> HashKey | None:
    balancer = service.policy(port, subset).load_balancer
    return balancer.hash.key if balancer is not None and balancer.hash is not None else None
