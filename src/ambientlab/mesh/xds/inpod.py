"""The node proxy's listeners inside one captured pod. They depend on the pod, and on what may not be sent to it.

Each has filter chains of its own, although most are alike: chains that listeners share (Listener.fcds_config) would
make a restart among many pods faster, but Envoy ends their connections with whatever else of the listener changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib import import_module
from itertools import groupby
from operator import itemgetter
from typing import Any

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config as HttpSetFilterState
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import (
    DestinationIPInput,
    DestinationPortInput,
)
from google.protobuf.wrappers_pb2 import StringValue
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.ip_pb2 import IPMatcher
from xds.type.matcher.v3.matcher_pb2 import Matcher

from ambientlab.cluster import (
    HBONE_PORT,
    INBOUND_PLAINTEXT_PORT,
    NODE_IP,
    NODE_IP_6,
    OUTBOUND_PORT,
    POD_CIDR,
    POD_CIDR_6,
    PROXY_PORTS,
    SERVICE_CIDR,
    SERVICE_CIDR_6,
    SERVICEENTRY_CIDR,
    SERVICEENTRY_CIDR_6,
)
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.ir import SELF_CALL, Authorization, is_ipv6, trust_domain_of, with_port
from ambientlab.mesh.xds import access_log
from ambientlab.mesh.xds.messages import (
    ALONE,
    HASHABLE,
    ISTIO_METADATA,
    NETNS,
    PROXY_MARK,
    STRING,
    TCP_CLUSTER,
    ads,
    extension,
    filter_state,
    keepalive_options,
    metadata,
    packed,
    server_tls,
    socket_address,
    terminate_tunnels,
)
from ambientlab.mesh.xds.types import PREFIX
from ambientlab.mesh.xds.ztunnel_shared import BLACKHOLE, INBOUND, PASSTHROUGH, source_state

SERVICE_NETWORKS = (SERVICE_CIDR, SERVICEENTRY_CIDR, SERVICE_CIDR_6, SERVICEENTRY_CIDR_6)
"""Of Services, and of ServiceEntries that chose no address."""
POD_NETWORKS = (POD_CIDR, POD_CIDR_6)
_NODE = (f"{NODE_IP}/32", f"{NODE_IP_6}/128")
"""The pod network's gateway is the node itself, no pod."""
TO_SERVICE, TO_WORKLOAD, TO_ADDRESS = "service", "workload", "passthrough"
"""Chains: what a destination is looked up as, or that it is not."""
TO_NETWORK = "network|"
"""Begins those that stand for all addresses of a network."""
_LOOPBACK = ("127.0.0.0/8", "::1/128")
"""Never redirected: such a destination is the proxy's own port, called by the application."""


Policies = tuple[Authorization, ...] | None
"""None of a pod that the API does not know: it gets nothing, as from ztunnel, which does not know what for."""

PlainChoice = tuple[Matcher.OnMatch, tuple[str, ...]]
"""By which a filter chain is chosen for a plain connection, and the reasons for which there must be one that refuses.
Not there for a pod that the API does not know."""

_PASSING = "plaintext"
_OWN_PORTS = "(" + "|".join(map(str, PROXY_PORTS)) + ")"
_ANY_PORT = "[1-9][0-9]{0,4}"
_NAME_AND_PORT = rf"[^\[]*[A-Za-z][^\[]*:{_ANY_PORT}"
_RBAC = "envoy.filters.http.rbac"
_TUNNELLED_TO = "x-ambientlab-tunnelled-to"
"""What is asked for must be the address that the tunnel has come to. Routes know headers alone, so that the proxy says
it in one of its own, whatever a client says."""


def route_name(pod: Captured) -> str:
    return f"inbound|{pod.namespace}/{pod.name}"


def listener_names(pod: Captured) -> tuple[str, ...]:
    return tuple(f"{kind}|{pod.namespace}/{pod.name}" for kind in ("out", "inplain", "inhbone"))


