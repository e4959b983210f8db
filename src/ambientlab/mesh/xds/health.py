"""What the readiness probes of proxies ask, as Istio's do: port 15021, /healthz/ready."""

from __future__ import annotations

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from ambientlab.mesh.xds.messages import ALONE, packed, socket_address

HEALTH = "health"
STATUS_PORT = 15021


def health() -> Listener:
    """Being a listener like others, it answers once the proxy's configuration has arrived."""
    manager = HttpConnectionManager(stat_prefix=HEALTH)
    host = manager.route_config.virtual_hosts.add(name=HEALTH, domains=["*"])
    route = host.routes.add(name="ready")
    route.match.prefix = "/healthz/ready"
    route.direct_response.status = 200
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=packed(Router()))
    filters = [Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))]
    return Listener(
        name=HEALTH,
        address=socket_address("0.0.0.0", STATUS_PORT),
        enable_reuse_port=ALONE,
        filter_chains=[FilterChain(name=HEALTH, filters=filters)],
    )
