"""What a TrafficPolicy makes of a cluster (pilot/pkg/networking/core/cluster_traffic_policy.go)."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from ambientlab.mesh import ir
from ambientlab.mesh.ir import localities
from ambientlab.mesh.xds.messages import HTTP_OPTIONS, duration, packed
from ambientlab.mesh.xds.upstream_tls import upstream_socket

_STREAMS = 100
"""On one HTTP/2 connection where nothing else is asked for."""


def apply(cluster: Cluster, protocol: ir.AppProtocol, policy: ir.TrafficPolicy) -> None:
    """`cluster` has the mesh's defaults and reaches its endpoints in plain TCP, inside HBONE where they take it."""
    pool = policy.connection_pool or ir.ConnectionPool()
    options = _protocol(protocol, pool)
    _connections(cluster, options, pool)
    if policy.retry_budget is not None:
        budget = cluster.circuit_breakers.thresholds[0].retry_budget
        budget.budget_percent.value = policy.retry_budget.percent
        budget.min_retry_concurrency.value = policy.retry_budget.minimum
    if policy.outlier_detection is not None:
        _outliers(cluster, policy.outlier_detection)
    _balance(cluster, policy.load_balancer or ir.LoadBalancer())
    if localities.weighed(policy):
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    socket = upstream_socket(policy, options)
    if socket is not None:
        for match in cluster.transport_socket_matches:
            match.transport_socket.CopyFrom(socket(match.transport_socket))
    if options.ByteSize():
        if options.WhichOneof("upstream_protocol_options") is None:
            options.explicit_http_config.http_protocol_options.SetInParent()
        cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(packed(options))


def apply_to_tcp(proxy: TcpProxy, policy: ir.TrafficPolicy) -> None:
    """What a policy makes of connections that are carried through (pilot/pkg/networking/core/listener_waypoint.go,
    buildWaypointNetworkFilters)."""
    pool = policy.connection_pool or ir.ConnectionPool()
    if pool.tcp_idle_timeout is not None:
        proxy.idle_timeout.CopyFrom(duration(pool.tcp_idle_timeout))
    if pool.max_connection_duration:
        proxy.max_downstream_connection_duration.CopyFrom(duration(pool.max_connection_duration))
    hashing = policy.load_balancer.hash if policy.load_balancer is not None else None
    if hashing is not None and hashing.key is not None and hashing.key.kind == "source-ip":
        proxy.hash_policy.add().source_ip.SetInParent()
    if policy.tunnel is not None:
        proxy.tunneling_config.hostname = policy.tunnel.target
        proxy.tunneling_config.use_post = policy.tunnel.post


def _protocol(protocol: ir.AppProtocol, pool: ir.ConnectionPool) -> HttpProtocolOptions:
    """Which HTTP is spoken to endpoints. As in Istio, there is no upgrade where the port declares no protocol, and what
    is asked of HTTP/2 connections holds only where it declares HTTP/2 (setUpstreamProtocol, applyConnectionPool,
    setH2Options; https://github.com/istio/istio/issues/57583)."""
    options = HttpProtocolOptions()
    if pool.client_protocol or protocol is ir.AppProtocol.UNDECLARED:
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    elif protocol.http2 or pool.upgrade:
        http2 = options.explicit_http_config.http2_protocol_options
        http2.max_concurrent_streams.value = (protocol.http2 and pool.max_concurrent_streams) or _STREAMS
        if protocol.http2 and pool.http2_ping is not None:
            interval, timeout = pool.http2_ping
            http2.connection_keepalive.interval.CopyFrom(duration(interval))
            http2.connection_keepalive.timeout.CopyFrom(duration(timeout))
    return options