def outbound_listener(pod: Captured, networks: tuple[tuple[str, str], ...]) -> dict[str, Listener]:
    """`networks` go another way than what is around them, each with the chain of that way. A change of them changes the
    matcher of the listener and no filter chain but that of a network alone: Envoy then keeps its socket and its
    connections (source/common/listener_manager, filterChainOnlyChange)."""
    listener = _outbound(pod, networks)
    return {listener.name: listener}


def hbone_listener(pod: Captured) -> dict[str, Listener]:
    listener = _inbound_hbone(pod)
    return {listener.name: listener}


def routes_keeper(pod: Captured) -> Listener:
    """Has the routes of `hbone_listener`, and no socket. With them that listener begins to listen, and if it cannot,
    because a program in the pod was faster, Envoy takes it away, the routes with it as nobody else has them, and goes
    on with what they were (source/common/listener_manager/listener_manager_impl.cc, onListenerWarmed): a segmentation
    fault, and the end of everybody's connections. They outlive it where another listener has them."""
    manager = HttpConnectionManager(stat_prefix="routes", rds=_routes(pod))
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=packed(Router()))
    chain = FilterChain()
    chain.filters.add(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    name = f"routes|{pod.namespace}/{pod.name}"
    return Listener(name=name, internal_listener=Listener.InternalListenerConfig(), filter_chains=[chain])


def plain_choice(policies: tuple[Authorization, ...]) -> PlainChoice:
    if not policies:
        choice = Matcher.OnMatch()
        _choose(choice, _PASSING)
        return choice, ()
    choice, reasons = _authorizations().of_plain_connections(policies, _PASSING)
    return choice, tuple(reasons)


def plaintext_listener(pod: Captured, choice: PlainChoice | None) -> dict[str, Listener]:
    """A connection is refused before anything is sent to the application, which might speak first: by a filter chain
    for each reason. A change of policies changes these chains alone, and the matcher; so connections stay as with
    `outbound_listener`."""
    listener = _inbound_plaintext(pod, choice)
    return {listener.name: listener}


def inbound_routes(
    name: str, services: Mapping[str, Sequence[tuple[int, str]]], policies: Policies = ()
) -> RouteConfiguration:
    """CONNECT to the pod's own addresses and nothing else: who holds a mesh certificate must not be able to reach into
    what the pod alone can reach (istio/ztunnel, src/proxy/inbound.rs, validate_destination). Apart from the listener,
    so that it can change under open connections.

    Ports are written in one way only, by which policies know them. ztunnel also takes names of services, which gateways
    between networks ask for: there is one network here, and no name is known.

    `services` pairs, for each of the pod's addresses, ports with the services that lead there, in order, for the log:
    of several the one that the client's side names, and else the first, a best guess as in ztunnel (src/proxy.rs,
    guess_inbound_service).
    """
    routes = RouteConfiguration(name=name)
    routes.validate_clusters.value = False
    host = routes.virtual_hosts.add(name=name, domains=["*"])
    if policies is None:
        host.routes.add(direct_response=DirectResponseAction(status=503)).match.connect_matcher.SetInParent()
        return routes
    if policies:
        host.typed_per_filter_config[_RBAC].CopyFrom(packed(_authorizations().of_tunnels(policies)))
    both = len(services) > 1
    for ip, ports in services.items():
        for port, pairs in groupby(ports, itemgetter(0)):
            if port in PROXY_PORTS:
                continue
            guess, *others = (service for _, service in pairs)
            for service in (*others, guess):
                route = _connect(_at(host.routes.add(), ip, both))
                route.match.headers.add(name=":authority").string_match.exact = with_port(ip, port)
                if service != guess:
                    route.match.headers.add(name=access_log.DESTINATION_SERVICE_HEADER).string_match.exact = service
                fields = {access_log.TARGET: access_log.service_field(service)}
                route.metadata.CopyFrom(metadata({ISTIO_METADATA: fields}))
        own = re.escape(f"[{ip}]" if is_ipv6(ip) else ip)
        refused = rf"{own}:{_OWN_PORTS}|{_NAME_AND_PORT}"
        _refuse(_at(host.routes.add(), ip, both), HTTPStatus.SERVICE_UNAVAILABLE, refused)
        authority = _connect(_at(host.routes.add(), ip, both)).match.headers.add(name=":authority").string_match
        authority.safe_regex.regex = f"{own}:{_ANY_PORT}"
    _refuse(host.routes.add(), HTTPStatus.BAD_REQUEST, "")
    _refuse(host.routes.add(), HTTPStatus.BAD_REQUEST, None)
    return routes


def _at(route: Route, ip: str, both: bool) -> Route:
    """For tunnels that have come to that address of the pod, where it has `both`."""
    if both:
        route.match.headers.add(name=_TUNNELLED_TO).string_match.exact = ip
    return route


def _refuse(route: Route, status: HTTPStatus, authority: str | None) -> None:
    """Whatever policies say: a CONNECT to what the expression `authority` fits ("": to anything), or, for None, what is
    no CONNECT."""
    route.direct_response.status = status
    route.typed_per_filter_config[_RBAC].type_url = f"{PREFIX}envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
    if authority is None:
        route.match.prefix = "/"
        return
    route.match.connect_matcher.SetInParent()
    if authority:
        route.match.headers.add(name=":authority").string_match.safe_regex.regex = authority


def _connect(route: Route) -> Route:
    route.match.connect_matcher.SetInParent()
    route.route.cluster = INBOUND
    route.route.timeout.SetInParent()
    upgrade = route.route.upgrade_configs.add(upgrade_type="CONNECT")
    upgrade.connect_config.SetInParent()
    return route


def _outbound(pod: Captured, networks: tuple[tuple[str, str], ...]) -> Listener:
    listener = Listener(
        name=listener_names(pod)[0],
        address=socket_address("127.0.0.1", OUTBOUND_PORT, pod.netns),
        additional_addresses=_in_ipv6(pod, "::1", OUTBOUND_PORT),
        listener_filters=[_original_dst()],
        socket_options=keepalive_options(),
        enable_reuse_port=ALONE,
        traffic_direction="OUTBOUND",
        filter_chain_matcher=_by_network(
            [
                *((network, TO_ADDRESS) for network in _NODE),
                *((network, TO_SERVICE) for network in SERVICE_NETWORKS),
                *networks,
                *((network, TO_WORKLOAD) for network in POD_NETWORKS),
                *((network, "self-call") for network in _LOOPBACK),
            ],
            otherwise=TO_ADDRESS,
            ipv6=bool(pod.ip6),
        ),
    )
    source = [_netns(pod), *source_state(pod)]
    to_endpoint, to_cluster, anywhere = (
        access_log.plain_outbound(pod.name, pod.namespace, destination)
        for destination in (access_log.BY_ENDPOINT, access_log.BY_CLUSTER, "")
    )
    target, asked = (
        filter_state(key, "%DOWNSTREAM_LOCAL_ADDRESS%", shared="ONCE", factory=STRING)
        for key in (access_log.SOURCE_TARGET, access_log.ASKED)
    )
    service = filter_state(TCP_CLUSTER, "vip|%DOWNSTREAM_LOCAL_ADDRESS%")
    workload = filter_state(TCP_CLUSTER, "ip|%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%")
    listener.filter_chains.extend(
        [
            _tcp_chain(TO_SERVICE, [*source, target, service], BLACKHOLE, to_endpoint),
            _tcp_chain(TO_WORKLOAD, [*source, workload, asked], BLACKHOLE, to_cluster),
            _tcp_chain(TO_ADDRESS, [_netns(pod)], PASSTHROUGH, anywhere),
            *(
                _tcp_chain(
                    chain,
                    [*source, target, filter_state(TCP_CLUSTER, f"{chain}%DOWNSTREAM_LOCAL_PORT%")],
                    BLACKHOLE,
                    to_endpoint,
                )
                for chain in sorted({chain for _, chain in networks if chain.startswith(TO_NETWORK)})
            ),
            _self_call("outbound"),
        ]
    )
    return listener


def _inbound_plaintext(pod: Captured, choice: PlainChoice | None) -> Listener:
    passing = _tcp_chain(_PASSING, [_netns(pod)], PASSTHROUGH, access_log.plain_inbound(pod.name, pod.namespace))
    self_call = _self_call("inbound")
    own_port = Matcher()
    tree = own_port.matcher_tree
    tree.input.CopyFrom(TypedExtensionConfig(name="destination-port", typed_config=packed(DestinationPortInput())))
    for port in PROXY_PORTS:
        _choose(tree.exact_match_map.map[str(port)], self_call.name)
    if choice is None:
        unknown = access_log.no_workload(pod.identity, pod.name)
        refusing = [_closed("no-workload", "inbound", unknown)]
        _choose(own_port.on_no_match, refusing[0].name)
    else:
        own_port.on_no_match.CopyFrom(choice[0])
        refusing = [
            _tcp_chain(reason, [], BLACKHOLE, access_log.plain_refused(pod.name, pod.namespace, reason))
            for reason in choice[1]
        ]
    return Listener(
        name=listener_names(pod)[1],
        address=socket_address("0.0.0.0", INBOUND_PLAINTEXT_PORT, pod.netns),
        additional_addresses=_in_ipv6(pod, "::", INBOUND_PLAINTEXT_PORT),
        listener_filters=[_original_dst(), _original_src()],
        socket_options=keepalive_options(),
        enable_reuse_port=ALONE,
        traffic_direction="INBOUND",
        filter_chain_matcher=own_port,
        filter_chains=[passing, self_call, *refusing],
    )


def _routes(pod: Captured) -> Rds:
    return Rds(route_config_name=route_name(pod), config_source=ads())


def _inbound_hbone(pod: Captured) -> Listener:
    """Clients of the pod's own trust domain are taken and no others, whatever aliases it has (ztunnel,
    src/tls/workload.rs, TrustDomainVerifier)."""
    manager = HttpConnectionManager(
        stat_prefix="inbound_hbone",
        codec_type="HTTP2",
        access_log=access_log.tunnelled_inbound(pod.name, pod.namespace, pod.identity),
    )
    manager.access_log_options.access_log_flush_interval.FromMilliseconds(access_log.REPORT_EVERY_MS)
    terminate_tunnels(manager.http2_protocol_options)
    manager.stream_idle_timeout.SetInParent()
    manager.generate_request_id.value = False
    manager.upgrade_configs.add(upgrade_type="CONNECT")
    if pod.ip6:
        manager.early_header_mutation_extensions.append(_tell_address())
    manager.rds.CopyFrom(_routes(pod))
    # Envoy answers 403 and a text to what its policies refuse, ztunnel 401 alone (src/proxy/inbound.rs)
    refused = manager.local_reply_config.mappers.add()
    refused.filter.CopyFrom(access_log.status(HTTPStatus.FORBIDDEN))
    refused.status_code.value = access_log.REFUSED_STATUS
    refused.body.inline_string = ""
    # without a message, which is loaded where there are policies: it lets pass what no route's own forbids
    manager.http_filters.add(name=_RBAC).typed_config.type_url = f"{PREFIX}envoy.extensions.filters.http.rbac.v3.RBAC"
    state = HttpSetFilterState(on_request_headers=[_netns(pod)])
    manager.http_filters.add(name="envoy.filters.http.set_filter_state", typed_config=packed(state))
    router = Router(suppress_envoy_headers=True)
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=packed(router))
    chain = FilterChain(name="hbone", transport_socket=server_tls(pod.identity, (trust_domain_of(pod.identity),)))
    chain.filters.add(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    return Listener(
        name=listener_names(pod)[2],
        address=socket_address("0.0.0.0", HBONE_PORT, pod.netns),
        additional_addresses=_in_ipv6(pod, "::", HBONE_PORT),
        listener_filters=[_original_src()],
        socket_options=keepalive_options(),
        enable_reuse_port=ALONE,
        traffic_direction="INBOUND",
        filter_chains=[chain],
        access_log=access_log.refused_inbound(),
    )


def _tell_address() -> Any:
    mutations: Any = import_module("envoy.config.common.mutation_rules.v3.mutation_rules_pb2")
    early: Any = import_module("envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2")
    mutation = mutations.HeaderMutation()
    mutation.append.header.key = _TUNNELLED_TO
    mutation.append.header.value = "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"
    mutation.append.append_action = mutation.append.OVERWRITE_IF_EXISTS_OR_ADD
    return extension("envoy.http.early_header_mutation.header_mutation", early.HeaderMutation(mutations=[mutation]))


def _authorizations() -> Any:
    """Loaded with the first policy: its messages take milliseconds, which `up` has none of."""
    return import_module("ambientlab.mesh.xds.authorizations")


def _self_call(direction: str) -> FilterChain:
    """For connections to the proxy's own ports."""
    return _closed("self-call", direction, SELF_CALL)


def _closed(name: str, direction: str, error: str) -> FilterChain:
    return _tcp_chain(name, [], BLACKHOLE, access_log.closed(direction, error))


def _netns(pod: Captured) -> FilterStateValue:
    """Upstream connections are made as if from inside the pod.

    The one hashable value that connections upstream share: Envoy's pools are keyed by all of them, in an order that is
    not always the same, so that two would give one destination two pools. A pod has one identity, so its namespace says
    enough.
    """
    return filter_state(NETNS, pod.netns, shared="TRANSITIVE", factory=HASHABLE)


def _original_dst() -> ListenerFilter:
    return ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=packed(OriginalDst()))


