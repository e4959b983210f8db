"""Type URLs of the resources the proxies subscribe to."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from ambientlab.mesh.ir import Key

PREFIX = "type.googleapis.com/"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
EXTENSION = PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

Resources = dict[str, dict[str, Message]]
"""type URL -> name -> resource."""

TYPES = (CLUSTER, ENDPOINTS, LISTENER, EXTENSION, ROUTES)
"""Those that are made from the mesh."""

Owned = tuple[Key, str, str]
"""Of which proxy, of which type, by which name. Proxies of one Gateway are told the same, under the Gateway's key."""
Made = Mapping[Owned, Message]
"""What becomes of one thing."""
NODE_PROXY = Key("", "ztunnel")
"""A Gateway has a namespace."""
