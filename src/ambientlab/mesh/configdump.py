"""The mesh as ztunnel's configuration dump shows it, which `istioctl ztunnel-config` reads.

Fields are named as ztunnel serializes them (istio/ztunnel, src/admin.rs, src/state/workload.rs, src/state/service.rs
and src/inpod/statemanager.rs): lists of workloads, services and policies, certificates by identity, and by the uid of
each pod that ztunnel carries its connections. Addresses begin with the name of their network, which is "" here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ambientlab.cluster import CLUSTER_ID, DOMAIN, HBONE_PORT, ISTIO_VERSION, NODE_NAME
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import (
    SERVICE_KIND,
    Authorization,
    Conditions,
    Distribution,
    Endpoint,
    Key,
    Mesh,
    Protocol,
    Resolution,
    Scope,
    Service,
    TrustDomains,
    Workload,
    by_address,
    nearness,
)

Message = dict[str, Any]

AVAILABLE, INITIALIZING, UNAVAILABLE = "Available", "Initializing", "Unavailable"


@dataclass(frozen=True, slots=True)
class Certificates:
    """What ztunnel holds for one SPIFFE ID: a chain that begins with its own certificate, and the roots it trusts;
    both PEM, and empty in any state but AVAILABLE. Behind UNAVAILABLE and a colon is the reason."""

    identity: str
    state: str
    chain: bytes = field(default=b"", repr=False)
    roots: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Connection:
    """An open connection of a pod. `target` is what was asked for: of an outbound one an address, of an inbound one
    the host name that its client gave, or ""."""

    source: str
    target: str
    destination: str
    protocol: str


@dataclass(frozen=True, slots=True)
class Connections:
    inbound: list[Connection] = field(default_factory=list)
    outbound: list[Connection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a dump shows. `at_node` are workloads with the node's address, `connections` are by the pods' uids."""

    mesh: Mesh
    at_node: Iterable[Workload] = ()
    captured: Iterable[Captured] = ()
    certificates: Iterable[Certificates] = ()
    connections: Mapping[str, Connections] = field(default_factory=dict)


def dump(seen: Seen) -> Message:
    """As ztunnel answers at /config_dump."""
    services = [service for _, service in sorted(seen.mesh.services.items())]
    waypoints = _Waypoints(seen.mesh)
    return {
        "workloads": list(_workloads(seen, services, waypoints)),
        "services": [_service(service, waypoints) for service in services],
        "policies": [_policy(policy) for _, policy in sorted(seen.mesh.authorizations.items())],
        "stagedServices": {},
        "staticConfig": {"workloads": [], "policies": [], "services": []},
        "version": {"istioVersion": ISTIO_VERSION},
        "config": _CONFIG,
        "certificates": [_certificates(one) for one in sorted(seen.certificates, key=lambda one: one.identity)],
        "workloadState": {pod.uid: _state(pod, seen.connections.get(pod.uid)) for pod in seen.captured},
    }


_CONFIG: Message = {
    "proxy": True,
    "dnsProxy": True,
    "adminAddr": "127.0.0.1:15000",
    "statsAddr": "[::]:15020",
    "readinessAddr": "[::]:15021",
    "inboundAddr": f"[::]:{HBONE_PORT}",
    "inboundPlaintextAddr": "[::]:15006",
    "outboundAddr": "[::]:15001",
    "network": "",
    "localNode": NODE_NAME,
    "proxyMode": "Shared",
    "clusterId": CLUSTER_ID,
    "clusterDomain": DOMAIN,
}


class _Waypoints:
    """How workloads and services name their waypoint: by its Service if it has one, else by its address (istio/istio,
    pilot/pkg/serviceregistry/ambient/waypoints.go, getGatewayAddress)."""

    def __init__(self, mesh: Mesh) -> None:
        self._waypoints = mesh.waypoints
        self._called = by_address(mesh.services.values())

    def address(self, key: Key | None) -> Message:
        waypoint = self._waypoints.get(key) if key is not None else None
        if waypoint is None:
            return {}
        service = self._called.get((waypoint.address, waypoint.hbone_port))
        target = f"/{waypoint.address}" if service is None else f"{service.namespace}/{service.hostname}"
        return {"waypoint": {"destination": target, "hboneMtlsPort": waypoint.hbone_port}}


