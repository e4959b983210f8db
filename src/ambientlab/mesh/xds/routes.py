"""RouteTables as Envoy route configurations (what pilot/pkg/networking/core/route/route.go makes of the two APIs)."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderValueOption, RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, RouteAction, VirtualHost
from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.config.route.v3.route_components_pb2 import RouteMatch as EnvoyMatch
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors, CorsPolicy
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.message import Message

from ambientlab.mesh import ir
from ambientlab.mesh.xds.messages import duration, packed

CORS = "envoy.filters.http.cors"
FAULT = "envoy.filters.http.fault"

_FILTERS: Mapping[str, Message] = MappingProxyType({FAULT: HTTPFault(), CORS: Cors()})
"""Those that a route tells what to do, in Istio's order (buildWaypointHTTPFilters)."""

ANY = "*"

ClusterName = Callable[[ir.Destination], str]
HashedBy = Callable[[ir.Destination], ir.HashKey | None]

_REDIRECT_CODES = {301: 0, 302: 1, 303: 2, 307: 3, 308: 4}


def table_routes(
    name: str,
    table: ir.RouteTable,
    cluster_name: ClusterName,
    hashed_by: HashedBy = lambda _: None,
    authorities: str = ANY,
) -> RouteConfiguration:
    config, host = _config(name, table.port, authorities)
    host.routes.extend(_route(route, table.port, cluster_name, hashed_by) for route in table.routes)
    return config


def default_routes(
    name: str, host: str, port: int, hashed_by: ir.HashKey | None, authorities: str = ANY
) -> RouteConfiguration:
    """All requests to the service itself: `name` is its cluster's (BuildDefaultHTTPOutboundRoute)."""
    config, virtual_host = _config(name, port, authorities)
    route = virtual_host.routes.add(name="default")
    route.match.prefix = "/"
    route.decorator.operation = f"{host}:{port}/*"
    route.route.cluster = name
    _time_out(route.route, 0)
    _retry(route.route, None)
    if hashed_by is not None:
        _hash_policy(route.route.hash_policy.add(), hashed_by)
    return config


def filters(table: ir.RouteTable) -> frozenset[str]:
    """The names of the filters that the table's routes need: each costs every request, with nothing to do too."""
    needed = {FAULT: any(route.fault for route in table.routes), CORS: any(route.cors for route in table.routes)}
    return frozenset(name for name, is_needed in needed.items() if is_needed)


def counted(table: ir.RouteTable) -> bool:
    """Whether any of the table's routes has statistics of its own."""
    return any(route.stat_prefix for route in table.routes)


def filter_configs(names: frozenset[str]) -> Iterator[tuple[str, Message]]:
    yield from ((name, message) for name, message in _FILTERS.items() if name in names)


def _config(name: str, port: int, authorities: str) -> tuple[RouteConfiguration, VirtualHost]:
    config = RouteConfiguration(name=name)
    config.validate_clusters.value = False
    return config, config.virtual_hosts.add(name=f"inbound|http|{port}", domains=[authorities])


def _route(route: ir.Route, port: int, cluster_name: ClusterName, hashed_by: HashedBy) -> EnvoyRoute:
    result = EnvoyRoute(name=route.name, match=_match(route.match), stat_prefix=route.stat_prefix)
    kind, key = route.origin
    result.decorator.operation = f"{key.name}:{port}/*"
    result.metadata.filter_metadata["istio"].update({"config": f"{kind} {key}"})
    _change_headers(result, route)
    match route.action:
        case ir.Forward() as action:
            _forward(result, route.match, action, cluster_name)
            _hash(result.route, action, hashed_by)
        case ir.Redirect() as action:
            _redirect(result, action)
        case ir.DirectResponse() as action:
            result.direct_response.status = action.status
            if action.encoded:
                result.direct_response.body.inline_bytes = b64decode(action.encoded)
            elif action.body:
                result.direct_response.body.inline_string = action.body
    if route.fault is not None:
        result.typed_per_filter_config[FAULT].CopyFrom(packed(_fault(route.fault)))
    if route.cors is not None:
        result.typed_per_filter_config[CORS].CopyFrom(packed(_cors(route.cors)))
    return result


