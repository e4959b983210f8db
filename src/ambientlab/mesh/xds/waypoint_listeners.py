"""A waypoint's listeners (pilot/pkg/networking/core/listener_waypoint.go)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import (
    FilterConfig as DynamicForwardProxy,
)
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config as HttpSetFilterState
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import (
    ApplicationProtocolInput,
    DestinationIPInput,
    DestinationPortInput,
)
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from ambientlab.cluster import HBONE_PORT
from ambientlab.mesh.ir import Key, Telemetry, TrafficPolicy, TrustDomains, with_port
from ambientlab.mesh.xds import access_log, guards, metrics, traffic_policy, waypoint_clusters
from ambientlab.mesh.xds.discovery import dns_cache
from ambientlab.mesh.xds.messages import (
    CONNECT_ORIGINATE,
    HASHABLE,
    LOCAL_PRINCIPAL,
    ORIGINAL_LOCAL,
    ORIGINAL_REMOTE,
    OWN_CERTIFICATE,
    PEER_PRINCIPAL,
    PEER_SANS,
    STRING,
    TUNNEL_ADDRESS,
    ads,
    filter_state,
    keep_for_slow_readers,
    packed,
    server_tls,
    socket_address,
    terminate_tunnels,
)
from ambientlab.mesh.xds.waypoint_clusters import ENCAP, MAIN_INTERNAL

GRPC_STATS = "envoy.filters.http.grpc_stats"
_HTTP = ("'http/1.0'", "'http/1.1'", "'h2c'")
"""What the HTTP inspector calls the protocols it recognises."""


Target = tuple[str, int]
"""An address and a port, 0 for all of its ports."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A filter chain, the destinations it is for and the listener that has it."""

    name: str
    targets: tuple[Target, ...]
    chain: FilterChain
    listener: str
    http: bool


def connect_terminate(telemetry: Telemetry, trust: TrustDomains, *, ipv6: bool) -> Listener:
    """Clients of the aliases are taken as well (authn.TrustDomainsForValidation)."""
    manager = _manager("connect_terminate", "connect_terminate")
    manager.codec_type = manager.HTTP2
    terminate_tunnels(manager.http2_protocol_options)
    manager.upgrade_configs.add(upgrade_type="CONNECT")
    manager.generate_request_id.value = False
    manager.access_log.extend(access_log.waypoint_terminations(telemetry))
    state = HttpSetFilterState(
        on_request_headers=[
            filter_state(ORIGINAL_LOCAL, "%REQ(:AUTHORITY)%", shared="ONCE"),
            filter_state(ORIGINAL_REMOTE, "%DOWNSTREAM_REMOTE_ADDRESS%", shared="ONCE"),
            filter_state(PEER_PRINCIPAL, "%DOWNSTREAM_PEER_URI_SAN%", shared="ONCE", factory=HASHABLE),
            filter_state(LOCAL_PRINCIPAL, "%DOWNSTREAM_LOCAL_URI_SAN%", shared="ONCE", factory=HASHABLE),
            filter_state(metrics.SOURCE_LABELS, metrics.source_labels(), shared="ONCE", factory=STRING),
        ]
    )
    _add_http_filter(manager, "envoy.filters.http.set_filter_state", state)
    _add_http_filter(manager, "envoy.filters.http.router", _router())
    chain = _chain("default", manager)
    chain.transport_socket.CopyFrom(server_tls(OWN_CERTIFICATE, trust.all))
    return Listener(
        name="connect_terminate",
        address=socket_address("0.0.0.0", HBONE_PORT),
        additional_addresses=[AdditionalAddress(address=socket_address("::", HBONE_PORT))] if ipv6 else [],
        filter_chains=[chain],
        access_log=access_log.waypoint_listener(telemetry),
    )


def termination_routes(inspected: Mapping[str, Sequence[Target]]) -> RouteConfiguration:
    """CONNECTs for what is `inspected` go to the listeners that do."""
    config = RouteConfiguration(name="connect_terminate")
    host = config.virtual_hosts.add(name="default", domains=["*"])
    for listener, targets in inspected.items():
        for target in targets:
            _connect_route(host, listener, target)
    _connect_route(host, MAIN_INTERNAL, None)
    return config


