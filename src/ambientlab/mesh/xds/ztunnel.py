"""The node proxy: Envoy in ztunnel's part.

Inside each captured pod's network namespace it has three small listeners, which depend on the pod and on policies:

    15001  what the pod sends.  ── destination is a service's address ──▶ cluster `vip|<VIP>:<port>`
                                ── in the pod network ──────────────────▶ cluster `ip|<IP>`
                                ── anywhere else ───────────────────────▶ as it was
    15008  HBONE for the pod    ── CONNECT to one of its ports ─────────▶ the application
    15006  plain TCP for it     ────────────────────────────────────────▶ the application

Where a connection goes is looked up when it is made, by the name of a cluster, as ztunnel looks up an address; so a new
service or endpoint is one cluster and one assignment more and touches no listener. Only addresses that a ServiceEntry
chose are told to the listeners, because nothing else tells them from the rest of the world. An endpoint that is reached
by HBONE is the internal listener `connect_originate`, which is told by the endpoint's metadata where to tunnel to and
whom to expect there, and by filter state whose certificate to show; others are reached directly. An address nobody has
is a cluster that does not exist: the connection is closed at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import Key, Mesh, Protocol, Resolution, by_address
from ambientlab.mesh.xds import access_log, endpoints, inpod
from ambientlab.mesh.xds.discovery import Discovery
from ambientlab.mesh.xds.health import HEALTH, health
from ambientlab.mesh.xds.inpod import SERVICE_NETWORK, SERVICEENTRY_NETWORK
from ambientlab.mesh.xds.memo import Memo
from ambientlab.mesh.xds.messages import CONNECT_ORIGINATE
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources
from ambientlab.mesh.xds.ztunnel_shared import (
    connect_originate_listener,
    destination_cluster,
    inpod_passthrough,
    service_cluster,
    shared_clusters,
)


class Ztunnel:
    """Generates the node proxy's resources and remembers them: what did not change is the identical message."""

    def __init__(self) -> None:
        self._shared: Memo[dict[str, Message]] = Memo()
        self._constant: dict[str, Message] = {CONNECT_ORIGINATE: connect_originate_listener(), HEALTH: health()}
        self._clusters: Memo[Cluster] = Memo()
        self._assignments: Memo[ClusterLoadAssignment] = Memo()
        self._listeners: Memo[dict[str, Listener]] = Memo()
        self._routes: Memo[RouteConfiguration] = Memo()

    def resources(self, mesh: Mesh, captured: Iterable[Captured]) -> Resources:
        clusters: dict[str, Message] = dict(self._shared.get(CLUSTER, shared_clusters, mesh.trust))
        assignments: dict[str, Message] = {}
        listeners: dict[str, Message] = dict(self._constant)
        routes: dict[str, Message] = {}
        called = by_address(mesh.services.values())
        for (vip, port), service in called.items():
            name = f"vip|{vip}:{port}"
            waypoints = tuple((mesh.waypoints[key], share) for key, share in service.waypoints if key in mesh.waypoints)
            resolution = Resolution.STATIC if waypoints else service.resolution
            if resolution is Resolution.NONE:
                fields = access_log.plain_fields(service.host, None)
                clusters[name] = self._clusters.get(name, inpod_passthrough, name, fields)
                continue
            found = self._assignments.get(name, endpoints.of_service, name, service, vip, port, waypoints)
            weighted = not waypoints and any(endpoint.weight for endpoint in service.endpoints)
            source = Discovery(resolution, found if resolution.by_name else None)
            clusters[name] = self._clusters.get(name, service_cluster, name, weighted, source)
            if not resolution.by_name:
                assignments[name] = found
        for workload in mesh.workloads.values():
            name = f"ip|{workload.ip}"
            waypoint = mesh.waypoints.get(workload.waypoint) if workload.waypoint else None
            if waypoint is None and workload.protocol is Protocol.TCP:
                fields = access_log.plain_fields("", workload)
                clusters[name] = self._clusters.get(name, inpod_passthrough, name, fields)
                continue
            clusters[name] = self._clusters.get(name, destination_cluster, name)
            assignments[name] = self._assignments.get(name, endpoints.of_workload, name, workload, waypoint)
        served = _served(mesh)
        elsewhere = _elsewhere(vip for vip, _ in called)
        for pod in captured:
            listeners |= self._listeners.get((pod.uid, "out"), inpod.outbound_listener, pod, elsewhere)
            listeners |= self._listeners.get((pod.uid, "hbone"), inpod.hbone_listener, pod)
            policies = mesh.enforced.get(Key(pod.namespace, pod.name))
            listeners |= self._listeners.get((pod.uid, "plaintext"), inpod.plaintext_listener, pod, policies)
            name, services = inpod.route_name(pod), tuple(served.get(pod.ip, ()))
            routes[name] = self._routes.get(name, inpod.inbound_routes, name, pod.ip, services, policies)
        for memo in (self._shared, self._clusters, self._assignments, self._listeners, self._routes):
            memo.end_round()
        return {CLUSTER: clusters, ENDPOINTS: assignments, LISTENER: listeners, ROUTES: routes}


def _elsewhere(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those in none of the networks that are all services'."""
    networks = [ip_network(f"{prefix}/{length}") for prefix, length in (SERVICE_NETWORK, SERVICEENTRY_NETWORK)]
    return tuple(sorted({a for a in addresses if not any(ip_address(a) in network for network in networks)}))


def _served(mesh: Mesh) -> dict[str, list[tuple[int, str]]]:
    """By address: the ports that services have there, and the service that a connection to one is put down to."""
    found: dict[str, dict[int, str]] = {}
    for service in mesh.services.values():
        for endpoint in service.endpoints:
            known = found.setdefault(endpoint.address, {})
            for _, target in endpoint.ports:
                known[target] = min(service.host, known.get(target, service.host))
    return {ip: sorted(ports.items()) for ip, ports in found.items()}
