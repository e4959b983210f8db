"""The names and addresses of every mesh. Nobody chooses them: each mesh is alone in network namespaces of its own."""

from __future__ import annotations

NODE_NAME = "ambientlab"
RUNTIME = "ambientlab://"
"""How the node's container runtime, and the identifiers it gives, begin."""
NODE_IP = "10.244.0.1"
"""Also the gateway of the pods' network."""

POD_CIDR = "10.244.0.0/16"
NODE_IP_6 = "fd00:10:244::1"
POD_CIDR_6 = "fd00:10:244::/64"
"""The same in the other family, on a machine that has it."""

HOST_NAME = "host.ambientlab.internal"
HOST_IP = "10.244.255.254"
"""Of the machine that the mesh runs on, for ServiceEntries; no pod's address."""

SERVICE_CIDR = "10.96.0.0/12"
SERVICE_CIDR_6 = "fd00:10:96::/112"
KUBERNETES_IP = "10.96.0.1"
"""Of the Service `kubernetes`: the first of the range, as in every cluster."""

SERVICEENTRY_CIDR = "240.240.0.0/16"
SERVICEENTRY_CIDR_6 = "2001:2::/48"
"""Where hosts of ServiceEntries get addresses from, as in Istio (PILOT_IP_AUTOALLOCATE_IPV4_PREFIX)."""

DNS_IP = "10.96.0.10"
DOMAIN = "cluster.local"
TRUST_DOMAIN = "cluster.local"
CLUSTER_ID = "Kubernetes"
ISTIO_VERSION = "1.31.0"
BUILD = "ambientlab"
"""In place of a revision of Istio's source, where versions have one."""

ROOT_NAMESPACE = "istio-system"
"""Where istiod is, and where configuration for the whole mesh is."""

GATEWAY_CONTROLLER = "istio.io/gateway-controller"
MESH_CONTROLLER = "istio.io/mesh-controller"
"""Istio's controllers, as GatewayClasses and statuses name them. Waypoints are the second's."""

WAYPOINT_CLASS = "istio-waypoint"
"""The GatewayClass of waypoints."""

HBONE_PORT = 15008
"""Where pods and waypoints take tunnels."""
OUTBOUND_PORT = 15001
INBOUND_PLAINTEXT_PORT = 15006
"""Where ztunnel takes, inside a captured pod, what leaves the pod and what comes without a tunnel."""
PROXY_PORTS = (OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, HBONE_PORT)
"""Whoever calls one of these through ztunnel is refused: it would call itself, without end (istio/ztunnel,
src/config.rs, illegal_ports)."""

PROBE_SOURCE = "169.254.7.127"
PROBE_SOURCE_6 = "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"
"""What captured pods see as the source of connections from their own node, of the kubelet's probes for one (istio,
cni/pkg/nodeagent/options.go, DefaultHostProbeSNATIP). These pass ztunnel by."""
