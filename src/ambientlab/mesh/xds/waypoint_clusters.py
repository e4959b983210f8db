"""A waypoint's clusters, under Istio's names (pilot/pkg/networking/core/cluster_waypoint.go)."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.message import Message

from ambientlab.cluster import HBONE_PORT
from ambientlab.mesh.ir import AppProtocol, Destination, TrafficPolicy, TrustDomains
from ambientlab.mesh.xds import traffic_policy
from ambientlab.mesh.xds.discovery import STATIC, Discovery
from ambientlab.mesh.xds.messages import (
    CONNECT_ORIGINATE,
    ISTIO_METADATA,
    OWN_CERTIFICATE,
    eds_cluster,
    http2_options,
    internal_cluster,
    internal_upstream,
    mesh_tls,
    original_dst_cluster,
    packed,
    reach_both_ways,
)

MAIN_INTERNAL = "main_internal"
MAIN_INTERNAL_DETECT = "main_internal_detect"
MAIN_INTERNAL_TLS = "main_internal_tls"
ENCAP = "encap"


def inner_listener(protocol: AppProtocol) -> str:
    """Where the connections to a port go on that declares this protocol: what looks at their first bytes is a property
    of a whole listener."""
    inspecting = {AppProtocol.UNDECLARED: MAIN_INTERNAL_DETECT, AppProtocol.TLS: MAIN_INTERNAL_TLS}
    return inspecting.get(protocol, MAIN_INTERNAL)


def inbound_name(host: str, port: int, kind: str) -> str:
    return f"inbound-vip|{port}|{kind}|{host}"


def served_by(name: str) -> tuple[str, int] | None:
    """The host and port that `inbound_name` was given, for other names None."""
    parts = name.split("|")
    return (parts[3], int(parts[1])) if len(parts) == 4 and parts[0] == "inbound-vip" else None


def outbound_name(host: str, port: int, subset: str) -> str:
    return f"outbound|{port}|{subset}|{host}"


def with_subset(name: str, subset: str) -> str:
    """`inbound-vip|80|http|host` of a subset is `inbound-vip|80|http/<subset>|host`."""
    if not subset:
        return name
    direction, port, kind, host = name.split("|")
    return f"{direction}|{port}|{kind}/{subset}|{host}"


def destination_of(name: str) -> Destination | None:
    """What the cluster of a service is for; None for other names."""
    parts = name.split("|")
    if len(parts) != 4 or parts[0] not in ("inbound-vip", "outbound"):
        return None
    subset = parts[2] if parts[0] == "outbound" else parts[2].partition("/")[2]
    return Destination(parts[3], int(parts[1]), subset)


def shared(trust: TrustDomains) -> dict[str, Message]:
    made = (
        inner(MAIN_INTERNAL),
        inner(MAIN_INTERNAL_DETECT),
        internal_cluster(ENCAP, CONNECT_ORIGINATE, internal_upstream()),
        _connect_originate(trust),
    )
    return {cluster.name: cluster for cluster in made}


def inner(listener: str) -> Cluster:
    return internal_cluster(listener, listener, internal_upstream())


def service_cluster(
    name: str,
    protocol: AppProtocol,
    subset: str,
    policy: TrafficPolicy,
    metric_labels: str,
    source: Discovery = STATIC,
) -> Cluster:
    """The metadata is Istio's: `istioctl proxy-config cluster` shows which rule holds (AddConfigInfoMetadata)."""
    cluster = reach_both_ways(eds_cluster(name))
    traffic_policy.apply(cluster, protocol, policy)
    source.apply(cluster)
    if policy.origin is not None:
        namespace, rule = policy.origin
        config = f"/apis/networking.istio.io/v1/namespaces/{namespace}/destination-rule/{rule}"
        cluster.metadata.filter_metadata[ISTIO_METADATA].update({"config": config})
    if subset:
        cluster.metadata.filter_metadata[ISTIO_METADATA].update({"subset": subset})
    cluster.alt_stat_name = metric_labels
    return cluster


def _connect_originate(trust: TrustDomains) -> Cluster:
    """To the tunnel's end that the endpoint named, or else to the HBONE port of the address itself."""
    cluster = original_dst_cluster(
        CONNECT_ORIGINATE,
        typed_extension_protocol_options=http2_options(windows=True),
        transport_socket=_client_tls(trust),
    )
    cluster.original_dst_lb_config.upstream_port_override.value = HBONE_PORT
    return cluster


def _client_tls(trust: TrustDomains) -> TransportSocket:
    context = UpstreamTlsContext(common_tls_context=mesh_tls(OWN_CERTIFICATE, trust.all))
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
