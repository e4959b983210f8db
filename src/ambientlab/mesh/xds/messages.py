"""Building blocks of Envoy configuration that more than one resource needs.

Only message modules in use are imported here and in the siblings: each costs start-up time, and the daemon's is counted
in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, BindConfig
from envoy.config.core.v3.base_pb2 import Metadata, TransportSocket
from envoy.config.core.v3.config_source_pb2 import ConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.config.core.v3.socket_option_pb2 import SocketOption
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.local_address_selectors.filter_state_override.v3.config_pb2 import Config as FilterStateSelector
from envoy.extensions.transport_sockets.internal_upstream.v3.internal_upstream_pb2 import InternalUpstreamTransport
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue

CONNECT_ORIGINATE = "connect_originate"
OWN_CERTIFICATE = "default"
ROOT = "ROOTCA"
"""Secret names as Istio's agents use them: a proxy's own certificate, and the root its peers' must chain to."""

ON_DEMAND = "on-demand|"
"""Comes before the SPIFFE ID in the name of a certificate that is fetched when first needed. The aggregated stream asks
for a name only once, so this must not be a name that a listener asks for as well: it would wait for ever."""

CONNECT_TIMEOUT_MS = 10_000
"""As ztunnel's and Istio's."""

PROXY_MARK = 1337
"""SO_MARK of the proxy's own sockets inside a pod, which the redirection exempts (0x539, as ztunnel's)."""

ALONE = BoolValue(value=False)
"""`enable_reuse_port` of a listener. For the kernel, all programs of the node are one user, who could listen at the
port beside the proxy (socket(7), SO_REUSEPORT). Those of other users cannot beside ztunnel, which shares its ports
(src/inpod/config.rs)."""

TUNNELLED_PRIORITY = 1
"""SO_PRIORITY of the proxy's sockets to applications that are asked for through a tunnel. It means nothing to the
kernel here, and tells these from others that are alike (src/ambientlab/node/linux/carried.py)."""

NETNS = "envoy.network.upstream_bind_override.network_namespace"
TUNNEL_ADDRESS = "envoy.network.transport_socket.original_dst_address"
PEER_PRINCIPAL = "io.istio.peer_principal"
LOCAL_PRINCIPAL = "io.istio.local_principal"
"""Identities at the two ends of the tunnel that a request came through."""
PEER_SANS = "envoy.network.upstream_subject_alt_names"
TCP_CLUSTER = "envoy.tcp_proxy.cluster"
ORIGINAL_LOCAL = "envoy.filters.listener.original_dst.local_ip"
ORIGINAL_REMOTE = "envoy.filters.listener.original_dst.remote_ip"
STRING, HASHABLE = "envoy.string", "envoy.hashable_string"
"""Factories of filter state. Only a hashable object keeps apart the pooled connections it is shared with."""

ORIGINAL_DST_METADATA = "envoy.filters.listener.original_dst"
ISTIO_METADATA = "istio"
SOCKET_MATCH_METADATA = "envoy.transport_socket_match"

_UNLIMITED = 4294967295
_INTERNAL_UPSTREAM = "envoy.transport_sockets.internal_upstream"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def packed(message: Message) -> AnyMessage:
    """Deterministic, so that equal configuration has equal bytes."""
    result = AnyMessage()
    result.Pack(message, deterministic=True)
    return result


def duration(milliseconds: int) -> Duration:
    result = Duration()
    result.FromMilliseconds(milliseconds)
    return result


def extension(name: str, message: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=packed(message))


def ads() -> ConfigSource:
    source = ConfigSource(resource_api_version="V3")
    source.ads.SetInParent()
    return source


def socket_address(address: str, port: int, netns: str = "") -> Address:
    result = Address()
    result.socket_address.address = address
    result.socket_address.port_value = port
    if netns:
        result.socket_address.network_namespace_filepath = netns
    return result


def internal_address(listener: str, endpoint_id: str = "") -> Address:
    """`endpoint_id` tells endpoints behind the same internal listener apart."""
    result = Address()
    result.envoy_internal_address.server_listener_name = listener
    result.envoy_internal_address.endpoint_id = endpoint_id
    return result


def metadata(fields: Mapping[str, Mapping[str, str]]) -> Metadata:
    result = Metadata()
    for namespace, values in fields.items():
        result.filter_metadata[namespace].update(dict(values))
    return result


