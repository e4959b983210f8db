"""Type URLs of the resources the proxies subscribe to, in the order a push must have: a reference never precedes what
it names (make-before-break, Envoy's "eventual consistency considerations" of the xDS protocol)."""

from __future__ import annotations

from google.protobuf.message import Message

PREFIX = "type.googleapis.com/"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

PUSH_ORDER = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)

Resources = dict[str, dict[str, Message]]
"""type URL -> name -> resource."""