def _match(match: ir.Match) -> EnvoyMatch:
    result = EnvoyMatch()
    path = match.path or ir.StringMatch("prefix", "/")
    if path.ignore_case:
        result.case_sensitive.value = False
    match path.kind:
        case "exact":
            result.path = path.value
        case "regex":
            result.safe_regex.regex = path.value
        case "path-prefix" if path.value != "/":
            result.path_separated_prefix = path.value
        case _:
            result.prefix = path.value or "/"
    for name, wanted in match.headers:
        _header(result.headers.add(name=name), wanted)
    for name, unwanted in match.without_headers:
        header = result.headers.add(name=name, invert_match=True)
        _header(header, unwanted)
        header.treat_missing_header_as_empty = unwanted.kind != "present"
    for name, value in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if value is not None:
            _header(result.headers.add(name=name), value)
    for name, wanted in match.query:
        parameter = result.query_parameters.add(name=name)
        if wanted.kind == "present":
            parameter.present_match = True
        else:
            _string(parameter.string_match, wanted)
    return result


def _header(matcher: HeaderMatcher, wanted: ir.StringMatch) -> None:
    if wanted.kind == "present":
        matcher.present_match = True
    else:
        _string(matcher.string_match, wanted)


def _string(matcher: StringMatcher, wanted: ir.StringMatch) -> None:
    if wanted.kind == "regex":
        matcher.safe_regex.regex = wanted.value
    elif wanted.kind == "exact":
        matcher.exact = wanted.value
    elif wanted.value:
        matcher.prefix = wanted.value
    else:
        # an empty prefix matches anything, which Envoy does not let one write
        matcher.safe_regex.regex = ".*"
    if wanted.ignore_case and wanted.kind != "regex":
        matcher.ignore_case = True


def _forward(route: EnvoyRoute, match: ir.Match, action: ir.Forward, cluster_name: ClusterName) -> None:
    result = route.route
    result.cluster_not_found_response_code = (
        RouteAction.INTERNAL_SERVER_ERROR if action.not_found_status == 500 else RouteAction.SERVICE_UNAVAILABLE
    )
    if len(action.destinations) == 1:
        only = action.destinations[0]
        result.cluster = cluster_name(only.destination)
        if only.authority:
            result.host_rewrite_literal = only.authority
        _change_headers(route, only)
    else:
        for item in action.destinations:
            share = result.weighted_clusters.clusters.add(name=cluster_name(item.destination))
            share.weight.value = item.weight
            if item.authority:
                share.host_rewrite_literal = item.authority
            _change_headers(share, item)
    _time_out(result, action.timeout_ms)
    _retry(result, action.retries)
    if action.rewrite is not None:
        _rewrite(result, match, action.rewrite)
    for mirror in action.mirrors:
        policy_ = result.request_mirror_policies.add(cluster=cluster_name(mirror.destination))
        policy_.runtime_fraction.CopyFrom(RuntimeFractionalPercent(default_value=percent(mirror.parts_per_million)))


def _time_out(result: RouteAction, milliseconds: int) -> None:
    """What a gRPC client asks for holds within that (setTimeout, which keeps to the older of Envoy's two fields)."""
    result.timeout.CopyFrom(duration(milliseconds))
    result.max_grpc_timeout.CopyFrom(duration(milliseconds))


def _hash(result: RouteAction, action: ir.Forward, hashed_by: HashedBy) -> None:
    """All destinations of a route share their keys. A retry of what one endpoint alone should get may go there again,
    unless the route itself says otherwise (applyHTTPRouteDestination, ConvertPolicy)."""
    alone = len(action.destinations) == 1
    for item in action.destinations:
        if (alone or item.weight) and (key := hashed_by(item.destination)) is not None:
            _hash_policy(result.hash_policy.add(), key)
            if alone and (action.retries is None or action.retries.same_hosts is None):
                del result.retry_policy.retry_host_predicate[:]


def _hash_policy(policy: RouteAction.HashPolicy, key: ir.HashKey) -> None:
    """ConsistentHashToHashPolicy."""
    match key.kind:
        case "header":
            policy.header.header_name = key.name
        case "query":
            policy.query_parameter.name = key.name
        case "source-ip":
            policy.connection_properties.source_ip = True
        case "cookie":
            policy.cookie.name, policy.cookie.path = key.name, key.path
            if key.lifetime is not None:
                policy.cookie.ttl.CopyFrom(duration(key.lifetime))
            for name, value in key.attributes:
                policy.cookie.attributes.add(name=name, value=value)


