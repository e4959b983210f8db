"""Which endpoint of a destination gets a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ambientlab.cluster import NODE_NAME, PROBE_SOURCE
from ambientlab.mesh.decide import lots
from ambientlab.mesh.ir import (
    Algorithm,
    Destination,
    Distribution,
    Endpoint,
    Mesh,
    Place,
    Port,
    Resolution,
    Service,
    TrafficPolicy,
    Workload,
    localities,
    nearness,
)


@dataclass(frozen=True, slots=True)
class Called:
    """The address that the client called, and what its request says it is for: all that some services know of their
    endpoints. A connection has no `authority`. `viewer` is the waypoint's instance that chooses; the node proxy, which
    follows no DestinationRule, is none, and neither is the node itself where the client is not `captured`. `client` is
    where the request comes from, and `node` where that is, if it is known: else on the node that meshes here have."""

    address: str
    port: int
    authority: str = ""
    viewer: Workload | None = None
    client: str = ""
    captured: bool = True
    node: str = ""

    @property
    def here(self) -> str:
        """The node of who chooses."""
        return (self.viewer.node if self.viewer is not None else self.node) or NODE_NAME

    def source(self, endpoint: Endpoint) -> str:
        """The address that an endpoint sees. A client without one is in the network of its node: Istio gives what such
        send to captured pods there the source of the kubelet's probes (cni/pkg/iptables/iptables.go, any socket)."""
        if self.viewer is not None:
            return self.viewer.towards(endpoint.address)
        at_home = self.node and endpoint.workload is not None and endpoint.workload.node == self.node
        return PROBE_SOURCE if at_home and not self.client else self.client


def chosen(mesh: Mesh, destination: Destination, called: Called) -> lots.Lot[Endpoint] | None:
    """None if there is no such destination; nothing to draw from if nothing is ready behind it.

    Proxies prefer the endpoint with fewer requests under way, so that requests one at a time go to all alike, or by
    their weights. With a hash, that holds for all clients together: each comes back to the one it had. An endpoint that
    is found by name counts as one, however many addresses the name has.
    """
    service = mesh.services.get(destination.host)
    port = None if service is None else service.port(destination.port)
    if service is None or port is None or (destination.subset and service.subset(destination.subset) is None):
        return None
    subset = service.subset(destination.subset) if destination.subset else None
    policy = service.policy(port.number, destination.subset)
    serving = [
        endpoint
        for endpoint in _endpoints(service, port, policy, called)
        if endpoint.target(port.number) is not None and (subset is None or subset.selects(endpoint))
    ]
    serving = _reached(service, serving, called, mesh.place(called.here))
    if called.viewer is None or not localities.matter(policy):
        return _by_weight(serving)
    groups = localities.grouped(serving, policy, called.viewer)
    nearest = [group for group in groups if group.priority == min(g.priority for g in groups)]
    if localities.weighed(policy):
        drawn = lots.weighted((group.weight, group.endpoints) for group in nearest)
        return lots.joined(drawn, _by_weight)
    return _by_weight([endpoint for group in nearest for endpoint in group.endpoints])


def _reached(service: Service, serving: Sequence[Endpoint], called: Called, here: Place) -> list[Endpoint]:
    """Waypoints know preferences as localities, and the node's own rules none."""
    prefers = called.captured and called.viewer is None
    asked = service.distribution if prefers or service.distribution is Distribution.LOCAL else Distribution.ANY
    return nearness.nearest(asked, {endpoint: endpoint.place for endpoint in serving}, here)


def _by_weight(endpoints: Sequence[Endpoint]) -> lots.Lot[Endpoint]:
    return lots.weighted((max(endpoint.weight, 1), endpoint) for endpoint in endpoints)


def _endpoints(service: Service, port: Port, policy: TrafficPolicy, called: Called) -> tuple[Endpoint, ...]:
    balancer = policy.load_balancer if called.viewer is not None else None
    if balancer is not None and balancer.algorithm is Algorithm.PASSTHROUGH and balancer.hash is None:
        return (Endpoint(called.address, ((port.number, called.port),), None),)
    match service.resolution:
        case Resolution.NONE:
            return (Endpoint(called.address, ((port.number, port.target or called.port),), None),)
        case Resolution.DYNAMIC_DNS:
            host, _, number = called.authority.partition(":")
            return (Endpoint(host, ((port.number, int(number) if number.isdigit() else 80),), None),) if host else ()
        case _ if called.viewer is not None:
            return service.endpoints
        case _:
            return tuple(endpoint.as_reached_by(called.address) for endpoint in service.endpoints)
