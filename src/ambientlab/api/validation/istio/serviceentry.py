"""ServiceEntries and WorkloadEntries (ValidateServiceEntry, ValidateWorkloadEntry)."""

from __future__ import annotations

from collections.abc import Collection

from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object, labels_of, namespace
from ambientlab.api.validation.istio import common
from ambientlab.api.validation.istio.common import Messages

_UNIX = "unix://"
_DYNAMIC = "DYNAMIC_DNS"
_USE_WAYPOINT = "istio.io/use-waypoint"
_HTTP = ("http", "http2", "grpc", "grpc-web")
_TLS = ("tls", "https")
_PROTOCOLS = (*_HTTP, *_TLS, "tcp", "udp", "mongo", "mysql", "redis", "hbone", "double-hbone")
"""As pkg/config/protocol parses them, in any case."""


def service_entry(obj: Object) -> Messages:
    spec: Object = obj.get("spec") or {}
    hosts: list[str] = spec.get("hosts") or []
    endpoints: list[Object] = spec.get("endpoints") or []
    ports: list[Object] = spec.get("ports") or []
    resolution = spec.get("resolution") or "NONE"
    problems: Messages = []
    for label in (spec.get("workloadSelector") or {}).get("labels") or {}:
        if "*" in label:
            return [f"wildcard not supported in selector label: {quote(label)}"]
    if "workloadSelector" in spec and "endpoints" in spec:
        problems.append("only one of WorkloadSelector or Endpoints is allowed in Service Entry")
    for host in hosts:
        problems += [f"invalid host {host}"] if host == "*" else common.wildcard_domain(host)
    addresses: list[str] = spec.get("addresses") or []
    for address in addresses:
        problems += common.ip_subnet(address)
    if any("/" in address for address in addresses) and resolution not in ("NONE", "STATIC"):
        problems.append("CIDR addresses are allowed only for NONE/STATIC resolution types")
    problems += _ports(ports)
    if resolution == "DYNAMIC_DNS":
        problems += _dynamic(obj, spec, hosts, ports)
    else:
        problems += _endpoints(resolution, hosts, endpoints, {port["name"] for port in ports})
    if resolution != "NONE" and len(hosts) > 1 and not all(_tells_hosts_apart(port) for port in ports):
        problems.append("multiple hosts provided with non-HTTP, non-TLS ports")
    return problems + common.export_to(spec.get("exportTo") or (), namespace(obj), to_nobody=True)


def workload_entry(spec: Object) -> Messages:
    return _workload(spec, None, names=True)


def _ports(ports: list[Object]) -> Messages:
    problems: Messages = []
    names: set[str] = set()
    numbers: set[int] = set()
    for port in ports:
        name, number, protocol = port["name"], port["number"], port.get("protocol") or ""
        if name in names:
            problems.append(f"service entry port name {quote(name)} already defined")
        if number in numbers:
            problems.append(f"service entry port {number} already defined")
        names.add(name)
        numbers.add(number)
        if port.get("targetPort"):
            problems += common.port(port["targetPort"])
        problems += common.port_name(name)
        if protocol and protocol.lower() not in _PROTOCOLS:
            problems.append(f"unsupported protocol: {protocol}")
        problems += common.port(number)
    return problems


def _tells_hosts_apart(port: Object) -> bool:
    """By the authority of a request, or the server name of a TLS handshake."""
    return (port.get("protocol") or "").lower() in (*_HTTP, *_TLS)


def _endpoints(resolution: str, hosts: list[str], endpoints: list[Object], ports: Collection[str]) -> Messages:
    problems: Messages = []
    match resolution:
        case "NONE":
            if endpoints:
                problems.append("no endpoints should be provided for resolution type none")
        case "STATIC":
            for endpoint in endpoints:
                problems += _workload(endpoint, ports, names=False)
        case "DNS" | "DNS_ROUND_ROBIN":
            if not endpoints:
                wrong = next((found for host in hosts if (found := common.fqdn(host))), [])
                problems += [
                    "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution "
                    f"mode {resolution}, {problem}"
                    for problem in wrong
                ]
            if resolution == "DNS_ROUND_ROBIN" and len(endpoints) > 1:
                problems.append(f"there must only be 0 or 1 endpoint for resolution mode {resolution}")
            for endpoint in endpoints:
                address = endpoint.get("address", "")
                if not common.is_address(address) and common.fqdn(address):
                    problems.append(f"endpoint address {quote(address)} is not a valid FQDN or an IP address")
                problems += common.labels(endpoint.get("labels")) + _workload_ports(endpoint, ports)
    return problems


def _dynamic(obj: Object, spec: Object, hosts: list[str], ports: list[Object]) -> Messages:
    problems = [f"host must be wildcarded for resolution mode {_DYNAMIC}" for host in hosts if not host.startswith("*")]
    if spec.get("addresses"):
        problems.append(
            f"addresses cannot be set for resolution type {_DYNAMIC}. HTTP route domains will only be generated"
            "from the hosts field values"
        )
    if spec.get("endpoints"):
        problems.append(
            f"endpoints cannot be set for resolution type {_DYNAMIC}. Destination IP address determined from hosts"
            "field values"
        )
    problems += [
        f"only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type {_DYNAMIC}"
        for port in ports
        if (port.get("protocol") or "").lower() not in ("http", "tls", "grpc", "http2")
    ]
    if spec.get("location") == "MESH_INTERNAL" and labels_of(obj).get(_USE_WAYPOINT, "none").lower() != "none":
        message = f"location MESH_INTERNAL with resolution type {_DYNAMIC} is not supported when using waypoints"
        problems.append(message)
    return problems


def _workload(entry: Object, ports: Collection[str] | None, *, names: bool) -> Messages:
    """`ports` are the names the service has for its ports, None if it is not known; `names` allows a host name."""
    problems: Messages = []
    address: str = entry.get("address") or ""
    if not address and not entry.get("network"):
        return ["address is required"]
    if address.startswith(_UNIX):
        if entry.get("ports"):
            problems.append(f"unix endpoint {address} must not include ports")
    elif address and not common.is_address(address):
        if not names:
            problems.append(f"endpoint address {quote(address)} is not a valid IP address")
        elif common.fqdn(address):
            problems.append(f"endpoint address {quote(address)} is not a valid FQDN or an IP address")
    problems += _workload_ports(entry, ports) + common.labels(entry.get("labels"))
    if address.startswith(_UNIX) and ports is not None and len(ports) != 1:
        problems.append("exactly 1 service port required for unix endpoints")
    return problems


def _workload_ports(entry: Object, ports: Collection[str] | None) -> Messages:
    problems: Messages = []
    for name, number in (entry.get("ports") or {}).items():
        if ports is not None and name not in ports:
            problems.append(f"endpoint port {number} is not defined by the service entry")
        problems += common.port_name(name) + common.port(number)
    return problems
