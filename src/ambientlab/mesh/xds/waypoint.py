"""A waypoint: Envoy between the clients of services and their endpoints.

    15008 connect_terminate ──▶ main_internal ──▶ inbound-vip|… clusters ──▶ connect_originate ──▶ the pods' 15008
          (tunnel ends)     └─▶ main_internal_detect ┘   (routes, faults)      (tunnels begin)

A CONNECT asks for a service's VIP and port; the internal listeners have one filter chain for each, named as in Istio,
whose routes come by RDS under the same name. A chain that does not change keeps its connections when others come and
go, and what usually changes are routes, endpoints and policies, which touch no listener at all. Ports that declare no
protocol have a listener of their own, because finding it out is a property of the whole listener in Envoy.
"""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from ambientlab.mesh.ir import (
    EVERYTHING,
    AppProtocol,
    Destination,
    Forward,
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
    Workload,
    by_address,
    localities,
)
from ambientlab.mesh.xds import endpoints, guards, labels, routes, waypoint_clusters, waypoint_listeners
from ambientlab.mesh.xds.discovery import Discovery
from ambientlab.mesh.xds.health import HEALTH, health
from ambientlab.mesh.xds.memo import Memo
from ambientlab.mesh.xds.messages import CONNECT_ORIGINATE
from ambientlab.mesh.xds.routes import ANY
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Resources
from ambientlab.mesh.xds.waypoint_clusters import ENCAP, with_subset
from ambientlab.mesh.xds.waypoint_listeners import Chain

UNKNOWN_SERVICE = "UnknownService"