def _workloads(seen: Seen, services: Sequence[Service], waypoints: _Waypoints) -> Iterator[Message]:
    """Those that are there of themselves, and those that only services speak of."""
    memberships: dict[str, set[str]] = {}
    spoken_of: dict[str, Message] = {}
    own = {workload.uid for workload in seen.mesh.workloads.values()}
    for service in services:
        for endpoint in service.endpoints:
            uid = _uid(service, endpoint)
            memberships.setdefault(uid, set()).add(f"{service.namespace}/{service.hostname}")
            if uid not in own:
                spoken_of[uid] = _spoken_of(service, endpoint, waypoints, seen.mesh.trust)
    for key, workload in sorted(seen.mesh.workloads.items()):
        made = _workload(workload, waypoints) | {"services": sorted(memberships.get(workload.uid, ()))}
        selected = [policy for policy in seen.mesh.enforced.get(key, ()) if policy.scope is Scope.WORKLOAD_SELECTOR]
        yield made | ({"authorizationPolicies": [str(policy.key) for policy in selected]} if selected else {})
    for workload in sorted(seen.at_node, key=lambda one: one.key):
        yield _workload(workload, waypoints) | {"networkMode": "HostNetwork", "services": []}
    for uid, found in sorted(spoken_of.items()):
        yield found | {"services": sorted(memberships[uid])}


def _workload(workload: Workload, waypoints: _Waypoints) -> Message:
    """istiod says `pod` of every workload's type (pilot/pkg/serviceregistry/ambient/workloads.go)."""
    trust_domain, _, rest = workload.identity.removeprefix("spiffe://").partition("/")
    region, zone, subzone = nearness.parts(workload.locality)
    return {
        "uid": workload.uid,
        "workloadIps": list(workload.ips),
        **waypoints.address(workload.waypoint),
        "protocol": str(workload.protocol),
        "networkMode": "Standard",
        "name": workload.name,
        "namespace": workload.namespace,
        "trustDomain": trust_domain,
        "serviceAccount": rest.rpartition("/")[2],
        "workloadName": workload.workload_name,
        "workloadType": "pod",
        "canonicalName": workload.canonical_name,
        "canonicalRevision": workload.canonical_revision,
        "node": workload.node,
        "status": "Healthy" if workload.ready else "Unhealthy",
        "clusterId": CLUSTER_ID,
        "locality": {"region": region, "zone": zone, "subzone": subzone},
        "capacity": 1,
    }


def _spoken_of(service: Service, endpoint: Endpoint, waypoints: _Waypoints, trust: TrustDomains) -> Message:
    """A workload that an endpoint of a service stands for: one of a ServiceEntry, or an address by hand."""
    if endpoint.workload is not None:
        found = _workload(endpoint.workload, waypoints)
        return found if endpoint.workload.ip else found | {"hostname": endpoint.address}
    stranger = Workload(
        uid=_uid(service, endpoint),
        namespace=service.namespace,
        name=service.name,
        ip=endpoint.address,
        identity=trust.identity(service.namespace, "default"),
        node="",
        protocol=Protocol.TCP,
        labels=(),
        waypoint=None,
        ready=True,
        workload_name=service.name,
        canonical_name=service.name,
    )
    found = _workload(stranger, waypoints)
    return found if _is_address(endpoint.address) else found | {"workloadIps": [], "hostname": endpoint.address}


def _service(service: Service, waypoints: _Waypoints) -> Message:
    families = _families(service.vips)
    return {
        "name": service.name,
        "namespace": service.namespace,
        "hostname": service.hostname,
        "vips": [f"/{vip}" for vip in service.vips],
        **({"cidrVips": [f"/{network}" for network in service.networks]} if service.networks else {}),
        "ports": {str(port.number): _target(service, port.number) for port in service.ports},
        "endpoints": {
            _uid(service, endpoint): {
                "workloadUid": _uid(service, endpoint),
                "port": {str(port): target for port, target in endpoint.ports},
                "status": "Healthy",
            }
            for endpoint in service.endpoints
        },
        "subjectAltNames": list(service.subject_alt_names),
        **waypoints.address(service.waypoint),
        **_load_balancer(service),
        **({"ipFamilies": families} if families else {}),
        "canonical": True,
    }


