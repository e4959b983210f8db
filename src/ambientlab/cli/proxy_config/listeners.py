"""`listener` (istioctl/pkg/writer/envoy/configdump/listener.go)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from ambientlab.cli.proxy_config import routes
from ambientlab.cli.proxy_config.dump import Message
from ambientlab.cli.proxy_config.shape import HTTP, TCP

HEADER = ["ADDRESSES", "PORT", "MATCH", "DESTINATION"]
BRIEF = ["ADDRESSES", "PORT", "TYPE"]
WAYPOINT_HEADER = ["LISTENER", "CHAIN", "MATCH", "DESTINATION"]

_BLACKHOLE = "BlackHoleCluster"
_PROTOCOLS = {
    ("http/1.0", "http/1.1", "h2c", "istio-http/1.0", "istio-http/1.1", "istio-h2"): "App: HTTP TLS",
    ("istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"): "App: Istio HTTP Plain",
    ("istio-peer-exchange", "istio"): "App: TCP TLS",
    ("http/1.0", "http/1.1", "h2c"): "App: HTTP",
}


@dataclass(frozen=True, slots=True)
class ListenerFilter:
    address: str = ""
    port: int = 0
    kind: str = ""

    def admits(self, listener: Message) -> bool:
        return (
            (not self.address or self.address.lower() in (one.lower() for one in addresses(listener)))
            and (not self.port or self.port == port(listener))
            and (not self.kind or self.kind.lower() == kind(listener).lower())
        )


def ordered(listeners: list[Message]) -> list[Message]:
    return sorted(listeners, key=lambda one: (port(one), addresses(one)[0], kind(one)))


def rows(listener: Message) -> list[list[str]]:
    found = [
        (destination(chain.get("filters") or []), match(chain.get("filter_chain_match") or {}))
        for chain in chains(listener)
    ]
    before = [",".join(addresses(listener)), str(port(listener))]
    return [[*before, matches, leads] for leads, matches in sorted(found, key=lambda one: one[0], reverse=True)]


def brief(listener: Message) -> list[str]:
    return [",".join(addresses(listener)), str(port(listener)), kind(listener)]


def waypoint_rows(listeners: list[Message]) -> list[list[str]]:
    """With the conditions of the tree that waypoints choose their filter chains by."""
    found = []
    for listener in sorted(listeners, key=lambda one: (port(one), addresses(one)[0], one.get("name", ""))):
        for chain in chains(listener):
            leads = destination(chain.get("filters") or [])
            for matches in _conditions(chain, listener):
                found.append([f"envoy://{listener.get('name', '')}", chain.get("name", ""), matches, leads])
    return found


def chains(listener: Message) -> list[Message]:
    default = listener.get("default_filter_chain")
    return [*(listener.get("filter_chains") or ()), *([default] if default else [])]


def addresses(listener: Message) -> list[str]:
    more = [one.get("address") or {} for one in listener.get("additional_addresses") or ()]
    first = listener.get("address") or {}
    own = (first.get("socket_address") or {}).get("address") or (first.get("pipe") or {}).get("path") or ""
    return [own, *[(one.get("socket_address") or {}).get("address", "") for one in more]]


def port(listener: Message) -> int:
    found: int = ((listener.get("address") or {}).get("socket_address") or {}).get("port_value", 0)
    return found


def kind(listener: Message) -> str:
    filters = [one for chain in chains(listener) for one in chain.get("filters") or ()]
    http = any(one.get("name") == HTTP for one in filters)
    tcp = any(one.get("name") == TCP and _BLACKHOLE not in json.dumps(one) for one in filters)
    return {(True, True): "HTTP+TCP", (True, False): "HTTP", (False, True): "TCP"}.get((http, tcp), "UNKNOWN")


def match(conditions: Message) -> str:
    found = []
    if names := conditions.get("server_names"):
        found.append(f"SNI: {','.join(names)}")
    if transport := conditions.get("transport_protocol"):
        found.append(f"Trans: {transport}")
    if protocols := conditions.get("application_protocols"):
        found.append(_PROTOCOLS.get(tuple(protocols), f"App: {','.join(protocols)}"))
    to_port = f":{conditions['destination_port']}" if "destination_port" in conditions else ""
    if ranges := conditions.get("prefix_ranges"):
        networks = ",".join(f"{one.get('address_prefix', '')}/{one.get('prefix_len', 0)}" for one in ranges)
        found.append(f"Addr: {networks}{to_port}")
    elif to_port:
        found.append(f"Addr: *{to_port}")
    return "; ".join(found) or "ALL"


def destination(filters: list[Message]) -> str:
    """Of the first filter that ends the chain."""
    for one in filters:
        config = one.get("typed_config") or {}
        if one.get("name") == HTTP:
            if "route_config" in config:
                return _inline(config["route_config"])
            name = (config.get("rds") or {}).get("route_config_name")
            return f"Route: {name}" if name else "HTTP"
        if one.get("name") == TCP and _BLACKHOLE not in json.dumps(config):
            return _cluster(config.get("cluster", ""))
    return "Non-HTTP/Non-TCP"


def _cluster(name: str) -> str:
    return name if "Cluster" in name else f"Cluster: {name}"


def _inline(config: Message) -> str:
    hosts = config.get("virtual_hosts") or []
    if len(hosts) == 1 and hosts[0].get("domains") == ["*"] and len(hosts[0].get("routes") or ()) == 1:
        [route] = hosts[0]["routes"]
        if (route.get("match") or {}).get("prefix") == "/" and "cluster" in (route.get("route") or {}):
            return _cluster(route["route"]["cluster"])
    described = []
    for host in hosts:
        names = "" if host.get("domains") == ["*"] else "/".join(host.get("domains") or ())
        paths = ", ".join(routes.match(route.get("match") or {}) for route in host.get("routes") or ())
        described.append(f"{names} {paths}" if names else paths)
    return f"Inline Route: {'; '.join(described)}"


def _conditions(chain: Message, listener: Message) -> list[str]:
    matcher = listener.get("filter_chain_matcher")
    if matcher is None:
        return [match(chain.get("filter_chain_match") or {})]
    return sorted(_branches(chain.get("name", ""), matcher)) or ["NONE"]


def _branches(name: str, matcher: Message) -> Iterator[str]:
    """The ways through the tree to the chain of this name, each as its conditions."""
    if "on_no_match" in matcher:
        yield from _leads_to(name, matcher["on_no_match"], "ANY")
    tree = matcher.get("matcher_tree") or {}
    subject = (tree.get("input") or {}).get("name", "")
    for value, on_match in ((tree.get("exact_match_map") or {}).get("map") or {}).items():
        yield from _leads_to(name, on_match, f"{subject}={value}")
    custom = ((tree.get("custom_match") or {}).get("typed_config") or {}).get("range_matchers") or ()
    for matched in custom:
        for one in matched.get("ranges") or ():
            length = one.get("prefix_len", 0)
            prefix = one.get("address_prefix", "")
            network = prefix if length in (32, 128) else f"{prefix}/{length}"
            yield from _leads_to(name, matched.get("on_match") or {}, f"{subject}={network}")


def _leads_to(name: str, on_match: Message, condition: str) -> Iterator[str]:
    if (on_match.get("action") or {}).get("name") == name:
        yield condition
    for inner in _branches(name, on_match.get("matcher") or {}):
        yield f"{condition} -> {inner}"