def _connections(cluster: Cluster, options: HttpProtocolOptions, pool: ir.ConnectionPool) -> None:
    limits = cluster.circuit_breakers.thresholds[0]
    for limit, wanted in (
        (limits.max_connections, pool.max_connections),
        (limits.max_pending_requests, pool.max_pending_requests),
        (limits.max_requests, pool.max_requests),
        (limits.max_retries, pool.max_retries),
    ):
        if wanted > 0:
            limit.value = wanted
    if pool.connect_timeout:
        cluster.connect_timeout.CopyFrom(duration(pool.connect_timeout))
    if pool.tcp_keepalive is not None:
        keepalive = cluster.upstream_connection_options.tcp_keepalive
        keepalive.SetInParent()
        if pool.tcp_keepalive.probes:
            keepalive.keepalive_probes.value = pool.tcp_keepalive.probes
        if pool.tcp_keepalive.time:
            keepalive.keepalive_time.value = pool.tcp_keepalive.time
        if pool.tcp_keepalive.interval:
            keepalive.keepalive_interval.value = pool.tcp_keepalive.interval
    common = options.common_http_protocol_options
    if pool.idle_timeout is not None:
        common.idle_timeout.CopyFrom(duration(pool.idle_timeout))
    if pool.max_connection_duration:
        common.max_connection_duration.CopyFrom(duration(pool.max_connection_duration))
    if pool.max_requests_per_connection > 0:
        common.max_requests_per_connection.value = pool.max_requests_per_connection


def _outliers(cluster: Cluster, wanted: ir.OutlierDetection) -> None:
    """By consecutive errors only: Envoy's success rate is switched off. Panic mode, in which Envoy sends to ejected
    endpoints too, is entered below `min_health_percent` only."""
    detection = cluster.outlier_detection
    detection.enforcing_success_rate.value = 0
    if wanted.consecutive_5xx is not None:
        detection.consecutive_5xx.value = wanted.consecutive_5xx
        detection.enforcing_consecutive_5xx.value = 100 if wanted.consecutive_5xx else 0
    if wanted.consecutive_gateway is not None:
        detection.consecutive_gateway_failure.value = wanted.consecutive_gateway
        detection.enforcing_consecutive_gateway_failure.value = 100 if wanted.consecutive_gateway else 0
    if wanted.interval:
        detection.interval.CopyFrom(duration(wanted.interval))
    if wanted.base_ejection:
        detection.base_ejection_time.CopyFrom(duration(wanted.base_ejection))
    if wanted.max_ejection_percent > 0:
        detection.max_ejection_percent.value = wanted.max_ejection_percent
    if wanted.split_local:
        detection.split_external_local_origin_errors = True
        detection.enforcing_local_origin_success_rate.value = 0
        if wanted.consecutive_local:
            detection.consecutive_local_origin_failure.value = wanted.consecutive_local
            detection.enforcing_consecutive_local_origin_failure.value = 100
    cluster.common_lb_config.healthy_panic_threshold.value = wanted.min_health_percent


def _balance(cluster: Cluster, wanted: ir.LoadBalancer) -> None:
    if wanted.hash is not None:
        ring = wanted.hash.table == "ring"
        cluster.lb_policy = Cluster.RING_HASH if ring else Cluster.MAGLEV
        if wanted.hash.size and ring:
            cluster.ring_hash_lb_config.minimum_ring_size.value = wanted.hash.size
        elif wanted.hash.size:
            cluster.maglev_lb_config.table_size.value = wanted.hash.size
        return
    match wanted.algorithm:
        case ir.Algorithm.PASSTHROUGH:
            cluster.type = Cluster.ORIGINAL_DST
            cluster.ClearField("eds_cluster_config")
            cluster.lb_policy = Cluster.CLUSTER_PROVIDED
        case ir.Algorithm.RANDOM:
            cluster.lb_policy = Cluster.RANDOM
        case ir.Algorithm.ROUND_ROBIN:
            cluster.lb_policy = Cluster.ROUND_ROBIN
            if wanted.warmup is not None:
                _warm_up(cluster.round_robin_lb_config.slow_start_config, wanted.warmup)
        case ir.Algorithm.LEAST_REQUEST:
            cluster.lb_policy = Cluster.LEAST_REQUEST
            if wanted.warmup is not None:
                _warm_up(cluster.least_request_lb_config.slow_start_config, wanted.warmup)


def _warm_up(config: Cluster.SlowStartConfig, wanted: ir.Warmup) -> None:
    config.slow_start_window.CopyFrom(duration(wanted.duration))
    if wanted.aggression is not None:
        config.aggression.default_value = wanted.aggression
        config.aggression.runtime_key = "("
    if wanted.minimum_percent is not None:
        config.min_weight_percent.value = wanted.minimum_percent
