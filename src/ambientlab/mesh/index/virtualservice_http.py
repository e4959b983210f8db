"""The HTTP rules of VirtualServices (pilot/pkg/networking/core/route/route.go, TranslateRoute)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ambientlab.mesh.index.delegates import Json, Rule
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.drafts import REQUEST_PORT, Draft, header_change
from ambientlab.mesh.index.values import milliseconds, parts_per_million
from ambientlab.mesh.ir import (
    Abort,
    Action,
    Cors,
    Delay,
    Destination,
    DirectResponse,
    Fault,
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
    WeightedDestination,
)

_REDIRECT_CODES = (301, 302, 303, 307, 308)
_GRPC_STATUS = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""By number. https://github.com/grpc/grpc/blob/master/doc/statuscodes.md"""
_HTTP_CODES = range(100, 600)


def drafts(root: Key, rule: Rule, notes: list[Diagnostic]) -> Iterator[tuple[str, Draft]]:
    """A draft for each match that can hold at a waypoint, with the field it is written in."""
    value = rule.value
    headers = value.get("headers") or {}
    request, authority = _headers(headers.get("request"))
    response, _ = _headers(headers.get("response"))
    action = _action(rule, authority, notes)
    fault = _fault(rule.ref, f"{rule.field}.fault", value.get("fault") or {}, notes)
    for field, match in rule.matches or ((rule.field, {}),):
        if _concerns_waypoints(rule.ref, field, match, notes):
            name = ".".join(filter(None, (value.get("name"), match.get("name"))))
            route = Route(
                name,
                ("VirtualService", root),
                _match(match),
                action,
                fault,
                request,
                response,
                _cors(value.get("corsPolicy")),
                match.get("statPrefix") or "",
            )
            # one that names gateways is not compared with namespaces
            source = "" if match.get("gateways") else match.get("sourceNamespace") or ""
            yield field, Draft(route, match.get("port") or 0, source)


def _concerns_waypoints(ref: ObjectRef, field: str, match: Json, notes: list[Diagnostic]) -> bool:
    if match.get("sourceLabels"):
        return False
    if match.get("gateways") and "mesh" not in match["gateways"]:
        notes.append(ignored(ref, f"{field}.gateways", "the match is not for the gateway `mesh`"))
        return False
    return True


def _action(rule: Rule, authority: str, notes: list[Diagnostic]) -> Action:
    value = rule.value
    if redirect := value.get("redirect"):
        return _redirect(rule, redirect, notes)
    if response := value.get("directResponse"):
        body = response.get("body") or {}
        return DirectResponse(response["status"], body.get("string", ""), body.get("bytes", ""))
    routes = value.get("route") or []
    destinations = [
        _destination(item)
        for item in routes
        # the weight of an only destination says nothing
        if len(routes) == 1 or item.get("weight")
    ]
    if len(routes) == 1:
        destinations = [replace(d, weight=max(d.weight, 1)) for d in destinations]
    if not destinations:
        notes.append(Diagnostic(rule.ref, "NoDestination", f"{rule.field} names no destination", field=rule.field))
        return DirectResponse(500)
    return Forward(
        tuple(destinations),
        _rewrite(value.get("rewrite") or {}, authority),
        timeout_ms=milliseconds(value["timeout"]) if value.get("timeout") else 0,
        retries=_retries(value.get("retries")),
        mirrors=tuple(_mirrors(value)),
    )


def target(item: Json) -> Destination:
    """A destination; a port of 0 is to be found out."""
    return Destination(item["host"], (item.get("port") or {}).get("number") or 0, item.get("subset") or "")


def _destination(item: Json) -> WeightedDestination:
    headers = item.get("headers") or {}
    request, authority = _headers(headers.get("request"))
    response, _ = _headers(headers.get("response"))
    return WeightedDestination(item.get("weight") or 0, target(item["destination"]), True, request, response, authority)


def _mirrors(rule: Json) -> list[Mirror]:
    result = []
    if rule.get("mirror"):
        percent = rule.get("mirrorPercentage")
        whole = next((rule[name] for name in ("mirrorPercent", "mirror_percent") if rule.get(name) is not None), 100)
        share = whole if percent is None else percent.get("value", 0)
        result.append(Mirror(target(rule["mirror"]), parts_per_million(share)))
    for item in rule.get("mirrors") or []:
        percent = item.get("percentage")
        share = 100 if percent is None else percent.get("value", 0)
        result.append(Mirror(target(item["destination"]), parts_per_million(share)))
    return [m for m in result if m.parts_per_million]


def _rewrite(item: Json, authority: str) -> Rewrite | None:
    pattern = item.get("uriRegexRewrite")
    rewrite = Rewrite(
        authority=item.get("authority") or authority,
        prefix=None if pattern else item.get("uri") or None,
        regex=(pattern["match"], pattern["rewrite"]) if pattern else None,
    )
    return None if rewrite == Rewrite() else rewrite


