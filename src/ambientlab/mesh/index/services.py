"""Services: what they promise, and what is ready behind them.

The promise (`Shape`) is kept apart from the endpoints, because routes depend on it alone and endpoints change often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ambientlab.api.endpoints import vips
from ambientlab.api.objects import Object
from ambientlab.flow.collection import Collection, Context, Index
from ambientlab.mesh.index.destinationrules import Rules, policies_of
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.distribution import distribution
from ambientlab.mesh.index.distribution import findings as distribution_findings
from ambientlab.mesh.index.values import Addresses, service_host
from ambientlab.mesh.index.waypoints import Binding, WaypointGateway, bind
from ambientlab.mesh.ir import (
    SERVICE_KIND,
    AppProtocol,
    Distribution,
    Endpoint,
    Key,
    Place,
    Port,
    Resolution,
    Service,
    Subset,
    Traffic,
    TrafficPolicy,
    Workload,
    is_ipv6,
    localities,
    names,
)

SERVICE_NAME = "kubernetes.io/service-name"

_PROTOCOLS = {
    "http": AppProtocol.HTTP,
    "http2": AppProtocol.HTTP2,
    "grpc": AppProtocol.GRPC,
    "grpc-web": AppProtocol.GRPC,
    "tcp": AppProtocol.TCP,
    "mongo": AppProtocol.TCP,
    "mysql": AppProtocol.TCP,
    "redis": AppProtocol.TCP,
    "hbone": AppProtocol.TCP,
    "tls": AppProtocol.TLS,
    "https": AppProtocol.TLS,
    "kubernetes.io/h2c": AppProtocol.HTTP2,
    "kubernetes.io/ws": AppProtocol.HTTP,
    "kubernetes.io/wss": AppProtocol.TLS,
}
_SERVER_FIRST_PORTS = frozenset({25, 53, 3306, 27017})
"""Ports whose protocols cannot be found out by waiting for the client; without a name they are TCP."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A service without its endpoints, and the object that declares it."""

    key: Key
    host: str
    vips: tuple[str, ...]
    ports: tuple[Port, ...]
    binding: Binding
    kind: str = SERVICE_KIND
    resolution: Resolution = Resolution.STATIC
    subject_alt_names: tuple[str, ...] = ()
    distribution: Distribution = Distribution.ANY
    networks: tuple[str, ...] = ()

    @property
    def hostname(self) -> str:
        return names.hostname(self.host)

    def port(self, number: int) -> Port | None:
        return next((p for p in self.ports if p.number == number), None)

    def no_waypoint(self, ref: ObjectRef, field: str) -> Diagnostic:
        """A finding of what only a waypoint would follow."""
        message = f"no effect on {self.host}: the service has no waypoint ({self.binding.why_none})"
        return Diagnostic(ref, "NoWaypoint", message, field=field, host=self.host)

    def past_waypoint(self, ref: ObjectRef, field: str, why: str) -> Diagnostic:
        """A finding of what only a waypoint would follow, where there is one and nothing comes to it."""
        return Diagnostic(ref, "NoAddress", f"no effect on {self.host}: {why}", field=field, host=self.host)


def protocol_named(text: str) -> AppProtocol | None:
    """As pkg/config/protocol parses it, in any case; None for a name that it does not know."""
    return _PROTOCOLS.get(text.lower())


def app_protocol(port: Mapping[str, Any]) -> AppProtocol:
    """`appProtocol`, else the part of the name before the first `-` (istio.io, "Protocol Selection")."""
    declared = str(port.get("appProtocol") or port.get("name") or "").lower()
    for candidate in (declared, declared.split("-", 1)[0]):
        if found := protocol_named(candidate):
            return found
    return AppProtocol.TCP if port["port"] in _SERVER_FIRST_PORTS else AppProtocol.UNDECLARED


def shape(
    ctx: Context,
    key: Key,
    obj: Object,
    gateways: Collection[Key, WaypointGateway],
    namespaces: Collection[Key, Object],
    domain: str,
    known: Addresses,
) -> Mapping[str, Shape]:
    """By host. None for a service that is only a DNS alias."""
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return {}
    ports = [p for p in spec.get("ports") or [] if p.get("protocol", "TCP") == "TCP"]
    host = service_host(key, domain)
    return {
        host: Shape(
            key,
            host,
            tuple(vip for text in vips(obj) if (vip := known.single(text))),
            tuple(Port(p["port"], p.get("name", ""), app_protocol(p)) for p in ports),
            bind(ctx, obj, Traffic.SERVICE, gateways, namespaces),
            distribution=distribution(ctx, key, obj, namespaces),
        )
    }


