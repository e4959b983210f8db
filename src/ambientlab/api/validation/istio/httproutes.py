"""The HTTP routes of a VirtualService (virtualservice.go)."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from ambientlab.api.durations import seconds
from ambientlab.api.fielderrors import quote
from ambientlab.api.numbers import whole
from ambientlab.api.objects import Object
from ambientlab.api.validation.istio import common
from ambientlab.api.validation.istio.common import Messages
from ambientlab.api.validation.istio.destinations import (
    destination,
    destinations,
    gateway_names,
    header_operations,
    is_authority,
)

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
_PSEUDO_HEADERS = frozenset({":method", ":path", ":scheme", ":authority"})
_JWT_CLAIM = re.compile(r"(?i)@request\.auth\.claims[.\[].+")
_ROUTING_CLAIM = re.compile(r"(?i)@request\.auth\.claims(\..+|\[.+\])")
_MAX_BODY = 1024 * 1024


def claims_in_mesh(routes: list[Object], gateways: list[str]) -> Messages:
    """Claims of tokens route requests at gateways only, of which those of a mesh are none."""
    listed = " ".join(gateways)
    return [
        f"JWT claim based routing (key: {name}) is only supported for gateway, found no gateways: [{listed}]"
        for route in routes
        for match in route.get("match") or ()
        for field in ("headers", "withoutHeaders")
        for name in match.get(field) or ()
        if _ROUTING_CLAIM.fullmatch(name)
    ]


def http_route(route: Object, *, delegate: bool) -> Messages:
    problems = _conflicts(route, delegate)
    for match in route.get("match") or ():
        problems += _http_match(match)
    problems += header_operations(route.get("headers") or {})
    problems += _cors(route.get("corsPolicy") or {})
    problems += _fault(route.get("fault"))
    problems += _mirrors(route)
    problems += _redirect(route.get("redirect"), route.get("match") or [])
    if (direct := route.get("directResponse")) is not None:
        problems += _body(direct.get("body") or {}) + _http_status(direct.get("status", 0))
    problems += _retries(route.get("retries") or {})
    problems += _rewrite(route.get("rewrite"))
    problems += _one_authority(route)
    problems += destinations(route.get("route") or [])
    return problems + common.durations(route, "timeout")


def _conflicts(route: Object, delegate: bool) -> Messages:
    has = {name for name in ("redirect", "fault", "rewrite", "directResponse", "delegate") if name in route}
    backends = bool(route.get("route"))
    name = route.get("name", "")
    if "delegate" in has and not delegate:
        wrong = [what for what, there in (("redirect", "redirect" in has), ("route", "route" in route)) if there]
        return [f"root HTTP route {name} must not specify {what}" for what in wrong]
    problems = ["delegate HTTP route cannot contain delegate"] if "delegate" in has else []
    if answer := "redirect" if "redirect" in has else "direct_response" if "directResponse" in has else "":
        if backends:
            problems.append(f"HTTP route cannot contain both route and {answer}")
        if "fault" in has:
            problems.append(f"HTTP route cannot contain both fault and {answer}")
        if "rewrite" in has:
            problems.append(f"HTTP route rule cannot contain both rewrite and {answer}")
        if {"redirect", "directResponse"} <= has:
            problems.append("HTTP route rule cannot contain both direct_response and redirect")
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
        if (seconds(policy["maxAge"]) or 0) % 1:
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


def _body(body: Object) -> Messages:
    size = len(b64decode(body["bytes"])) if body.get("bytes") else len((body.get("string") or "").encode())
    if size <= _MAX_BODY:
        return []
    return ["large direct_responses may impact control plane performance, must be less than 1MB"]


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
        if whole(policy) not in _STATUS_CODES and policy not in _RETRY_ON:
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
            if is_authority(name) and current:
                return [
                    f"authority header cannot be set multiple times: have {quote(current)}, attempting to set "
                    f"{quote(value)}"
                ]
            current = value if is_authority(name) else current
    return []
