"""TLS and the PROXY protocol towards endpoints (pilot/pkg/networking/core/cluster_waypoint.go, cluster_tls.go).

Both are spoken inside HBONE where the endpoint is reached by it, and on the plain connection otherwise: the layers of a
transport socket are, from the outside, the tunnel, PROXY protocol, TLS.
"""

from __future__ import annotations

from collections.abc import Callable

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from ambientlab.mesh import ir
from ambientlab.mesh.xds.messages import ads, packed, raw_buffer, with_inner

SYSTEM_ROOTS = "file-root:system"
"""Istio's name of the secret with the authorities that the machine trusts."""

Wrap = Callable[[TransportSocket], TransportSocket]


def upstream_socket(policy: ir.TrafficPolicy, options: HttpProtocolOptions) -> Wrap | None:
    """What to make of a transport socket that leads to an endpoint; None to leave it as it is.

    Adds to `options` what TLS depends on of the request.
    """
    inner: TransportSocket | None = None
    if policy.tls is not None and policy.tls.mode != "DISABLE":
        inner = _tls(policy.tls, options)
    if policy.proxy_protocol:
        inner = _proxy_protocol(policy.proxy_protocol, inner or raw_buffer())
    if inner is None:
        return None
    innermost = inner
    return lambda socket: with_inner(socket, innermost)


def _tls(tls: ir.Tls, options: HttpProtocolOptions) -> TransportSocket:
    context = UpstreamTlsContext(sni=tls.sni)
    common = context.common_tls_context
    common.tls_params.tls_minimum_protocol_version = common.tls_params.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = common.tls_params.TLSv1_3
    if options.explicit_http_config.HasField("http2_protocol_options"):
        common.alpn_protocols.append("h2")
    if not tls.sni:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = tls.verify and not tls.names
    if tls.mode == "MUTUAL":
        if tls.credential:
            common.tls_certificate_sds_secret_configs.add(name=tls.credential, sds_config=ads())
        else:
            certificate = common.tls_certificates.add()
            certificate.certificate_chain.filename = tls.certificate_file
            certificate.private_key.filename = tls.key_file
    if tls.verify:
        _verify(tls, context)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _verify(tls: ir.Tls, context: UpstreamTlsContext) -> None:
    """Istio's agents read `ca_file` for the proxy; here the proxy does so itself, and refuses a cluster whose file is
    not there."""
    common = context.common_tls_context
    if tls.credential or not tls.ca_file or tls.ca_file == "system":
        combined = common.combined_validation_context
        validation = combined.default_validation_context
        validation.SetInParent()
        secret = combined.validation_context_sds_secret_config
        secret.name = tls.authorities if tls.credential else SYSTEM_ROOTS
        secret.sds_config.CopyFrom(ads())
    else:
        validation = common.validation_context
        validation.trusted_ca.filename = tls.ca_file
    if tls.crl_file:
        validation.crl.filename = tls.crl_file
    for name in tls.names:
        for kind in ("DNS", "URI", "IP_ADDRESS", "EMAIL"):
            validation.match_typed_subject_alt_names.add(san_type=kind).matcher.exact = name


def _proxy_protocol(version: str, inner: TransportSocket) -> TransportSocket:
    transport = ProxyProtocolUpstreamTransport(
        config=ProxyProtocolConfig(version=ProxyProtocolConfig.Version.Value(version)), transport_socket=inner
    )
    return TransportSocket(name="envoy.transport_sockets.upstream_proxy_protocol", typed_config=packed(transport))
