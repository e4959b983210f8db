"""VirtualServices (ValidateVirtualService and virtualservice.go)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio import common
from ambientlab.api.validation.istio.common import Messages

_RETRY_ON = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
_STATUS_CODES = frozenset(status.value for status in HTTPStatus)
_GRPC_STATUS = frozenset(
    {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    }
)
_CORS_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"})
_HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile("[^\x00-\x08\x0a-\x1f\x7f]*")
_PSEUDO_HEADERS = frozenset({":method", ":path", ":scheme", ":authority"})
_JWT_CLAIM = re.compile(r"(?i)@request\.auth\.claims[.\[].+")
_MESH = "mesh"


def validate(spec: Object, namespace: str) -> Messages:
    hosts: list[str] = spec.get("hosts") or []
    gateways: list[str] = spec.get("gateways") or []
    http, tls, tcp = spec.get("http") or [], spec.get("tls") or [], spec.get("tcp") or []
    problems: Messages = []
    if not hosts:
        problems += [
            f"delegate virtual service must have no {what} specified"
            for what, given in (("gateways", gateways), ("tls route", tls), ("tcp route", tcp))
            if given
        ]
    problems += gateway_names(gateways)
    in_mesh = not gateways or _MESH in gateways
    problems += _hosts(hosts, in_mesh)
    if not http and not tls and not tcp:
        problems.append("http, tcp or tls must be provided in virtual service")
    for route in http:
        problems += _http_route(route, delegate=not hosts)
    for route in tls:
        problems += _tls_route(route, hosts)
    for route in tcp:
        problems += _tcp_route(route)
    return problems + common.export_to(spec.get("exportTo") or (), namespace)


def _hosts(hosts: list[str], in_mesh: bool) -> Messages:
    problems: Messages = []
    for host in hosts:
        wrong = common.wildcard_domain(host)
        if wrong and not common.is_address(host):
            problems += wrong
        elif not wrong and in_mesh and host == "*":
            problems.append("wildcard host * is not allowed for virtual services bound to the mesh gateway")
    if problems:
        return problems
    return [
        f"duplicate hosts in virtual service: {one} & {other}"
        for index, one in enumerate(hosts)
        for other in hosts[index + 1 :]
        if _overlap(one, other)
    ]


def _overlap(one: str, other: str) -> bool:
    """host.Name.Matches: equal, or one wildcard covers the other."""
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    return one.endswith(other[1:]) if other.startswith("*") else one == other


def gateway_names(names: Iterable[str]) -> Messages:
    problems: Messages = []
    for name in names:
        namespace, slash, local = name.partition("/")
        if not slash:
            return problems + common.fqdn(name)
        if not namespace or not local:
            problems.append("config namespace and gateway name cannot be empty")
        if not common.is_label(namespace):
            problems.append(f"invalid value for namespace: {quote(namespace)}")
        if not common.is_label(local):
            problems.append(f"invalid value for gateway name: {quote(local)}")
    return problems


def _http_route(route: Object, *, delegate: bool) -> Messages:
    problems = _conflicts(route, delegate)
    for match in route.get("match") or ():
        problems += _http_match(match)
    problems += _header_operations(route.get("headers") or {})
    problems += _cors(route.get("corsPolicy") or {})
    problems += _fault(route.get("fault"))
    problems += _mirrors(route)
    problems += _redirect(route.get("redirect"), route.get("match") or [])
    if (direct := route.get("directResponse")) is not None:
        problems += _http_status(direct.get("status", 0))
    problems += _retries(route.get("retries") or {})
    problems += _rewrite(route.get("rewrite"))
    problems += _one_authority(route)
    problems += _destinations(route.get("route") or [])
    return problems + common.durations(route, "timeout")


def _conflicts(route: Object, delegate: bool) -> Messages:
    has = {name for name in ("redirect", "fault", "rewrite", "directResponse", "delegate") if name in route}
    backends = bool(route.get("route"))
    name = route.get("name", "")
    if "delegate" in has and not delegate:
        wrong = [what for what, there in (("redirect", "redirect" in has), ("route", "route" in route)) if there]
        return [f"root HTTP route {name} must not specify {what}" for what in wrong]
    problems = ["delegate HTTP route cannot contain delegate"] if "delegate" in has else []
    if "redirect" in has:
        if backends:
            problems.append("HTTP route cannot contain both route and redirect")
        if "fault" in has:
            problems.append("HTTP route cannot contain both fault and redirect")
        if "rewrite" in has:
            problems.append("HTTP route rule cannot contain both rewrite and redirect")
        if "directResponse" in has:
            problems.append("HTTP route rule cannot contain both direct_response and redirect")
    elif "directResponse" in has:
        if backends:
            problems.append("HTTP route cannot contain both route and direct_response")
        if "fault" in has:
            problems.append("HTTP route cannot contain both fault and direct_response")
        if "rewrite" in has:
            problems.append("HTTP route rule cannot contain both rewrite and direct_response")
    elif not backends:
        problems.append("HTTP route, redirect or direct_response is required")
    if "mirror" in route and route.get("mirrors"):
        problems.append("HTTP route cannot contain both mirror and mirrors")
    return problems


def _http_match(match: Object) -> Messages:
    problems: Messages = []
    for field in ("headers", "withoutHeaders"):
        for name, header in (match.get(field) or {}).items():
            problems += _header_match_name(name)
            if field == "headers" or header.get("regex") != "*":
                problems += _string_match(header, field)
    problems += _string_match(match.get("uri"), "uri", empty_prefix=True)
    for field in ("scheme", "method", "authority"):
        problems += _string_match(match.get(field), field)
    for parameter in (match.get("queryParams") or {}).values():
        problems += _string_match(parameter, "queryParams")
    if match.get("port"):
        problems += common.port(match["port"])
    problems += common.labels(match.get("sourceLabels"))
    problems += gateway_names(match.get("gateways") or ())
    source = match.get("sourceNamespace")
    if source and not common.is_label(source):
        problems.append(f"sourceNamespace match {source} is invalid")
    return problems


def _header_match_name(name: str) -> Messages:
    if not name:
        return ["header name cannot be empty"]
    if _JWT_CLAIM.fullmatch(name) or name in _PSEUDO_HEADERS or _HEADER_NAME.fullmatch(name):
        return []
    return [f"header name {name} is not a valid header name"]


def _string_match(match: Mapping[str, Any] | None, where: str, *, empty_prefix: bool = False) -> Messages:
    if not match:
        return []
    if match.get("prefix") == "" and not empty_prefix:
        return [f"{quote(where)}: prefix string match should not be empty"]
    if "regex" not in match:
        return []
    if not match["regex"]:
        return [f"{quote(where)}: regex string match should not be empty"]
    return common.expression(match["regex"], where)


def _is_authority(name: str) -> bool:
    return name.lower() in (":authority", "host")


def _header_operations(headers: Object) -> Messages:
    problems: Messages = []
    for side in ("request", "response"):
        operations = headers.get(side) or {}
        for field in ("add", "set"):
            for name, value in (operations.get(field) or {}).items():
                problems += _header_name(name, authority=side == "request")
                if not _HEADER_VALUE.fullmatch(value):
                    problems.append(f"header value configuration {value} is invalid")
        for name in operations.get("remove") or ():
            problems += _header_name(name, authority=False)
    return problems


def _header_name(name: str, *, authority: bool) -> Messages:
    if not name:
        return ["header name cannot be empty"]
    if authority and _is_authority(name):
        return []
    if name.lower() == "host":
        return [f"invalid header {quote(name)}: cannot set Host header"]
    return [f'invalid header {quote(name)}: header cannot have ":" prefix'] if name.startswith(":") else []


def _cors(policy: Object) -> Messages:
    problems: Messages = []
    for origin in policy.get("allowOrigins") or ():
        if not any(origin.get(field) for field in ("exact", "prefix", "regex")):
            problems.append("'' is not a valid match type for CORS allow origins")
        elif origin.get("regex"):
            problems += common.expression(origin["regex"], "corsPolicy.allowOrigins")
    problems += [
        f"{quote(method)} is not a supported HTTP method"
        for method in policy.get("allowMethods") or ()
        if method not in _CORS_METHODS
    ]
    for name in [*(policy.get("allowHeaders") or ()), *(policy.get("exposeHeaders") or ())]:
        if not name:
            problems.append("header name cannot be empty")
        elif name != "*" and not _HEADER_NAME.fullmatch(name):
            problems.append(f"header name {name} is not a valid header name")
    if "maxAge" in policy:
        problems += common.duration(policy["maxAge"])
        if (common.seconds(policy["maxAge"]) or 0) % 1:
            problems.append("max_age duration is accurate only to seconds precision")
    return problems


def _fault(fault: Object | None) -> Messages:
    if fault is None:
        return []
    problems: Messages = []
    abort, delay = fault.get("abort"), fault.get("delay")
    if abort is None and delay is None:
        problems.append("HTTP fault injection must have an abort and/or a delay")
    if abort is not None:
        problems += _percentage(abort.get("percentage"))
        if "grpcStatus" in abort and abort["grpcStatus"] not in _GRPC_STATUS:
            problems.append(
                f"gRPC status {quote(abort['grpcStatus'])} is not supported. See "
                "https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for a list of supported codes, for "
                "example 'NOT_FOUND'"
            )
        if "http2Error" in abort:
            problems.append("HTTP/2 abort fault injection not supported yet")
        if "httpStatus" in abort:
            problems += _http_status(abort["httpStatus"])
    if delay is not None:
        problems += _percentage(delay.get("percentage"))
        problems += common.durations(delay, "fixedDelay", "exponentialDelay")
        if "exponentialDelay" in delay:
            problems.append("exponentialDelay not supported yet")
    return problems


def _percentage(percentage: Object | None) -> Messages:
    value = (percentage or {}).get("value", 0)
    if value < 0 or value > 100 or 0 < value < 0.0001:
        return [f"percentage {value:g} is neither 0.0, nor in range [0.0001, 100.0]"]
    return []


def _http_status(status: int) -> Messages:
    """Istio lets 600 through, whatever its text says."""
    return [] if 200 <= status <= 600 else [f"HTTP status {status} is not in range 200-599"]


def _mirrors(route: Object) -> Messages:
    problems: Messages = []
    for name in ("mirrorPercent", "mirror_percent"):
        if (route.get(name) or 0) > 100:
            problems.append(f"mirror_percent must have a max value of 100 (it has {route[name]})")
    problems += _mirror_share("mirror_percentage", route.get("mirrorPercentage"))
    if "mirror" in route:
        problems += destination(route["mirror"])
    for mirror in route.get("mirrors") or ():
        problems += destination(mirror["destination"]) + _mirror_share("mirror percentage", mirror.get("percentage"))
    return problems


def _mirror_share(name: str, percentage: Object | None) -> Messages:
    value = (percentage or {}).get("value", 0)
    if value > 100:
        return [f"{name} must have a max value of 100 (it has {value:f})"]
    return [f"{name} must have a min value of 0 (it has {value:f})"] if value < 0 else []


def _redirect(redirect: Object | None, matches: list[Object]) -> Messages:
    if redirect is None:
        return []
    if redirect.get("uri") and redirect.get("prefixRewrite"):
        return ["redirect may only specify one of uri or prefix_rewrite"]
    if redirect.get("prefixRewrite") and any("uri" in one and "prefix" not in one["uri"] for one in matches):
        return ["redirect prefix_rewrite requires all URI matches to use prefix match type"]
    named = any(redirect.get(field) for field in ("uri", "prefixRewrite", "authority", "scheme"))
    if not named and "port" not in redirect and "derivePort" not in redirect:
        return ["redirect must specify URI, authority, scheme, or port"]
    if (code := redirect.get("redirectCode")) and not 300 <= code <= 399:
        return [f"{code} is not a valid redirect code, must be 3xx"]
    if redirect.get("scheme") and redirect["scheme"] not in ("http", "https"):
        return ['invalid redirect scheme, must be "http" or "https"']
    return common.port(redirect["port"]) if redirect.get("port") else []


def _retries(retries: Object) -> Messages:
    problems: Messages = []
    attempts = retries.get("attempts", 0)
    if attempts < 0:
        problems.append("attempts cannot be negative")
    asked = "perTryTimeout" in retries or retries.get("retryOn") or retries.get("retryRemoteLocalities") is not None
    if attempts == 0 and asked:
        problems.append("http retry policy configured when attempts are set to 0 (disabled)")
    problems += common.durations(retries, "perTryTimeout")
    for policy in (retries.get("retryOn") or "").split(",") if retries.get("retryOn") else ():
        code = int(policy) if policy.isascii() and policy.isdigit() and len(policy) < 5 else 0
        if code not in _STATUS_CODES and policy not in _RETRY_ON:
            problems.append(f"{quote(policy)} is not a valid retryOn policy")
    return problems + common.durations(retries, "backoff")


def _rewrite(rewrite: Object | None) -> Messages:
    if rewrite is None:
        return []
    by_expression = rewrite.get("uriRegexRewrite")
    if rewrite.get("uri") and by_expression is not None:
        return ["rewrite may only contain one of URI or UriRegexRewrite"]
    if not rewrite.get("uri") and by_expression is None and not rewrite.get("authority"):
        return [
            "rewrite must specify at least one of URI, UriRegexRewrite, or authority. Only one of URI or "
            "UriRegexRewrite may be specified"
        ]
    if by_expression is None:
        return []
    if not by_expression.get("match") or not by_expression.get("rewrite"):
        wrong = ["UriRegexRewrite requires both Rewrite and Match fields to be specified"]
    else:
        wrong = common.expression(by_expression["match"], "HTTPRewrite.UriRegexRewrite.Match")
    return [f"UriRegexRewrite has errors\n{one}" for one in wrong]


def _one_authority(route: Object) -> Messages:
    current = (route.get("rewrite") or {}).get("authority") or ""
    request = (route.get("headers") or {}).get("request") or {}
    for field in ("set", "add"):
        for name, value in (request.get(field) or {}).items():
            if _is_authority(name) and current:
                return [
                    f"authority header cannot be set multiple times: have {quote(current)}, attempting to set "
                    f"{quote(value)}"
                ]
            current = value if _is_authority(name) else current
    return []


def _destinations(backends: list[Object]) -> Messages:
    problems: Messages = []
    for backend in backends:
        problems += _header_operations(backend.get("headers") or {})
        problems += destination(backend["destination"])
        if (weight := backend.get("weight", 0)) < 0:
            problems.append(f"weight {weight} < 0")
    if len(backends) > 1 and sum(backend.get("weight", 0) for backend in backends) == 0:
        problems.append("total destination weight = 0")
    return problems


def destination(value: Object) -> Messages:
    host = value.get("host", "")
    problems = [f"invalid destination host {host}"] if host == "*" else common.wildcard_domain(host)
    if value.get("subset"):
        problems += common.subset_name(value["subset"])
    if "port" in value:
        problems += common.port(value["port"].get("number", 0))
    return problems


def _l4_match(match: Object) -> Messages:
    problems: Messages = []
    for subnet in match.get("destinationSubnets") or ():
        try:
            ipaddress.ip_interface(subnet)
        except ValueError:
            what = "CIDR block" if "/" in subnet else "IP"
            problems.append(f"{subnet} is not a valid {what}")
    if match.get("port"):
        problems += common.port(match["port"])
    return problems + common.labels(match.get("sourceLabels")) + gateway_names(match.get("gateways") or ())


def _tls_route(route: Object, hosts: list[str]) -> Messages:
    problems: Messages = []
    if not route.get("match"):
        problems.append("TLS route must have at least one match condition")
    for match in route.get("match") or ():
        if not match.get("sniHosts"):
            problems.append("TLS match must have at least one SNI host")
        for name in match.get("sniHosts") or ():
            problems += common.wildcard_domain(name) or _sni_within(name, hosts)
        problems += _l4_match(match)
    if not route.get("route"):
        problems.append("TLS route is required")
    return problems + _destinations(route.get("route") or [])


def _sni_within(name: str, hosts: list[str]) -> Messages:
    if any(name == host or (host.startswith("*") and name.endswith(host[1:])) for host in hosts):
        return []
    listed = ", ".join(hosts)
    return [f"SNI host {quote(name)} is not a compatible subset of any of the virtual service hosts: [{listed}]"]


def _tcp_route(route: Object) -> Messages:
    problems = [problem for match in route.get("match") or () for problem in _l4_match(match)]
    if not route.get("route"):
        problems.append("TCP route is required")
    return problems + _destinations(route.get("route") or [])
