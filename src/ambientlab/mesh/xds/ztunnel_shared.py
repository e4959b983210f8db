"""What the node proxy has once, for all pods: the way into the tunnels, and the shapes of its clusters."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import BindConfig
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.message import Message
from xds.type.v3.typed_struct_pb2 import TypedStruct

from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import TrustDomains
from ambientlab.mesh.xds import access_log, labels, metrics
from ambientlab.mesh.xds.discovery import Discovery
from ambientlab.mesh.xds.messages import (
    CONNECT_ORIGINATE,
    ON_DEMAND,
    ORIGINAL_DST_METADATA,
    PEER_SANS,
    STRING,
    TUNNEL_ADDRESS,
    TUNNELLED_PRIORITY,
    bind_in_netns,
    eds_cluster,
    filter_state,
    http2_options,
    keep_for_slow_readers,
    kept_alive,
    mesh_tls,
    original_dst_cluster,
    packed,
    reach_both_ways,
)

PASSTHROUGH = "PassthroughCluster"
BLACKHOLE = "BlackHoleCluster"
INBOUND = "inbound_app"

_IDLE_TUNNEL_SECONDS = 300
"""istio/ztunnel, src/config.rs: DEFAULT_POOL_UNUSED_RELEASE_TIMEOUT."""

_CERTIFICATE = "envoy.tls.certificate_mappers.on_demand_secret"
"""Filter state."""
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls"


def shared_clusters(trust: TrustDomains, *, ipv6: bool) -> dict[str, Message]:
    bind = bind_in_netns(ipv6=ipv6, priority=TUNNELLED_PRIORITY)
    inbound = kept_alive(original_dst_cluster(INBOUND, upstream_bind_config=bind))
    inbound.original_dst_lb_config.use_http_header = True
    inbound.original_dst_lb_config.http_header_name = ":authority"
    blackhole = Cluster(name=BLACKHOLE, type="STATIC")
    passthrough = inpod_passthrough(PASSTHROUGH, ipv6=ipv6)
    clusters = (_connect_originate_cluster(trust, ipv6=ipv6), passthrough, inbound, blackhole)
    return {cluster.name: cluster for cluster in clusters}


def inpod_passthrough(name: str, fields: str = "", *, ipv6: bool) -> Cluster:
    """To the address the client asked for, from the pod's network namespace, in plain TCP. `fields` are for the log: in
    the name for statistics, which costs a connection less than metadata, and has no others to name here."""
    cluster = kept_alive(original_dst_cluster(name, upstream_bind_config=bind_in_netns(ipv6=ipv6)))
    cluster.alt_stat_name = fields
    return cluster


def destination_cluster(name: str) -> Cluster:
    """Endpoints inside tunnels, chosen anew for each connection and at random, as ztunnel does; where two waypoints
    share the connections, by their weights first."""
    cluster = eds_cluster(name, lb_policy="RANDOM")
    cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    return reach_both_ways(cluster)


def service_cluster(name: str, weighted: bool, source: Discovery, bind: BindConfig | None) -> Cluster:
    """As `destination_cluster`, however endpoints are found. Envoy knows no weights at random, so that endpoints with
    weights take turns instead: their shares are the same.

    `bind` is for endpoints outside tunnels. Where there are none it would only cost: Envoy goes into the pod's network
    namespace and back for each connection, although what leads into a tunnel has no socket."""
    cluster = destination_cluster(name)
    if bind is not None:
        kept_alive(cluster).upstream_bind_config.CopyFrom(bind)
    if weighted:
        cluster.lb_policy = Cluster.ROUND_ROBIN
    source.apply(cluster)
    return cluster


def _connect_originate_cluster(trust: TrustDomains, *, ipv6: bool) -> Cluster:
    """HTTP/2 connections that tunnels share: one pool for each source, destination and expected identity."""
    cluster = original_dst_cluster(
        CONNECT_ORIGINATE,
        upstream_bind_config=bind_in_netns(ipv6=ipv6),
        typed_extension_protocol_options=http2_options(_IDLE_TUNNEL_SECONDS, windows=True),
        transport_socket=_client_tls(trust),
    )
    return kept_alive(cluster)


def _client_tls(trust: TrustDomains) -> TransportSocket:
    """The certificate is fetched when the first connection of its identity is made, by the name in filter state."""
    context = UpstreamTlsContext(common_tls_context=mesh_tls("", (trust.own,)))
    selector = TypedStruct(type_url=f"{_TLS}.cert_selectors.on_demand_secret.v3.Config")
    # As a struct, because the published Python package has no messages for these of Envoy 1.40.
    selector.value.update(
        {
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "certificate_mapper": {
                "name": "envoy.tls.upstream_certificate_mappers.filter_state_override",
                "typed_config": {
                    "@type": f"{_TLS}.cert_mappers.filter_state_override.v3.Config",
                    "default_value": "none",
                },
            },
        }
    )
    context.common_tls_context.custom_tls_certificate_selector.name = "on-demand"
    context.common_tls_context.custom_tls_certificate_selector.typed_config.CopyFrom(packed(selector))
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def source_state(pod: Captured) -> list[FilterStateValue]:
    """What goes along into tunnels, of the pod they begin in: few values, since each costs every connection. What
    `connect_originate` alone reads goes no further than there, which costs half as much; the certificate is chosen
    behind it."""
    names = labels.names(
        workload=pod.workload_name,
        service=pod.canonical_name,
        revision=pod.canonical_revision,
        namespace=pod.namespace,
    )
    told = {
        access_log.SOURCE: access_log.workload_fields("src", pod.name, pod.namespace),
        access_log.SOURCE_FIELDS: access_log.source_fields(pod.name, pod.namespace, pod.identity),
        metrics.SOURCE_NAMES: names,
    }
    return [
        filter_state(_CERTIFICATE, f"{ON_DEMAND}{pod.identity}", shared="TRANSITIVE", factory=STRING),
        *(filter_state(key, text, shared="ONCE", factory=STRING) for key, text in told.items()),
    ]


def connect_originate_listener() -> Listener:
    listener = Listener(name=CONNECT_ORIGINATE)
    keep_for_slow_readers(listener)
    listener.internal_listener.SetInParent()
    asked = filter_state(access_log.ASKED, f"%DYNAMIC_METADATA({ORIGINAL_DST_METADATA}:local)%", factory=STRING)
    asked.format_string.omit_empty_values = True  # then what came along stays
    state = SetFilterState(
        on_new_connection=[
            filter_state(TUNNEL_ADDRESS, "%DYNAMIC_METADATA(istio:tunnel)%"),
            filter_state(PEER_SANS, "%DYNAMIC_METADATA(istio:san)%"),
            asked,
        ]
    )
    proxy = TcpProxy(
        stat_prefix=CONNECT_ORIGINATE, cluster=CONNECT_ORIGINATE, access_log=access_log.tunnelled_outbound()
    )
    proxy.access_log_options.access_log_flush_interval.FromMilliseconds(access_log.REPORT_EVERY_MS)
    proxy.tunneling_config.hostname = f"%FILTER_STATE({access_log.ASKED}:PLAIN)%"
    proxy.idle_timeout.SetInParent()
    told = {
        access_log.SOURCE_HEADER: f"%FILTER_STATE({access_log.SOURCE}:PLAIN)%",
        metrics.SOURCE_NAMES_HEADER: f"%FILTER_STATE({metrics.SOURCE_NAMES}:PLAIN)%",
        access_log.DESTINATION_SERVICE_HEADER: f"%DYNAMIC_METADATA(istio:{access_log.DESTINATION_SERVICE})%",
    }
    for header, value in told.items():
        option = proxy.tunneling_config.headers_to_add.add()
        option.header.key, option.header.value = header, value
        option.append_action = option.OVERWRITE_IF_EXISTS_OR_ADD
    chain = listener.filter_chains.add()
    chain.filters.extend(
        [
            Filter(name="envoy.filters.network.set_filter_state", typed_config=packed(state)),
            Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy)),
        ]
    )
    return listener