def _rewrite(result: RouteAction, match: ir.Match, rewrite: ir.Rewrite) -> None:
    if rewrite.authority:
        result.host_rewrite_literal = rewrite.authority
    if rewrite.full_path is not None:
        result.regex_rewrite.pattern.regex = "/.*"
        result.regex_rewrite.substitution = rewrite.full_path
    elif rewrite.regex is not None:
        result.regex_rewrite.pattern.regex, result.regex_rewrite.substitution = rewrite.regex
    elif rewrite.prefix == "/" and match.path is not None and match.path.kind == "path-prefix":
        # taking the prefix away must leave one slash, neither none nor two
        prefix = "" if match.path.value == "/" else re.escape(match.path.value)
        result.regex_rewrite.pattern.regex = f"^{prefix}(/?)(.*)"
        result.regex_rewrite.substitution = r"/\2"
    elif rewrite.prefix is not None:
        result.prefix_rewrite = rewrite.prefix


def _redirect(result: EnvoyRoute, action: ir.Redirect) -> None:
    redirect = result.redirect
    redirect.response_code = _REDIRECT_CODES[action.status]
    redirect.host_redirect = action.host
    redirect.port_redirect = action.port
    if action.scheme:
        redirect.scheme_redirect = action.scheme
    if action.full_path is not None:
        redirect.path_redirect = action.full_path
    elif action.prefix is not None:
        redirect.prefix_rewrite = action.prefix


def _retry(action: RouteAction, policy: ir.RetryPolicy | None) -> None:
    """The mesh's default unless the route says otherwise."""
    if policy is not None and policy.attempts <= 0:
        return
    result = action.retry_policy
    result.retry_on, result.host_selection_retry_max_attempts = ir.DEFAULT_RETRIES.retry_on, 5
    result.num_retries.value = ir.DEFAULT_RETRIES.attempts
    result.retry_host_predicate.add(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=packed(PreviousHostsPredicate())
    )
    if policy is None:
        return
    result.num_retries.value = policy.attempts
    if policy.retry_on or policy.status_codes:
        words = [word for word in policy.retry_on.split(",") if word]
        if policy.status_codes and "retriable-status-codes" not in words:
            words.append("retriable-status-codes")
        result.retry_on = ",".join(words)
        result.retriable_status_codes.extend(policy.status_codes)
    if policy.per_try_timeout_ms:
        result.per_try_timeout.CopyFrom(duration(policy.per_try_timeout_ms))
    if policy.same_hosts:
        del result.retry_host_predicate[:]
    if policy.other_localities:
        result.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        result.retry_priority.typed_config.CopyFrom(packed(PreviousPrioritiesConfig(update_frequency=2)))
    if policy.backoff_ms:
        result.retry_back_off.base_interval.CopyFrom(duration(policy.backoff_ms))


def _fault(fault: ir.Fault) -> HTTPFault:
    result = HTTPFault()
    if fault.delay is not None and fault.delay.milliseconds:
        result.delay.fixed_delay.CopyFrom(duration(fault.delay.milliseconds))
        result.delay.percentage.CopyFrom(percent(fault.delay.parts_per_million))
    if fault.abort is not None:
        if fault.abort.grpc_status is not None:
            result.abort.grpc_status = fault.abort.grpc_status
        else:
            result.abort.http_status = fault.abort.http_status
        result.abort.percentage.CopyFrom(percent(fault.abort.parts_per_million))
    return result


def _cors(cors: ir.Cors) -> CorsPolicy:
    result = CorsPolicy(
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.exposed_headers),
        max_age="" if cors.max_age_s is None else str(cors.max_age_s),
    )
    for origin in cors.origins:
        _string(result.allow_origin_string_match.add(), origin)
    if cors.credentials:
        result.allow_credentials.value = True
    result.forward_not_matching_preflights.value = cors.forward_unmatched
    return result


def _change_headers(target: Any, source: ir.Route | ir.WeightedDestination) -> None:
    """`target` is an Envoy route or one share of it: both have the same four fields."""
    _add_headers(target.request_headers_to_add, source.request_headers)
    _add_headers(target.response_headers_to_add, source.response_headers)
    target.request_headers_to_remove.extend(source.request_headers.remove)
    target.response_headers_to_remove.extend(source.response_headers.remove)


def _add_headers(target: Any, change: ir.HeaderChange) -> None:
    options: Sequence[tuple[Sequence[tuple[str, str]], int]] = (
        (change.set, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        (change.add, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
    )
    for headers, action in options:
        for name, value in headers:
            option = target.add(append_action=action)
            option.header.key, option.header.value = name, value


def percent(parts_per_million: int) -> FractionalPercent:
    return FractionalPercent(numerator=parts_per_million, denominator=FractionalPercent.MILLION)
