"""VirtualServices (ValidateVirtualService): hosts, TLS and TCP routes; see `httproutes` for the rest."""

from __future__ import annotations

from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio import common
from ambientlab.api.validation.istio.common import Messages
from ambientlab.api.validation.istio.destinations import destinations, gateway_names
from ambientlab.api.validation.istio.httproutes import claims_in_mesh, http_route

_MESH = "mesh"


def validate(spec: Object, namespace: str) -> Messages:
    hosts: list[str] = spec.get("hosts") or []
    gateways: list[str] = spec.get("gateways") or []
    http, tls, tcp = spec.get("http") or [], spec.get("tls") or [], spec.get("tcp") or []
    problems: Messages = []
    if not hosts:
        problems += [
            f"delegate virtual service must have no {what} specified"
            for what, given in (("gateways", gateways), ("tls route", tls), ("tcp route", tcp))
            if given
        ]
    problems += gateway_names(gateways)
    in_mesh = not gateways or _MESH in gateways
    if in_mesh:
        problems += claims_in_mesh(http, gateways)
    problems += _hosts(hosts, in_mesh)
    if not http and not tls and not tcp:
        problems.append("http, tcp or tls must be provided in virtual service")
    for route in http:
        problems += http_route(route, delegate=not hosts)
    for route in tls:
        problems += _tls_route(route, hosts)
    for route in tcp:
        problems += _tcp_route(route)
    return problems + common.export_to(spec.get("exportTo") or (), namespace)


def _hosts(hosts: list[str], in_mesh: bool) -> Messages:
    problems: Messages = []
    for host in hosts:
        wrong = common.wildcard_domain(host)
        if wrong and not common.is_address(host):
            problems += wrong
        elif not wrong and in_mesh and host == "*":
            problems.append("wildcard host * is not allowed for virtual services bound to the mesh gateway")
    if problems:
        return problems
    return [
        f"duplicate hosts in virtual service: {one} & {other}"
        for index, one in enumerate(hosts)
        for other in hosts[index + 1 :]
        if _overlap(one, other)
    ]


def _overlap(one: str, other: str) -> bool:
    """host.Name.Matches: equal, or one wildcard covers the other."""
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    return one.endswith(other[1:]) if other.startswith("*") else one == other


def _l4_match(match: Object) -> Messages:
    problems: Messages = []
    for subnet in match.get("destinationSubnets") or ():
        problems += common.ip_subnet(subnet)
    if match.get("port"):
        problems += common.port(match["port"])
    return problems + common.labels(match.get("sourceLabels")) + gateway_names(match.get("gateways") or ())


def _tls_route(route: Object, hosts: list[str]) -> Messages:
    problems: Messages = []
    if not route.get("match"):
        problems.append("TLS route must have at least one match condition")
    for match in route.get("match") or ():
        if not match.get("sniHosts"):
            problems.append("TLS match must have at least one SNI host")
        for name in match.get("sniHosts") or ():
            if not common.is_address(name):
                problems += common.wildcard_domain(name) or _sni_within(name, hosts)
        problems += _l4_match(match)
    if not route.get("route"):
        problems.append("TLS route is required")
    return problems + destinations(route.get("route") or [])


def _sni_within(name: str, hosts: list[str]) -> Messages:
    if any(name == host or (host.startswith("*") and name.endswith(host[1:])) for host in hosts):
        return []
    listed = ", ".join(hosts)
    return [f"SNI host {quote(name)} is not a compatible subset of any of the virtual service hosts: [{listed}]"]


def _tcp_route(route: Object) -> Messages:
    problems = [problem for match in route.get("match") or () for problem in _l4_match(match)]
    if not route.get("route"):
        problems.append("TCP route is required")
    return problems + destinations(route.get("route") or [])
