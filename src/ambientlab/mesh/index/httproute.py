"""HTTPRoute's rules, as Istio reads them (pilot/pkg/config/kube/gateway/conversion.go, convertHTTPRoute)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import ignored
from ambientlab.mesh.index.drafts import REQUEST_PORT, Draft, Reading
from ambientlab.mesh.index.gatewayroute import RequestRouteReader, RouteError, Surroundings, modifier, named_matches
from ambientlab.mesh.index.values import milliseconds
from ambientlab.mesh.ir import (
    Action,
    Cors,
    DirectResponse,
    Forward,
    HeaderChange,
    Key,
    Match,
    Mirror,
    Redirect,
    RetryPolicy,
    Rewrite,
    Route,
    StringMatch,
)

_RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled")
_ANY_ORIGIN = r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$"
"""What an origin looks like: a scheme and an authority, nothing behind it (RFC 6454)."""


class _HTTPRoute(RequestRouteReader):
    kind = "HTTPRoute"

    def rule(self, field: str, name: str, rule: Mapping[str, Any]) -> list[Draft]:
        route = self._route(field, name, rule)
        # a list that is left out has a default, an empty one has not: that matches anything, after all others
        matches = [_match(match) for match in rule.get("matches", [{}])] or [Match()]
        return [Draft(replace(route, match=match)) for match in matches]

    def _route(self, field: str, name: str, rule: Mapping[str, Any]) -> Route:
        """What the rule does, for any request."""
        request = response = HeaderChange()
        authority = ""
        rewrite: Rewrite | None = None
        redirect: Redirect | None = None
        cors: Cors | None = None
        mirrors: list[Mirror] = []
        mirror_error: RouteError | None = None
        for i, item in enumerate(rule.get("filters") or []):
            match item["type"]:
                case "RequestHeaderModifier":
                    request, authority = modifier(item.get("requestHeaderModifier"))
                case "ResponseHeaderModifier":
                    response, _ = modifier(item.get("responseHeaderModifier"))
                case "RequestRedirect":
                    redirect = _redirect(item["requestRedirect"])
                case "URLRewrite":
                    rewrite = _rewrite(item["urlRewrite"])
                case "RequestMirror":
                    try:
                        mirrors.append(self.mirror(f"{field}.filters[{i}]", item["requestMirror"]))
                    except RouteError as error:
                        mirror_error = error
                case "CORS":
                    cors = _cors(item["cors"])
                case other:
                    raise RouteError("InvalidFilter", f'unsupported filter type "{other}"', hard=True)
        if authority:
            rewrite = replace(rewrite or Rewrite(), authority=(rewrite and rewrite.authority) or authority)
        destinations = self.destinations(field, rule.get("backendRefs") or [], mirror_error)
        action: Action
        if redirect is not None:
            action = redirect
        elif not destinations:
            action = DirectResponse(500)
        else:
            timeouts = rule.get("timeouts") or {}
            overall = milliseconds(timeouts.get("request") or "0")
            per_try = milliseconds(timeouts.get("backendRequest") or "0")
            retries = _retries(rule.get("retry"), per_try)
            action = Forward(
                destinations,
                rewrite,
                timeout_ms=overall if retries is not None or not per_try else per_try,
                retries=retries,
                mirrors=tuple(mirror for mirror in mirrors if mirror.parts_per_million),
                not_found_status=500,
            )
        if cors is not None and not isinstance(action, Forward):
            why = "Envoy applies CORS only to requests that it forwards, and this rule answers them itself"
            self.notes.append(ignored(self.ref, f"{field}.filters", why))
        return Route(name, (self.kind, self.key), Match(), action, None, request, response, cors)


def read(key: Key, obj: Object, around: Surroundings) -> Reading:
    return _HTTPRoute(key, obj, around).read()


def _match(match: Mapping[str, Any]) -> Match:
    path = match.get("path") or {}
    value, kind = path.get("value") or "/", path.get("type", "PathPrefix")
    if kind == "PathPrefix":
        wanted = StringMatch("path-prefix", value.removesuffix("/") or "/")
    else:
        wanted = StringMatch("exact" if kind == "Exact" else "regex", value)
    return Match(
        path=wanted,
        method=StringMatch("exact", match["method"]) if match.get("method") else None,
        headers=named_matches(match.get("headers"), lower=True),
        query=named_matches(match.get("queryParams"), lower=False),
    )


def _redirect(item: Mapping[str, Any]) -> Redirect:
    path = item.get("path") or {}
    scheme = item.get("scheme") or ""
    return Redirect(
        status=item.get("statusCode") or 302,
        scheme=scheme,
        host=item.get("hostname") or "",
        # "when empty, the port of the request is used"; with a scheme, the scheme's own
        port=item.get("port") or (0 if scheme else REQUEST_PORT),
        full_path=path.get("replaceFullPath"),
        prefix=path.get("replacePrefixMatch"),
    )


def _rewrite(item: Mapping[str, Any]) -> Rewrite | None:
    path = item.get("path") or {}
    prefix = path.get("replacePrefixMatch")
    rewrite = Rewrite(
        authority=item.get("hostname") or "",
        full_path=path.get("replaceFullPath"),
        prefix=None if prefix is None else prefix.removesuffix("/") or "/",
    )
    return None if rewrite == Rewrite() else rewrite


def _cors(item: Mapping[str, Any]) -> Cors:
    """A preflight of another origin is not passed on (createCorsFilter)."""
    return Cors(
        origins=tuple(_origin(text) for text in item.get("allowOrigins") or () if text),
        methods=tuple(item.get("allowMethods") or ()),
        headers=tuple(item.get("allowHeaders") or ()),
        exposed_headers=tuple(item.get("exposeHeaders") or ()),
        credentials=bool(item.get("allowCredentials")),
        max_age_s=item.get("maxAge") or None,
        forward_unmatched=False,
    )


def _origin(text: str) -> StringMatch:
    if text == "*":
        return StringMatch("regex", _ANY_ORIGIN)
    if "*" not in text:
        return StringMatch("exact", text)
    if text.index("*") == len(text) - 1:
        return StringMatch("prefix", text[:-1])
    return StringMatch("regex", f"^{'.*'.join(re.escape(part) for part in text.split('*'))}$")


def _retries(item: Mapping[str, Any] | None, per_try_timeout_ms: int) -> RetryPolicy | None:
    if item is None:
        return None
    codes = tuple(item.get("codes") or ())
    return RetryPolicy(
        attempts=item.get("attempts", 2),
        per_try_timeout_ms=per_try_timeout_ms,
        retry_on=",".join(_RETRY_ON),
        status_codes=codes,
        backoff_ms=milliseconds(item["backoff"]) if item.get("backoff") else 0,
    )