def filter_state(
    key: str, text: str, *, shared: str = "NONE", factory: str = "", skip_if_empty: bool = True
) -> FilterStateValue:
    """`shared`: NONE, ONCE (with the upstream connection) or TRANSITIVE (and those behind internal listeners)."""
    value = FilterStateValue(
        object_key=key,
        factory_key=factory,
        shared_with_upstream=FilterStateValue.SharedWithUpstream.Value(shared),
        skip_if_empty=skip_if_empty,
    )
    value.format_string.text_format_source.inline_string = text
    return value


def bind_in_netns(*, ipv6: bool, priority: int = 0) -> BindConfig:
    """Upstream connections are made in the network namespace named by filter state. The wildcard source address does
    nothing else than make Envoy look at the override. Envoy refuses one of IPv6 on a machine without that."""
    bind = BindConfig()
    bind.source_address.address = "0.0.0.0"
    bind.source_address.port_value = 0
    if ipv6:
        second = bind.extra_source_addresses.add().address
        second.address, second.port_value = "::", 0
    bind.local_address_selector.CopyFrom(
        extension("envoy.upstream.local_address_selector.filter_state_override", FilterStateSelector())
    )
    option = bind.socket_options.add(description="SO_MARK", level=1, name=36, int_value=PROXY_MARK)
    option.state = option.STATE_PREBIND
    if priority:
        option = bind.socket_options.add(description="SO_PRIORITY", level=1, name=12, int_value=priority)
        option.state = option.STATE_PREBIND
    return bind


_KEEPALIVE_SECONDS = 180
"""ztunnel's (src/config.rs, SocketConfig): soon enough for what forgets connections that are silent for some minutes.
Probes of an application end at the proxy, so that somebody has to send them on. How many are sent in vain is not set,
since that would cost each connection: ztunnel's nine are what a network namespace begins with."""


def kept_alive(cluster: Cluster) -> Cluster:
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = keepalive.keepalive_interval.value = _KEEPALIVE_SECONDS
    return cluster


def keepalive_options() -> list[SocketOption]:
    """For a listener, whose connections inherit them: SO_KEEPALIVE, and TCP's KEEPIDLE and KEEPINTVL."""
    options = ((1, 9, 1), (6, 4, _KEEPALIVE_SECONDS), (6, 5, _KEEPALIVE_SECONDS))
    return [SocketOption(level=level, name=name, int_value=value) for level, name, value in options]


def raw_buffer() -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=packed(RawBuffer()))


def internal_upstream(*host_metadata: str) -> TransportSocket:
    """To an internal listener of the same Envoy, taking the named metadata of the chosen endpoint along."""
    socket = InternalUpstreamTransport(transport_socket=raw_buffer())
    for name in host_metadata:
        passed = socket.passthrough_metadata.add(name=name)
        passed.kind.host.SetInParent()
    return TransportSocket(name=_INTERNAL_UPSTREAM, typed_config=packed(socket))


def with_inner(socket: TransportSocket, inner: TransportSocket) -> TransportSocket:
    """`inner` in place of plain bytes: on the connection, or inside the internal listener that `socket` leads to."""
    if socket.name != _INTERNAL_UPSTREAM:
        return inner
    outer = InternalUpstreamTransport()
    socket.typed_config.Unpack(outer)
    outer.transport_socket.CopyFrom(inner)
    return TransportSocket(name=_INTERNAL_UPSTREAM, typed_config=packed(outer))


def reach_both_ways(cluster: Cluster) -> Cluster:
    """Endpoints marked for a tunnel are internal listeners; all others are addresses, reached in plain TCP."""
    tunnelled = cluster.transport_socket_matches.add(
        name="hbone", transport_socket=internal_upstream(ORIGINAL_DST_METADATA, ISTIO_METADATA)
    )
    tunnelled.match.update({"tunnel": "h2"})
    cluster.transport_socket_matches.add(name="plaintext", transport_socket=raw_buffer()).match.SetInParent()
    return cluster


def http2_options(idle_seconds: int = 0, *, windows: bool = False) -> dict[str, AnyMessage]:
    """`idle_seconds`: how long a connection without requests is kept, an hour by default."""
    options = HttpProtocolOptions()
    if idle_seconds:
        options.common_http_protocol_options.idle_timeout.FromSeconds(idle_seconds)
    http2 = options.explicit_http_config.http2_protocol_options
    http2.allow_connect = True
    http2.max_concurrent_streams.value = 100
    if windows:
        set_windows(http2)
    return {HTTP_OPTIONS: packed(options)}