def _original_src() -> ListenerFilter:
    """The application sees its client's address; the mark lets its answers come back to the proxy."""
    return ListenerFilter(name="envoy.filters.listener.original_src", typed_config=packed(OriginalSrc(mark=PROXY_MARK)))


def _tcp_chain(name: str, state: Sequence[FilterStateValue], cluster: str, logs: Sequence[AccessLog]) -> FilterChain:
    """`cluster` is for connections whose filter state names none."""
    proxy = TcpProxy(stat_prefix=name, cluster=cluster, access_log=logs)
    proxy.access_log_options.access_log_flush_interval.FromMilliseconds(access_log.REPORT_EVERY_MS)
    proxy.idle_timeout.SetInParent()  # connections may be silent for as long as they like
    return FilterChain(
        name=name,
        filters=[
            Filter(
                name="envoy.filters.network.set_filter_state",
                typed_config=packed(SetFilterState(on_new_connection=state)),
            ),
            Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy)),
        ],
    )


def _in_ipv6(pod: Captured, address: str, port: int) -> list[AdditionalAddress]:
    """The same port for the other family: a socket of its own, so that addresses of one are never written as the
    other's."""
    if not pod.ip6:
        return []
    return [AdditionalAddress(address=socket_address(address, port, pod.netns))]


def _by_network(networks: Sequence[tuple[str, str]], *, otherwise: str, ipv6: bool) -> Matcher:
    """The filter chain of the most specific network that holds the destination."""
    matcher = Matcher()
    tree = matcher.matcher_tree
    tree.input.CopyFrom(TypedExtensionConfig(name="destination-ip", typed_config=packed(DestinationIPInput())))
    addresses = IPMatcher()
    here = [(network, chain) for network, chain in networks if ipv6 or not is_ipv6(network.partition("/")[0])]
    for chain, pairs in groupby(here, itemgetter(1)):
        entry = addresses.range_matchers.add()
        for network, _ in pairs:
            prefix, _, length = network.partition("/")
            entry.ranges.add(address_prefix=prefix).prefix_len.value = int(length)
        _choose(entry.on_match, chain)
    tree.custom_match.CopyFrom(TypedExtensionConfig(name="ip", typed_config=packed(addresses)))
    _choose(matcher.on_no_match, otherwise)
    return matcher


def _choose(on_match: Matcher.OnMatch, chain: str) -> None:
    on_match.action.name = chain
    on_match.action.typed_config.CopyFrom(packed(StringValue(value=chain)))
