"""The node proxy: Envoy in ztunnel's part.

Inside each captured pod's network namespace it has three small listeners, which depend on the pod and on policies:

    15001  what the pod sends.  ── destination is a service's address ──▶ cluster `vip|<VIP>:<port>`
                                ── in the pod network ──────────────────▶ cluster `ip|<IP>`
                                ── within a service's networks ─────────▶ cluster `network|<CIDR>|<port>`
                                ── anywhere else ───────────────────────▶ as it was
    15008  HBONE for the pod    ── CONNECT to one of its ports ─────────▶ the application
    15006  plain TCP for it     ────────────────────────────────────────▶ the application

Where a connection goes is looked up when it is made, by the name of a cluster, as ztunnel looks up an address; so a new
service or endpoint is one cluster and one assignment more and touches no listener. Only addresses and networks that a
ServiceEntry chose are told to the listeners, because nothing else tells them from the rest of the world. An endpoint
that is reached by HBONE is the internal listener `connect_originate`, which is told by the endpoint's metadata where to
tunnel to and whom to expect there, and by filter state whose certificate to show; others are reached directly. An
address nobody has is a cluster that does not exist: the connection is closed at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.message import Message

from ambientlab.cluster import NODE_NAME
from ambientlab.flow.collection import Collection, Context, Graph, Source
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import (
    Distribution,
    Key,
    Mesh,
    Place,
    Protocol,
    Resolution,
    Service,
    TrustDomains,
    Waypoint,
    Workload,
    by_address,
    is_ipv6,
    with_port,
)
from ambientlab.mesh.xds import access_log, endpoints, inpod
from ambientlab.mesh.xds.discovery import Discovery
from ambientlab.mesh.xds.health import health
from ambientlab.mesh.xds.messages import bind_in_netns
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, NODE_PROXY, ROUTES, Made, Owned
from ambientlab.mesh.xds.ztunnel_shared import (
    connect_originate_listener,
    destination_cluster,
    inpod_passthrough,
    service_cluster,
    shared_clusters,
)


class Ztunnel:
    """Derives the node proxy's resources. `captured` are the pods that it carries, by their own keys; `ipv6` is whether
    the node has that."""

    def __init__(self, graph: Graph, mesh: Mesh, *, ipv6: bool) -> None:
        self._mesh = mesh
        self._ipv6 = ipv6
        self.captured: Source[Key, Captured] = graph.source("captured pods")
        constant: Source[Owned, Message] = graph.source("listeners of the node proxy without a mesh")
        for listener in (connect_originate_listener(), health()):
            constant.set((NODE_PROXY, LISTENER, listener.name), listener)
        called = graph.group("services by address", mesh.services, lambda _, service: by_address([service]))
        within = graph.group("services by port of a network", mesh.services, lambda _, one: _within_networks(one))
        reached = graph.group("workloads by address", mesh.workloads, lambda _, workload: workload.ips)
        around = graph.group("services by network", mesh.services, lambda _, service: _networks(service))
        self._elsewhere = graph.derive("addresses elsewhere", around, _way_to)
        served = graph.derive("ports of endpoints", mesh.services, lambda _, __, service: _served(service))
        self._plain_choices = graph.derive(
            "choices for plain connections", mesh.enforced, lambda _, pod, policies: {pod: inpod.plain_choice(policies)}
        )
        self._served = graph.group("ports by address", served, lambda place, _: (place[0],))
        self.resources: tuple[Collection[Owned, Message], ...] = (
            constant,
            graph.derive("clusters for all pods", mesh.trust_domains, self._shared),
            graph.derive("ways to services", called, self._service),
            graph.derive("ways to services of networks", within, self._network),
            graph.derive("ways to workloads", reached, self._workload),
            graph.derive("outbound listeners", self.captured, self._outbound),
            graph.derive("listeners for tunnels", self.captured, _hbone),
            graph.derive("listeners for plain connections", self.captured, self._plaintext),
            graph.derive("inbound routes", self.captured, self._inbound_routes),
        )

    def _service(self, ctx: Context, address: tuple[str, int], services: tuple[Service, ...]) -> Made:
        vip, port = address
        service = by_address(services)[address]
        found = ((ctx.fetch(self._mesh.waypoints, key), share) for key, share in service.waypoints)
        waypoints = tuple((waypoint, share) for waypoint, share in found if waypoint is not None)
        return self._behind(ctx, f"vip|{with_port(vip, port)}", service, vip, port, waypoints)

    def _network(self, ctx: Context, place: tuple[str, int], services: tuple[Service, ...]) -> Made:
        """A waypoint answers at addresses, so that nobody is sent there for a network."""
        network, port = place
        return self._behind(ctx, f"{_network_name(network)}{port}", services[0], "", port, ())

    def _behind(
        self, ctx: Context, name: str, service: Service, vip: str, port: int, waypoints: Sequence[tuple[Waypoint, int]]
    ) -> Made:
        resolution = Resolution.STATIC if waypoints else service.resolution
        if resolution is Resolution.NONE:
            return {}
        chosen = service.distribution is not Distribution.ANY
        locality = ctx.fetch(self._mesh.nodes, Key("", NODE_NAME)) if chosen else None
        here = Place(NODE_NAME, locality or "")
        assignment = endpoints.of_service(name, service, vip, port, waypoints, here)
        weighted = not waypoints and any(endpoint.weight for endpoint in service.endpoints)
        source = Discovery(resolution, assignment if resolution.by_name else None)
        ipv6 = is_ipv6(vip) or any(is_ipv6(endpoint.reached_by(vip)) for endpoint in service.endpoints)
        bind = None if endpoints.only_tunnels(assignment) else bind_in_netns(ipv6=ipv6)
        made: dict[Owned, Message] = {_cluster(name): service_cluster(name, weighted, source, bind)}
        if not resolution.by_name:
            made[_endpoints(name)] = assignment
        return made

    def _workload(self, ctx: Context, ip: str, workloads: tuple[Workload, ...]) -> Made:
        name, workload = f"ip|{ip}", workloads[0]
        waypoint = ctx.fetch(self._mesh.waypoints, workload.waypoint) if workload.waypoint else None
        if waypoint is None and workload.protocol is Protocol.TCP:
            fields = access_log.plain_fields("", workload)
            return {_cluster(name): inpod_passthrough(name, fields, ipv6=is_ipv6(ip))}
        assignment = endpoints.of_workload(name, workload, ip, waypoint)
        return {_cluster(name): destination_cluster(name), _endpoints(name): assignment}

    def _outbound(self, ctx: Context, _: Key, pod: Captured) -> Made:
        ways = sorted(ctx.everything(self._elsewhere).items())
        return _listeners(inpod.outbound_listener(pod, tuple(ways)))

    def _plaintext(self, ctx: Context, key: Key, pod: Captured) -> Made:
        return _listeners(inpod.plaintext_listener(pod, ctx.fetch(self._plain_choices, key)))

    def _shared(self, _: Context, __: str, trust: TrustDomains) -> Made:
        return {_cluster(name): cluster for name, cluster in shared_clusters(trust, ipv6=self._ipv6).items()}

    def _inbound_routes(self, ctx: Context, key: Key, pod: Captured) -> Made:
        name = inpod.route_name(pod)
        served = {ip: ctx.fetch(self._served, ip) or () for ip in pod.ips}
        services = {ip: sorted({pair for service in found for pair in service}) for ip, found in served.items()}
        policies = ctx.fetch(self._mesh.enforced, key)
        return {(NODE_PROXY, ROUTES, name): inpod.inbound_routes(name, services, policies)}


def _hbone(_: Context, __: Key, pod: Captured) -> Made:
    return _listeners(inpod.hbone_listener(pod))


def _cluster(name: str) -> Owned:
    return NODE_PROXY, CLUSTER, name


def _endpoints(name: str) -> Owned:
    return NODE_PROXY, ENDPOINTS, name


def _listeners(made: Mapping[str, Listener]) -> Made:
    return {(NODE_PROXY, LISTENER, name): listener for name, listener in made.items()}


def _within_networks(service: Service) -> Iterator[tuple[str, int]]:
    return product(service.networks, (port.number for port in service.ports))


def _network_name(network: str) -> str:
    """Of the chain, and of clusters up to the port."""
    return f"{inpod.TO_NETWORK}{network}|"


def _networks(service: Service) -> tuple[str, ...]:
    return (*(f"{vip}/{128 if is_ipv6(vip) else 32}" for vip in service.vips), *service.networks)


def _way_to(_: Context, network: str, services: Sequence[Service]) -> Mapping[str, str]:
    """The chain of the listeners for the addresses of these services, none where it is that of what is around them. One
    that takes any port, since connections go on to the address as it is, is not looked up (src/state.rs,
    find_upstream)."""
    here = ip_network(network)
    single = here.num_addresses == 1
    if all(one.resolution is Resolution.NONE and not (single and one.waypoint) for one in services):
        return {network: inpod.TO_ADDRESS} if _inside(here, *inpod.SERVICE_NETWORKS, *inpod.POD_NETWORKS) else {}
    if not single:
        return {network: _network_name(network)}
    return {} if _inside(here, *inpod.SERVICE_NETWORKS) else {network: inpod.TO_SERVICE}


def _inside(network: IPv4Network | IPv6Network, *wider: str) -> bool:
    networks = map(ip_network, wider)
    if isinstance(network, IPv4Network):
        return any(isinstance(one, IPv4Network) and network.subnet_of(one) for one in networks)
    return any(isinstance(one, IPv6Network) and network.subnet_of(one) for one in networks)


def _served(service: Service) -> Mapping[tuple[str, str], tuple[tuple[int, str], ...]]:
    """By address and host: the ports that a service has there, each with the host."""
    found: dict[tuple[str, str], tuple[tuple[int, str], ...]] = {}
    for endpoint in service.endpoints:
        for address in endpoint.addresses:
            place = address, service.host
            found[place] = (*found.get(place, ()), *((target, service.hostname) for _, target in endpoint.ports))
    return found
