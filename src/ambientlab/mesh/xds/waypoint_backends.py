"""What a waypoint's requests and connections can be sent to: its clusters, and what they are needed for.

A service has clusters under its own names where the waypoint stands in front of it, also while it leaves: a request
that is delayed has chosen one of them, which must be there still when it goes on. A destination of a route that has
another waypoint or none gets one as well, under the name of an outbound cluster, once however many routes lead there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.message import Message

from ambientlab.flow.collection import Collection, Context, Graph, Source
from ambientlab.mesh.ir import (
    AppProtocol,
    Destination,
    Distribution,
    Forward,
    Key,
    Mesh,
    Port,
    RouteTable,
    Service,
    localities,
)
from ambientlab.mesh.xds import endpoints, labels, waypoint_clusters
from ambientlab.mesh.xds.discovery import Discovery
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, Made, Owned
from ambientlab.mesh.xds.waypoint_clusters import with_subset

UNKNOWN_SERVICE = "UnknownService"

_Fronted = tuple[Key, str]
_Wanted = tuple[Key, str, Destination]


def inbound_names(service: Service, port: Port) -> dict[str, str]:
    """By what is spoken there, "http" or "tcp": of a port that declares nothing, both."""
    detected = port.protocol is AppProtocol.UNDECLARED
    kinds = {"http": port.protocol.http or detected, "tcp": not port.protocol.http}
    return {
        kind: waypoint_clusters.inbound_name(service.host, port.number, kind)
        for kind, spoken in kinds.items()
        if spoken
    }


class Backends:
    """`promises` are services without their endpoints, `fronted` those of each waypoint that is `served`."""

    def __init__(
        self,
        graph: Graph,
        mesh: Mesh,
        promises: Collection[str, Service],
        served: Source[Key, Key],
        fronted: Collection[_Fronted, Service],
        tables: Collection[tuple[Key, str, int], RouteTable],
    ) -> None:
        self._mesh, self._promises, self._fronted, self._tables = mesh, promises, fronted, tables
        wanted: Collection[_Wanted, Destination] = graph.join(
            "destinations",
            graph.derive("destinations of services", fronted, self._wanted_by_service),
            graph.derive("destinations of waypoints themselves", served, self._wanted_by_waypoint),
        )
        targets: Collection[tuple[Key, str], Destination] = graph.join(
            "what clusters are for",
            graph.derive("clusters of services", fronted, lambda _, place, service: _own(place[0], service)),
            graph.derive(
                "clusters of destinations",
                graph.group("destinations by waypoint", wanted, lambda place, each: ((place[0], each),)),
                self._outbound,
            ),
        )
        self.clusters: Collection[Owned, Message] = graph.derive("clusters of waypoints", targets, self._cluster)
        self.assignments: Collection[Owned, Message] = graph.derive("endpoints of waypoints", targets, self._assignment)
        secrets: Collection[tuple[Key, str], tuple[str, ...]] = graph.derive(
            "secrets of waypoints", targets, self._secrets_of
        )
        self._users = secrets.index(lambda place, names: [(place[0], name) for name in names])

    def needs(self, gateway: Key, secret: str) -> bool:
        """Whether a cluster of the waypoint names the secret."""
        return bool(self._users.select((gateway, secret)))

    def name(self, ctx: Context, gateway: Key, destination: Destination) -> str:
        """The cluster that serves a destination; for one that is not there, a name that no cluster has."""
        if not destination.host:
            return UNKNOWN_SERVICE
        service = ctx.fetch(self._promises, destination.host)
        port = None if service is None else service.port(destination.port)
        if service is None or ctx.fetch(self._fronted, (gateway, destination.host)) is not None:
            kind = "http" if port is None or port.protocol.http or port.protocol is AppProtocol.UNDECLARED else "tcp"
            base = waypoint_clusters.inbound_name(destination.host, destination.port, kind)
            return with_subset(base, destination.subset)
        return waypoint_clusters.outbound_name(destination.host, destination.port, destination.subset)

    def _wanted_by_service(self, ctx: Context, place: _Fronted, service: Service) -> Mapping[_Wanted, Destination]:
        gateway, host = place
        found = [*self._provider(ctx, gateway, host)]
        for port in service.ports:
            table = ctx.fetch(self._tables, (gateway, host, port.number))
            if table is not None:
                found += _destinations(table)
            connections = ctx.fetch(self._mesh.tcp_routes, (host, port.number))
            if connections is not None:
                found += (each.destination for each in connections.destinations)
        return {(gateway, host, destination): destination for destination in found}

    def _wanted_by_waypoint(self, ctx: Context, gateway: Key, _: Key) -> Mapping[_Wanted, Destination]:
        return {(gateway, "", destination): destination for destination in self._provider(ctx, gateway, "")}

    def _provider(self, ctx: Context, gateway: Key, host: str) -> Iterator[Destination]:
        """Who is asked by policies."""
        guard = ctx.fetch(self._mesh.guards, (gateway, host))
        if guard is not None and guard.provider is not None:
            yield Destination(guard.provider.host, guard.provider.port)

    def _outbound(
        self, ctx: Context, place: tuple[Key, Destination], _: tuple[Destination, ...]
    ) -> Mapping[tuple[Key, str], Destination]:
        """None for a service that is the waypoint's own, or for what is not there."""
        gateway, to = place
        service = ctx.fetch(self._promises, to.host)
        if service is None or ctx.fetch(self._fronted, (gateway, to.host)) is not None or service.port(to.port) is None:
            return {}
        if to.subset and service.subset(to.subset) is None:
            return {}
        return {(gateway, waypoint_clusters.outbound_name(to.host, to.port, to.subset)): to}

    def _cluster(self, ctx: Context, place: tuple[Key, str], to: Destination) -> Made:
        gateway, name = place
        service = ctx.fetch(self._promises, to.host)
        port = None if service is None else service.port(to.port)
        if service is None or port is None:
            return {}
        resolved = self._resolved(ctx, gateway, name, to) if service.resolution.by_name else None
        source = Discovery(service.resolution, resolved, port.target, service.hostname)
        policy, described = service.policy(to.port, to.subset), labels.service(service)
        cluster = waypoint_clusters.service_cluster(name, port.protocol, to.subset, policy, described, source)
        return {(gateway, CLUSTER, name): cluster}

    def _assignment(self, ctx: Context, place: tuple[Key, str], to: Destination) -> Made:
        """Only of a cluster that asks for it."""
        gateway, name = place
        cluster = ctx.fetch(self.clusters, (gateway, CLUSTER, name))
        if not isinstance(cluster, Cluster) or cluster.type != Cluster.EDS:
            return {}
        return {(gateway, ENDPOINTS, name): self._resolved(ctx, gateway, name, to)}

    def _resolved(self, ctx: Context, gateway: Key, name: str, to: Destination) -> ClusterLoadAssignment:
        service = ctx.fetch(self._mesh.services, to.host)
        assert service is not None, f"{to.host} has a promise"
        viewer = None
        if localities.matter(service.policy(to.port, to.subset)) or service.distribution is Distribution.LOCAL:
            waypoint = ctx.fetch(self._mesh.waypoints, gateway)
            # all instances are given the same, and there is but one node for them to be on
            viewer = next(iter(waypoint.members), None) if waypoint is not None else None
        return endpoints.of_endpoints(name, service, to.port, to.subset, viewer)

    def _secrets_of(
        self, ctx: Context, place: tuple[Key, str], to: Destination
    ) -> Mapping[tuple[Key, str], tuple[str, ...]]:
        service = ctx.fetch(self._promises, to.host)
        tls = None if service is None else service.policy(to.port, to.subset).tls
        return {} if tls is None else {place: tls.secrets}


def _own(gateway: Key, service: Service) -> Mapping[tuple[Key, str], Destination]:
    """Of the service as a whole, and of each of its subsets."""
    return {
        (gateway, with_subset(name, subset)): Destination(service.host, port.number, subset)
        for port in service.ports
        for name in inbound_names(service, port).values()
        for subset in ("", *(each.name for each in service.subsets))
    }


def _destinations(table: RouteTable) -> Iterator[Destination]:
    for route in table.routes:
        if isinstance(route.action, Forward):
            yield from (each.destination for each in route.action.destinations)
            yield from (each.destination for each in route.action.mirrors)