_PREFERENCES = {
    Distribution.SAME_ZONE: ("Failover", ["Network", "Region", "Zone"]),
    Distribution.SAME_NODE: ("Failover", ["Network", "Region", "Zone", "Subzone", "Node"]),
    Distribution.LOCAL: ("Strict", ["Node"]),
}


def _load_balancer(service: Service) -> Message:
    """Of those that have a preference among endpoints, or none of their own."""
    mode, scopes = _PREFERENCES.get(service.distribution, ("", []))
    if service.resolution is Resolution.NONE:
        mode = "Passthrough"
    balancer = {"routingPreferences": scopes, "mode": mode, "healthPolicy": "OnlyHealthy"}
    return {"loadBalancer": balancer} if mode else {}


def _target(service: Service, number: int) -> int:
    """The port behind a service's: the one that all endpoints have, else that of the service; 0 where they differ."""
    targets = {target for endpoint in service.endpoints if (target := endpoint.target(number)) is not None}
    if len(targets) > 1:
        return 0
    port = service.port(number)
    return targets.pop() if targets else (port.target or number) if port is not None else 0


def _uid(service: Service, endpoint: Endpoint) -> str:
    if endpoint.workload is not None:
        return endpoint.workload.uid
    kind = "discovery.k8s.io/EndpointSlice" if service.kind == SERVICE_KIND else "networking.istio.io/ServiceEntry"
    return f"{CLUSTER_ID}/{kind}/{service.namespace}/{service.name}/{endpoint.address}"


def _families(vips: Iterable[str]) -> str:
    versions = {ip_address(vip).version for vip in vips}
    return "Dual" if len(versions) > 1 else f"IPv{versions.pop()}" if versions else ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _policy(policy: Authorization) -> Message:
    return {
        "name": policy.key.name,
        "namespace": policy.key.namespace,
        "scope": str(policy.scope),
        "action": policy.action.capitalize(),
        "rules": [[[_match(match) for match in clause] for clause in rule] for rule in policy.rules],
    }


def _match(conditions: Conditions) -> Message:
    made: Message = {}
    for condition in conditions:
        name, convert = _ATTRIBUTES[condition.attribute]
        for field_name, values in ((name, condition.values), (f"not{name[0].upper()}{name[1:]}", condition.not_values)):
            if values:
                made[field_name] = [convert(value) for value in values]
    return made


def _text_match(value: str) -> Message:
    if value == "*":
        return {"Presence": []}
    if value.startswith("*"):
        return {"Suffix": value[1:]}
    return {"Prefix": value[:-1]} if value.endswith("*") else {"Exact": value}


def _account(value: str) -> Message:
    namespace, _, name = value.partition("/")
    return {"namespace": namespace, "serviceAccount": name}


_ATTRIBUTES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "source.namespace": ("namespaces", _text_match),
    "source.principal": ("principals", _text_match),
    "source.serviceAccount": ("serviceAccounts", _account),
    "source.ip": ("sourceIps", str),
    "destination.ip": ("destinationIps", str),
    "destination.port": ("destinationPorts", int),
}


def _certificates(held: Certificates) -> Message:
    return {
        "identity": held.identity,
        "state": held.state,
        "certChain": _each(held.chain),
        "rootCerts": _each(held.roots),
    }


def _each(pem: bytes) -> list[Message]:
    return [
        {
            "pem": base64.b64encode(one.public_bytes(serialization.Encoding.PEM)).decode(),
            "serialNumber": str(one.serial_number),
            "validFrom": f"{one.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
            "expirationTime": f"{one.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        }
        for one in (x509.load_pem_x509_certificates(pem) if pem else ())
    ]


def _state(pod: Captured, connections: Connections | None) -> Message:
    found = connections or Connections()
    trust_domain, _, rest = pod.identity.removeprefix("spiffe://").partition("/")
    return {
        "state": "Up",
        "connections": {
            "inbound": [_connection(one) for one in found.inbound],
            "outbound": [_connection(one) for one in found.outbound],
        },
        "info": {
            "name": pod.name,
            "namespace": pod.namespace,
            "trustDomain": trust_domain,
            "serviceAccount": rest.rpartition("/")[2],
        },
    }


def _connection(one: Connection) -> Message:
    return {
        "src": one.source,
        "originalDst": one.target or None,
        "actualDst": one.destination,
        "protocol": one.protocol,
    }