def main_internal(name: str, chains: Sequence[Chain], telemetry: Telemetry) -> Listener:
    """The name of the server that TLS is for is known on ports that declare it, and to what looks for HTTP it does not
    matter (buildWaypointInternal). As in Istio, which leaves the time at Envoy's own: who says nothing for 15 s where
    HTTP is looked for, perhaps because the server speaks first, is cut off."""
    listener = Listener(name=name, traffic_direction="INBOUND", access_log=access_log.waypoint_listener(telemetry))
    listener.internal_listener.SetInParent()
    _add_listener_filter(listener, "envoy.filters.listener.original_dst", OriginalDst())
    match name:
        case waypoint_clusters.MAIN_INTERNAL_DETECT:
            _add_listener_filter(listener, "envoy.filters.listener.http_inspector", HttpInspector())
        case waypoint_clusters.MAIN_INTERNAL_TLS:
            _add_listener_filter(listener, "envoy.filters.listener.tls_inspector", TlsInspector())
    listener.filter_chains.extend(chain.chain for chain in chains)
    if not chains:
        # a listener must have a chain; with no match, no connection gets to it
        listener.filter_chains.append(tcp_chain(telemetry, "none", ""))
    by_ip: dict[str, dict[str, list[Chain]]] = {}
    for chain in chains:
        for ip, port in chain.targets:
            by_ip.setdefault(ip, {}).setdefault(str(port or ""), []).append(chain)
    addresses: dict[str, Matcher.OnMatch] = {}
    for ip, ports in by_ip.items():
        numbered = {port: _decision(found) for port, found in ports.items() if port}
        on_match = Matcher.OnMatch()
        if numbered:
            on_match.matcher.CopyFrom(_tree("port", DestinationPortInput(), numbered))
            if "" in ports:
                on_match.matcher.on_no_match.CopyFrom(_decision(ports[""]))
        else:
            on_match.CopyFrom(_decision(ports[""]))
        addresses[ip] = on_match
    if addresses:
        listener.filter_chain_matcher.CopyFrom(_tree("ip", DestinationIPInput(), addresses))
    else:
        _choose(listener.filter_chain_matcher.on_no_match, "nothing")
    return listener


def http_chain(telemetry: Telemetry, name: str, host: str, *, http2: bool, dynamic: bool, counted: bool) -> FilterChain:
    """A port of the service at `host`: requests are routed by RDS under the chain's own name. `dynamic`: what they ask
    for is resolved. `counted`: answers by their status, of routes that have statistics."""
    manager = _manager(name, name)
    if http2:
        manager.http2_protocol_options.SetInParent()
        _add_http_filter(manager, GRPC_STATS, GrpcStats(emit_filter_state=True))
    _add_request_filters(manager, host, telemetry, dynamic=dynamic, counted=counted)
    return _chain(name, manager)


def direct_http_chain(telemetry: Telemetry) -> FilterChain:
    """HTTP to a workload's own address goes on to that address."""
    manager = _manager("direct-http", "")
    manager.route_config.name = "direct-http"
    host = manager.route_config.virtual_hosts.add(name="inbound|http|0", domains=["*"])
    route = host.routes.add(name="default")
    route.match.prefix = "/"
    route.route.cluster = ENCAP
    route.route.timeout.SetInParent()
    _add_request_filters(manager, guards.DIRECT, telemetry)
    chain = _chain("direct-http", manager)
    chain.filters.insert(0, _keep_destination())
    return chain


def tcp_chain(
    telemetry: Telemetry,
    name: str,
    owner: str,
    clusters: tuple[tuple[str, int], ...] = (),
    policy: TrafficPolicy | None = None,
) -> FilterChain:
    """Connections go to `clusters` by weight, or to the one called `name`; `owner` is the host whose policies are
    enforced, guards.DIRECT, or "" for none. `policy` is what holds for the service as a whole: Istio asks neither the
    port's nor a subset's."""
    proxy = TcpProxy(stat_prefix=name)
    proxy.access_log.extend([*access_log.waypoint_connections(telemetry), *metrics.tcp(telemetry)])
    proxy.access_log_options.flush_access_log_on_connected = True
    if len(clusters) > 1:
        for cluster, weight in clusters:
            proxy.weighted_clusters.clusters.add(name=cluster, weight=weight)
    else:
        proxy.cluster = clusters[0][0] if clusters else name
    if policy is not None:
        traffic_policy.apply_to_tcp(proxy, policy)
    chain = FilterChain(name=name)
    if proxy.cluster == ENCAP:
        chain.filters.append(_keep_destination())
    if owner:
        chain.filters.extend(guards.network_places(owner))
    chain.filters.add(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))
    return chain


def connect_originate(telemetry: Telemetry, gateway: Key) -> Listener:
    listener = Listener(name=CONNECT_ORIGINATE, access_log=access_log.waypoint_listener(telemetry))
    keep_for_slow_readers(listener)
    listener.internal_listener.SetInParent()
    _add_listener_filter(listener, "envoy.filters.listener.original_dst", OriginalDst())
    named = [
        filter_state(TUNNEL_ADDRESS, "%DYNAMIC_METADATA(istio:tunnel)%"),
        filter_state(PEER_SANS, "%DYNAMIC_METADATA(istio:san)%"),
    ]
    for value in named:  # none of them, and not "-", where a workload was called by its own address
        value.format_string.omit_empty_values = True
    state = SetFilterState(on_new_connection=named)
    proxy = TcpProxy(stat_prefix=CONNECT_ORIGINATE, cluster=CONNECT_ORIGINATE)
    proxy.access_log.extend(access_log.waypoint_originations(telemetry))
    # What opened the connection knows how long it may be idle, by its own policy; this clock, of an hour, would run for
    # every piece of data and might be the first.
    proxy.idle_timeout.SetInParent()
    proxy.tunneling_config.hostname = "%DOWNSTREAM_LOCAL_ADDRESS%"
    source = proxy.tunneling_config.headers_to_add.add().header
    # a container's host name is its pod's name
    source.key = access_log.SOURCE_HEADER
    source.value = access_log.workload_fields("src", "%HOSTNAME%", gateway.namespace)
    chain = listener.filter_chains.add(name="default")
    chain.filters.add(name="envoy.filters.network.set_filter_state", typed_config=packed(state))
    chain.filters.add(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))
    return listener