def _redirect(rule: Rule, item: Json, notes: list[Diagnostic]) -> Action:
    status = item.get("redirectCode") or 301
    if status not in _REDIRECT_CODES:
        message = (
            f"Envoy redirects with {', '.join(map(str, _REDIRECT_CODES))} only, so requests are answered 500 here; "
            "Istio sends its waypoint a route without an action, with which it refuses all of its configuration"
        )
        notes.append(Diagnostic(rule.ref, "UnsupportedRedirect", message, field=f"{rule.field}.redirect.redirectCode"))
        return DirectResponse(500)
    return Redirect(
        status=status,
        scheme=item.get("scheme") or "",
        host=item.get("authority") or "",
        port=item.get("port") or (REQUEST_PORT if item.get("derivePort") == "FROM_REQUEST_PORT" else 0),
        full_path=item.get("uri") or None,
        prefix=item.get("prefixRewrite") or None,
    )


def _retries(item: Json | None) -> RetryPolicy | None:
    if item is None:
        return None
    words = [w.strip() for w in (item.get("retryOn") or "").split(",") if w.strip()]
    codes = tuple(int(w) for w in words if w.isdigit() and int(w) in _HTTP_CODES)
    return RetryPolicy(
        attempts=item.get("attempts") or 0,
        per_try_timeout_ms=milliseconds(item["perTryTimeout"]) if item.get("perTryTimeout") else 0,
        retry_on=",".join(w for w in words if not w.isdigit()),
        status_codes=codes,
        backoff_ms=milliseconds(item["backoff"]) if item.get("backoff") else 0,
        same_hosts=None if item.get("retryIgnorePreviousHosts") is None else not item["retryIgnorePreviousHosts"],
        other_localities=bool(item.get("retryRemoteLocalities")),
    )


def _fault(ref: ObjectRef, field: str, item: Json, notes: list[Diagnostic]) -> Fault | None:
    """A percentage that is left out is none at all (Percent in istio.io/api, TranslateFault)."""
    delay = abort = None
    # an exponential delay, which nothing implements, is none
    if (spec := item.get("delay")) and spec.get("fixedDelay"):
        delay = Delay(milliseconds(spec["fixedDelay"]), _share(ref, f"{field}.delay", spec, notes))
    if spec := item.get("abort"):
        if spec.get("httpStatus"):
            abort = Abort(spec["httpStatus"], _share(ref, f"{field}.abort", spec, notes))
        elif spec.get("grpcStatus") in _GRPC_STATUS:
            number = _GRPC_STATUS.index(spec["grpcStatus"])
            abort = Abort(0, _share(ref, f"{field}.abort", spec, notes), number)
    return Fault(delay, abort) if delay or abort else None


def _cors(item: Json | None) -> Cors | None:
    """TranslateCORSPolicy. A policy without origins answers no request, but keeps preflights as they are."""
    if item is None:
        return None
    origins = [match for each in item.get("allowOrigins") or [] if (match := _string(each)) is not None]
    if not origins:
        origins = [StringMatch("exact", text) for text in item.get("allowOrigin") or []]
    return Cors(
        tuple(origins),
        tuple(item.get("allowMethods") or ()),
        tuple(item.get("allowHeaders") or ()),
        tuple(item.get("exposeHeaders") or ()),
        bool(item.get("allowCredentials")),
        milliseconds(item["maxAge"]) // 1000 if item.get("maxAge") else None,
        item.get("unmatchedPreflights") != "IGNORE",
    )


def _share(ref: ObjectRef, field: str, spec: Json, notes: list[Diagnostic]) -> int:
    percentage = spec.get("percentage")
    parts = parts_per_million(spec.get("percent", 0) if percentage is None else percentage.get("value", 0))
    if parts == 0:
        message = f"{field} has no percentage, which means 0 %: the fault is never injected; set percentage.value"
        notes.append(Diagnostic(ref, "FaultNever", message, field=field))
    return parts


def _headers(item: Json | None) -> tuple[HeaderChange, str]:
    item = item or {}
    return header_change(item.get("set") or {}, item.get("add") or {}, item.get("remove") or [])


def _string(item: Mapping[str, str] | None, *, ignore_case: bool = False) -> StringMatch | None:
    if item is None:
        return None
    if "exact" in item:
        return StringMatch("exact", item["exact"], ignore_case)
    if "prefix" in item:
        return StringMatch("prefix", item["prefix"], ignore_case)
    # `*` is no regular expression; Istio takes it for "is there"
    if item.get("regex", "*") != "*":
        return StringMatch("regex", item["regex"])
    return StringMatch("present")


def _strings(items: Mapping[str, Any] | None, *, lower: bool) -> tuple[tuple[str, StringMatch], ...]:
    named = ((name.lower() if lower else name, _string(item or {})) for name, item in (items or {}).items())
    return tuple(sorted((name, match) for name, match in named if match is not None))


def _match(item: Json) -> Match:
    return Match(
        path=_string(item.get("uri"), ignore_case=bool(item.get("ignoreUriCase"))),
        method=_string(item.get("method")),
        authority=_string(item.get("authority")),
        scheme=_string(item.get("scheme")),
        headers=_strings(item.get("headers"), lower=True),
        without_headers=_strings(item.get("withoutHeaders"), lower=True),
        query=_strings(item.get("queryParams"), lower=False),
    )