class WaypointProxy:
    """Generates the resources of the instances of one Gateway, and remembers them: see `memo`.

    `secrets` are the names of those that its clusters need beyond the mesh's own.
    """

    def __init__(self, gateway: Key) -> None:
        self.gateway = gateway
        self.secrets: frozenset[str] = frozenset()
        self._needed: set[str] = set()
        self._instance: Workload | None = None
        self._clusters: Memo[Cluster] = Memo()
        self._assignments: Memo[ClusterLoadAssignment] = Memo()
        self._chains: Memo[FilterChain] = Memo()
        self._listeners: Memo[Listener] = Memo()
        self._routes: Memo[RouteConfiguration] = Memo()
        self._destinations: Memo[tuple[Destination, ...]] = Memo()
        self._extensions: Memo[Message] = Memo()
        self._shared: Memo[dict[str, Message]] = Memo()
        self._health: dict[str, Message] = {HEALTH: health()}

    def resources(self, mesh: Mesh) -> Resources:
        result: Resources = {CLUSTER: {}, ENDPOINTS: {}, LISTENER: {}, EXTENSION: {}, ROUTES: {}}
        result[CLUSTER].update(self._shared.get(CLUSTER, waypoint_clusters.shared, mesh.trust))
        result[LISTENER].update(self._health)
        served = mesh.services_of(self.gateway)
        self._needed = set()
        waypoint = mesh.waypoints.get(self.gateway)
        # all instances are given the same, and there is but one node for them to be on
        self._instance = next(iter(waypoint.members), None) if waypoint is not None else None
        chains: list[Chain] = []
        answering = by_address(served)
        for service in served:
            for port in service.ports:
                vips = tuple(vip for vip in service.vips if answering[vip, port.number] is service)
                chains += self._port(mesh, result, service, port, vips)
            self._guard(
                mesh,
                result,
                service.host,
                mesh.guards.get((self.gateway, service.host), Guard()),
                http=any(port.protocol.http or port.protocol is AppProtocol.UNDECLARED for port in service.ports),
                network=any(not port.protocol.http for port in service.ports),
            )
        own = self._telemetry(mesh)
        self._direct(mesh, result, chains)
        declared = tuple(c for c in chains if not c.detected)
        detected = tuple(c for c in chains if c.detected)
        result[LISTENER]["connect_terminate"] = self._listeners.get(
            "connect_terminate", waypoint_listeners.connect_terminate, own, mesh.trust
        )
        result[LISTENER][CONNECT_ORIGINATE] = self._listeners.get(
            CONNECT_ORIGINATE, waypoint_listeners.connect_originate, own, self.gateway
        )
        for name, some in (("main_internal", declared), ("main_internal_detect", detected)):
            result[LISTENER][name] = self._listeners.get(
                name, waypoint_listeners.main_internal, name, some, name != "main_internal", own
            )
        targets = tuple(sorted({t for c in detected for t in c.targets}))
        result[ROUTES]["connect_terminate"] = self._routes.get(
            "connect_terminate", waypoint_listeners.termination_routes, targets
        )
        for memo in (
            self._shared,
            self._clusters,
            self._assignments,
            self._chains,
            self._listeners,
            self._routes,
            self._destinations,
            self._extensions,
        ):
            memo.end_round()
        self.secrets = frozenset(self._needed)
        return result

    def _port(self, mesh: Mesh, result: Resources, service: Service, port: Port, vips: tuple[str, ...]) -> list[Chain]:
        """`vips` are those of the service's at which no other one answers on this port."""
        detected = port.protocol is AppProtocol.UNDECLARED
        targets = tuple(f"{vip}:{port.number}" for vip in vips)
        telemetry = self._telemetry(mesh, service.host)
        chains = []
        if port.protocol.http or detected:
            name = waypoint_clusters.inbound_name(service.host, port.number, "http")
            self._clusters_of(result, service, port, name)
            self._route(mesh, result, service, port, name)
            dynamic = service.resolution is Resolution.DYNAMIC_DNS
            chain = self._chains.get(
                name, waypoint_listeners.http_chain, telemetry, name, service.host, port.protocol.http2, dynamic
            )
            chains.append(Chain(name, targets, chain, detected, http=True))
        if not port.protocol.http:
            name = waypoint_clusters.inbound_name(service.host, port.number, "tcp")
            self._clusters_of(result, service, port, name)
            shares, policy = self._tcp_route(mesh, result, service, port)
            chain = self._chains.get(name, waypoint_listeners.tcp_chain, telemetry, name, service.host, shares, policy)
            chains.append(Chain(name, targets, chain, detected, http=False))
        return chains

    def _clusters_of(self, result: Resources, service: Service, port: Port, name: str) -> None:
        """Of the service as a whole, and of each of its subsets."""
        self._cluster(result, service, port, name)
        for subset in service.subsets:
            self._cluster(result, service, port, with_subset(name, subset.name), subset.name)

    def _cluster(self, result: Resources, service: Service, port: Port, name: str, subset_name: str = "") -> None:
        policy = service.policy(port.number, subset_name)
        viewer = self._instance if localities.matter(policy) else None
        found = self._assignments.get(name, endpoints.of_endpoints, name, service, port.number, subset_name, viewer)
        by_name = found if service.resolution.by_name else None
        source = Discovery(service.resolution, by_name, port.target, service.host)
        cluster = self._clusters.get(
            name,
            waypoint_clusters.service_cluster,
            name,
            port.protocol,
            subset_name,
            policy,
            labels.service(service),
            source,
        )
        result[CLUSTER][name] = cluster
        if policy.tls is not None:
            self._needed.update(policy.tls.secrets)
        if cluster.type == Cluster.EDS:
            result[ENDPOINTS][name] = found

    def _route(self, mesh: Mesh, result: Resources, service: Service, port: Port, name: str) -> None:
        table = mesh.routes.get((service.host, port.number))
        if table is None:
            # of the service as a whole: for requests without routes, Istio does not ask what holds for the port
            key = _hash_key(service, 0)
            result[ROUTES][name] = self._routes.get(
                name, routes.default_routes, name, service.host, port.number, key, _authorities(service)
            )
            return
        names: dict[Destination, str] = {}
        keys: dict[Destination, HashKey | None] = {}
        for destination in self._destinations.get(name, _destinations, table):
            names[destination] = self._destination(mesh, result, destination)
            target = mesh.services.get(destination.host)
            keys[destination] = _hash_key(target, destination.port, destination.subset) if target is not None else None
        result[ROUTES][name] = self._routes.get(
            name, _table_routes, name, table, tuple(names.items()), tuple(keys.items()), _authorities(service)
        )

    def _tcp_route(
        self, mesh: Mesh, result: Resources, service: Service, port: Port
    ) -> tuple[tuple[tuple[str, int], ...], TrafficPolicy]:
        """The clusters that connections go to by weight, none for the service's own, and the policy they keep to: one
        proxy has one, so that of the first destination stands for all (buildWaypointNetworkFilters)."""
        route = mesh.tcp_routes.get((service.host, port.number))
        if route is None:
            return (), service.policy(0)
        if not route.destinations:
            return ((UNKNOWN_SERVICE, 1),), TrafficPolicy()
        shares = tuple((self._destination(mesh, result, item.destination), item.weight) for item in route.destinations)
        first = mesh.services.get(route.destinations[0].destination.host)
        return shares, TrafficPolicy() if first is None else first.policy(0)

    def _destination(self, mesh: Mesh, result: Resources, destination: Destination) -> str:
        """The cluster that serves a destination. One of a service that has another waypoint or none is made here; the
        name of a destination that is not there names no cluster."""
        if not destination.host:
            return UNKNOWN_SERVICE
        service = mesh.services.get(destination.host)
        port = None if service is None else service.port(destination.port)
        if service is None or self.gateway in dict(service.waypoints):
            kind = "http" if port is None or port.protocol.http or port.protocol is AppProtocol.UNDECLARED else "tcp"
            base = waypoint_clusters.inbound_name(destination.host, destination.port, kind)
            return with_subset(base, destination.subset)
        name = waypoint_clusters.outbound_name(destination.host, destination.port, destination.subset)
        if port is not None and (not destination.subset or service.subset(destination.subset) is not None):
            self._cluster(result, service, port, name, destination.subset)
        return name

    def _telemetry(self, mesh: Mesh, host: str = "") -> Telemetry:
        return mesh.telemetry.get((self.gateway, host), EVERYTHING)

    def _guard(self, mesh: Mesh, result: Resources, owner: str, guard: Guard, *, http: bool, network: bool) -> None:
        provider = guard.provider
        cluster = self._destination(mesh, result, Destination(provider.host, provider.port)) if provider else ""
        found = [
            *((guards.http_content(owner, guard, cluster),) if http else ()),
            *(guards.network_contents(owner, guard, cluster) if network else ()),
        ]
        for name, make, inputs in found:
            result[EXTENSION][name] = self._extensions.get(name, guards.extension_config, name, make, *inputs)

    def _direct(self, mesh: Mesh, result: Resources, chains: list[Chain]) -> None:
        """Connections to the addresses of workloads that use this waypoint; HTTP is recognised, not routed."""
        ips = tuple(sorted(w.ip for w in mesh.workloads.values() if w.waypoint == self.gateway))
        if not ips:
            return
        own = self._telemetry(mesh)
        http = self._chains.get("direct-http", waypoint_listeners.direct_http_chain, own)
        tcp = self._chains.get(
            "direct-tcp", waypoint_listeners.tcp_chain, own, "direct-tcp", guards.DIRECT, ((ENCAP, 1),)
        )
        chains.append(Chain("direct-http", ips, http, True, http=True))
        chains.append(Chain("direct-tcp", ips, tcp, True, http=False))
        guard = mesh.guards.get((self.gateway, ""), Guard())
        self._guard(mesh, result, guards.DIRECT, guard, http=True, network=True)


def _table_routes(
    name: str,
    table: RouteTable,
    names: tuple[tuple[Destination, str], ...],
    keys: tuple[tuple[Destination, HashKey | None], ...],
    authorities: str,
) -> RouteConfiguration:
    return routes.table_routes(name, table, dict(names).__getitem__, dict(keys).__getitem__, authorities)


def _authorities(service: Service) -> str:
    """Which a request may have. Where its authority says where it goes, it must be one of the service's
    (listener_waypoint.go, buildRouteVHostDomains)."""
    return service.host if service.resolution is Resolution.DYNAMIC_DNS else ANY


def _hash_key(service: Service, port: int, subset: str = "") -> HashKey | None:
    balancer = service.policy(port, subset).load_balancer
    return balancer.hash.key if balancer is not None and balancer.hash is not None else None


def _destinations(table: RouteTable) -> tuple[Destination, ...]:
    found: dict[Destination, None] = {}
    for route in table.routes:
        if isinstance(route.action, Forward):
            found.update(dict.fromkeys(d.destination for d in route.action.destinations))
            found.update(dict.fromkeys(m.destination for m in route.action.mirrors))
    return tuple(found)