def slice_of(key: Key, obj: Object) -> tuple[Key, ...]:
    name = (obj["metadata"].get("labels") or {}).get(SERVICE_NAME)
    return (Key(key.namespace, name),) if name else ()


def endpoints(
    ctx: Context,
    value: Shape,
    slices: Index[Key, Key, Object],
    by_ip: Index[str, Key, Workload],
    nodes: Collection[Key, str],
    known: Addresses,
) -> tuple[Endpoint, ...]:
    """Those of a Service, of the families of IP that it has addresses of. Slices of names are passed over, and where
    endpoints are is known of pods alone (workloads.go, endpointSlicesBuilder); one that has two addresses is one
    endpoint."""
    ports: dict[str, dict[int, int]] = {}
    on: dict[str, str] = {}
    for endpoint_slice in ctx.select(slices, value.key):
        targets = {p.get("name") or "": p.get("port") or 0 for p in endpoint_slice.get("ports") or []}
        numbers = {p.number: number for p in value.ports if 0 < (number := targets.get(p.name, 0)) < 1 << 16}
        for endpoint in endpoint_slice.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                for ip in filter(None, map(known.single, endpoint.get("addresses") or [])):
                    ports.setdefault(ip, {}).update(numbers)
                    if (endpoint.get("targetRef") or {}).get("kind") == "Pod":
                        on[ip] = endpoint.get("nodeName") or ""
    families = {is_ipv6(vip) for vip in value.vips}
    owned: dict[Key | str, tuple[Workload | None, list[str]]] = {}
    for ip in sorted(ports):
        if not families or is_ipv6(ip) in families:
            workload = next(iter(ctx.select(by_ip, ip)), None)
            owned.setdefault(workload.key if workload is not None else ip, (workload, []))[1].append(ip)
    found = []
    for workload, ips in owned.values():
        first = next(iter(value.vips), workload.ip if workload is not None else ips[0])
        ips.sort(key=lambda ip: is_ipv6(ip) != is_ipv6(first))
        place = place_on(ctx, value, workload.node if workload is not None else on.get(ips[0], ""), nodes)
        second = ips[1] if len(ips) > 1 else ""
        found.append(Endpoint(ips[0], tuple(sorted(ports[ips[0]].items())), workload, place=place, second=second))
    return tuple(found)


def place_on(ctx: Context, shape: Shape, node: str, nodes: Collection[Key, str]) -> Place | None:
    """None where it makes no difference."""
    if shape.distribution is Distribution.ANY:
        return None
    return Place(node, ctx.fetch(nodes, Key("", node)) or "")


def service(ctx: Context, value: Shape, behind: tuple[Endpoint, ...], rules: Rules) -> Service:
    rule = rules.of(ctx, value.key.namespace, value.hostname, value.binding.waypoint)
    subsets = () if rule is None else tuple(subset for subset, _ in rule.subsets)
    policies = policies_of(rule, value.ports)
    if value.binding.waypoint is not None and value.distribution is not Distribution.ANY:
        policies = _preferring(value, subsets, policies)
    return Service(
        value.key.namespace,
        value.key.name,
        value.host,
        value.vips,
        value.ports,
        behind,
        subsets,
        value.binding.waypoint,
        value.kind,
        value.resolution,
        value.subject_alt_names,
        policies=policies,
        canary=value.binding.canary,
        distribution=value.distribution,
        networks=value.networks,
    )


Policies = tuple[tuple[int, str, TrafficPolicy], ...]


def _preferring(value: Shape, subsets: Sequence[Subset], policies: Policies) -> Policies:
    """What holds for each port and subset, with what the service prefers."""
    known = {(number, name): policy for number, name, policy in policies}
    places = [(number, name) for number in (0, *(p.number for p in value.ports)) for name in ("", *_names(subsets))]
    found = ((*at, localities.preferring(known.get(at, TrafficPolicy()), value.distribution)) for at in places)
    return tuple((number, name, policy) for number, name, policy in found if policy != TrafficPolicy())


def _names(subsets: Sequence[Subset]) -> list[str]:
    return [subset.name for subset in subsets]


def findings(_: Context, key: Key, obj: Object) -> Mapping[Key, tuple[Diagnostic, ...]]:
    """What of a Service Istio passes over in silence."""
    ref = ObjectRef(SERVICE_KIND, key.namespace, key.name)
    notes = tuple(distribution_findings(ref, obj))
    return {key: notes} if notes else {}