def set_windows(options: Http2ProtocolOptions) -> None:
    """How much may be under way in one stream and in one connection, for who begins tunnels. The Envoy that ends one,
    because its server has closed, drops what the window keeps it from sending at that moment (source/common/http/http2/
    codec_impl.cc, resetStream and sendPendingFrames). So a stream's is more than sockets and their buffers hold, which
    ztunnel's own, of 4 and 16 MiB (src/config.rs), need not be: then only who does not read can exhaust it."""
    options.initial_stream_window_size.value = 64 << 20
    options.initial_connection_window_size.value = 256 << 20


def terminate_tunnels(options: Http2ProtocolOptions) -> None:
    """HTTP/2 for who ends tunnels. The window of its streams is also what Envoy takes in from a server beyond what the
    client's window lets out (codec_impl.cc, where it becomes `per_stream_buffer_limit_`), and as such is lost when the
    server closes: with little of that the server waits instead."""
    options.allow_connect = True
    options.max_concurrent_streams.value = 1000
    options.initial_stream_window_size.value = 1 << 20
    options.initial_connection_window_size.value = 256 << 20


def keep_for_slow_readers(listener: Listener) -> None:
    """What begins tunnels. Once its buffer for somebody who is slow to read is full, it leaves data with the HTTP/2
    codec, which drops them when the stream is reset; and an Envoy at the other end resets it, as an error, right behind
    the last byte of a server that closes. (envoyproxy/envoy, issue 28329; the codec keeps them, since pull request
    44749, of streams that are reset without an error alone.) So a whole answer finds room, up to 1 GiB of it."""
    listener.per_connection_buffer_limit_bytes.value = 1 << 30


def mesh_tls(certificate: str, trust_domains: Sequence[str]) -> CommonTlsContext:
    """TLS 1.3 with peers of the trust domains; `certificate` is a secret's name, or "" to be added by the caller."""
    tls = CommonTlsContext(alpn_protocols=["h2"])
    tls.tls_params.tls_minimum_protocol_version = tls.tls_params.TLSv1_3
    tls.tls_params.tls_maximum_protocol_version = tls.tls_params.TLSv1_3
    if certificate:
        tls.tls_certificate_sds_secret_configs.add(name=certificate, sds_config=ads())
    combined = tls.combined_validation_context
    for trust_domain in trust_domains:
        san = combined.default_validation_context.match_typed_subject_alt_names.add()
        san.san_type = san.URI
        san.matcher.prefix = f"spiffe://{trust_domain}/"
    combined.validation_context_sds_secret_config.name = ROOT
    combined.validation_context_sds_secret_config.sds_config.CopyFrom(ads())
    return tls


def server_tls(certificate: str, trust_domains: Sequence[str]) -> TransportSocket:
    context = DownstreamTlsContext(common_tls_context=mesh_tls(certificate, trust_domains))
    context.require_client_certificate.value = True
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def original_dst_cluster(name: str, **fields: Any) -> Cluster:
    """To the address that the connection was for. Hosts without new connections are kept for a minute with their
    pools, so that clients that pause do not have to shake hands again."""
    cluster = _cluster(name, type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", **fields)
    cluster.cleanup_interval.FromSeconds(60)
    return cluster


def eds_cluster(name: str, **fields: Any) -> Cluster:
    cluster = _cluster(name, type="EDS", **fields)
    cluster.eds_cluster_config.eds_config.CopyFrom(ads())
    return cluster


def internal_cluster(name: str, listener: str, socket: TransportSocket) -> Cluster:
    """One endpoint: an internal listener of the same Envoy."""
    cluster = _cluster(name, type="STATIC", transport_socket=socket)
    cluster.load_assignment.cluster_name = name
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add()
    endpoint.endpoint.address.CopyFrom(internal_address(listener))
    return cluster


def _cluster(name: str, **fields: Any) -> Cluster:
    """Without Envoy's default limits, as in Istio: they are meant for a client of its own, not for everybody's."""
    cluster = Cluster(name=name, **fields)
    cluster.connect_timeout.FromMilliseconds(CONNECT_TIMEOUT_MS)
    limits = cluster.circuit_breakers.thresholds.add()
    for limit in (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries):
        limit.value = _UNLIMITED
    return cluster
