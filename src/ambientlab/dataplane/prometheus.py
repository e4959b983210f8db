"""What a waypoint serves about itself: its metrics, and to its own pod Envoy's admin interface.

    15090  /stats/prometheus: Envoy's statistics (Istio: tools/packaging/common/envoy_bootstrap.json)
    15020  the same; there Istio's agent merges what it has to say itself, and there scrapers are sent
    15000  on loopback, everything: where `istioctl` goes by port-forward

Envoy puts `envoy_` before every name and keeps all labels of a metric in one tag (`mesh.xds.labels`). A script spells
them out on the way, each tag once, so that the worker that serves them is soon back at its requests.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from ambientlab.cluster import CLUSTER_ID, ISTIO_VERSION
from ambientlab.mesh.xds import labels

ADMIN_PORT = 15000
AGENT_PORT = 15020
METRICS_PORT = 15090

_CLUSTER = "prometheus_stats"
_LARGEST = 64 << 20
"""Bytes of metrics: the script needs them all at once."""
_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def clusters(admin_socket: str) -> list[dict[str, Any]]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": admin_socket}}}}
    return [
        {
            "name": _CLUSTER,
            "type": "STATIC",
            "connect_timeout": "0.25s",
            "per_connection_buffer_limit_bytes": _LARGEST,
            "load_assignment": {"cluster_name": _CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
    ]


def listeners() -> list[dict[str, Any]]:
    scripted = {"@type": f"{_FILTERS}.http.lua.v3.Lua", "default_source_code": {"inline_string": script()}}
    spelled = {"name": "envoy.filters.http.lua", "typed_config": scripted}
    metrics = {"prefix": "/stats/prometheus"}
    return [
        _listener("0.0.0.0", METRICS_PORT, metrics, spelled),
        _listener("0.0.0.0", AGENT_PORT, metrics, spelled),
        _listener("127.0.0.1", ADMIN_PORT, {"prefix": "/"}),
    ]


def _listener(address: str, port: int, match: dict[str, str], *filters: dict[str, Any]) -> dict[str, Any]:
    name = f"{address}_{port}"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}}
    routes = [{"match": match, "route": {"cluster": _CLUSTER, "timeout": "0s"}}]
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stats",
        "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": routes}]},
        "http_filters": [*filters, router],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "per_connection_buffer_limit_bytes": _LARGEST,
        "ignore_global_conn_limit": True,  # who looks after a proxy that is full must still get in
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


@cache
def script() -> str:
    """Lua for Envoy's filter of that name."""
    start, middle, end_of_instructions = labels.INSTRUCTIONS
    values = {
        "peer": ", ".join(f"'{name}'" for name in labels.PEER),
        "service": ", ".join(f"'{name}'" for name in labels.SERVICE),
        "parts": ", ".join(f"{name} = {part}" for name, part in labels.MESSAGES.items()),
        "tag": labels.TAG,
        "prefix": labels.PREFIX,
        "cluster": CLUSTER_ID,
        "version": ISTIO_VERSION,
        "and": labels.AND,
        "list": labels.LIST,
        "next": labels.NEXT,
        "is": labels.IS,
        "end": labels.END,
        "start": start,
        "middle": middle,
        "end_of_instructions": end_of_instructions,
    }
    text = (Path(__file__).parent / "metrics.lua").read_text()
    return re.sub(r"@(\w+)@", lambda match: _escaped(values[match[1]]), text)


def _escaped(text: str) -> str:
    """As it is written in a Lua string; nothing in it means anything to Lua's patterns."""
    return "".join(char if char >= " " else f"\\{ord(char):03}" for char in text)