def _manager(stat_prefix: str, route_config: str) -> HttpConnectionManager:
    """`route_config` comes by RDS; "" if the caller puts one in."""
    manager = HttpConnectionManager(stat_prefix=stat_prefix, server_name="istio-envoy")
    manager.stream_idle_timeout.SetInParent()
    manager.normalize_path.value = True
    manager.use_remote_address.value = False
    if route_config:
        manager.rds.route_config_name = route_config
        manager.rds.config_source.CopyFrom(ads())
    return manager


def _add_request_filters(
    manager: HttpConnectionManager, owner: str, telemetry: Telemetry, *, dynamic: bool = False, counted: bool = False
) -> None:
    """`owner` is the host whose policies are enforced, or guards.DIRECT."""
    manager.access_log.extend([*access_log.waypoint_requests(telemetry), *metrics.http(telemetry)])
    manager.upgrade_configs.add(upgrade_type="websocket")
    manager.http_filters.append(guards.http_place(owner))
    if dynamic:
        resolver = DynamicForwardProxy(dns_cache_config=dns_cache(owner))
        _add_http_filter(manager, "envoy.filters.http.dynamic_forward_proxy", resolver)
    _add_http_filter(manager, "envoy.filters.http.router", _router(counted))


def _router(counted: bool = False) -> Router:
    """Without counters by status code where none of them is kept: each request would look for its own, at a tenth of
    the cost of passing it on."""
    router = Router()
    if not counted:
        router.dynamic_stats.value = False
    return router


def _add_http_filter(manager: HttpConnectionManager, name: str, message: Message) -> None:
    manager.http_filters.add(name=name, typed_config=packed(message))


def _add_listener_filter(listener: Listener, name: str, message: Message) -> None:
    listener.listener_filters.add(name=name, typed_config=packed(message))


def _chain(name: str, manager: HttpConnectionManager) -> FilterChain:
    chain = FilterChain(name=name)
    chain.filters.add(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    return chain


def _keep_destination() -> Filter:
    """The address asked for becomes what the tunnel to the workload asks for."""
    asked = filter_state(ORIGINAL_LOCAL, "%DOWNSTREAM_LOCAL_ADDRESS%", shared="ONCE")
    state = SetFilterState(on_new_connection=[asked])
    return Filter(name="envoy.filters.network.set_filter_state", typed_config=packed(state))


def _connect_route(host: Message, cluster: str, target: Target | None) -> None:
    route = host.routes.add()  # type: ignore[attr-defined]  # a RouteConfiguration's virtual host
    route.match.connect_matcher.SetInParent()
    if target is not None:
        matcher = route.match.headers.add(name=":authority").string_match
        authority = with_port(*target)
        if target[1]:
            matcher.exact = authority
        else:
            matcher.prefix = authority.removesuffix("0")
    route.route.cluster = cluster
    route.route.timeout.SetInParent()
    upgrade = route.route.upgrade_configs.add(upgrade_type="CONNECT")
    upgrade.connect_config.SetInParent()


def _decision(chains: Sequence[Chain]) -> Matcher.OnMatch:
    """One chain, or a pair to choose from by what the client speaks."""
    result = Matcher.OnMatch()
    if len(chains) == 1:
        _choose(result, chains[0].name)
        return result
    http = next(c for c in chains if c.http)
    tcp = next(c for c in chains if not c.http)
    by_protocol = {protocol: _chosen(http.name) for protocol in _HTTP}
    result.matcher.CopyFrom(_tree("application-protocol", ApplicationProtocolInput(), by_protocol))
    _choose(result.matcher.on_no_match, tcp.name)
    return result


def _tree(name: str, data: Message, branches: dict[str, Matcher.OnMatch]) -> Matcher:
    matcher = Matcher()
    matcher.matcher_tree.input.CopyFrom(TypedExtensionConfig(name=name, typed_config=packed(data)))
    for value, on_match in branches.items():
        matcher.matcher_tree.exact_match_map.map[value].CopyFrom(on_match)
    return matcher


def _chosen(chain: str) -> Matcher.OnMatch:
    result = Matcher.OnMatch()
    _choose(result, chain)
    return result


def _choose(on_match: Matcher.OnMatch, chain: str) -> None:
    on_match.action.name = chain
    on_match.action.typed_config.CopyFrom(packed(StringValue(value=chain)))
