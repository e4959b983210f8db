"""VirtualService, as a waypoint reads one (pilot/pkg/networking/core/route/route.go, listener_waypoint.go)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored, unsupported
from ambientlab.mesh.index.drafts import REQUEST_PORT, Draft, Reading, RouteSet, header_change, unknown_fields
from ambientlab.mesh.index.values import host_of, milliseconds, parts_per_million
from ambientlab.mesh.ir import (
    Abort,
    Action,
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

_SPEC = ("hosts", "gateways", "exportTo", "http", "tcp", "tls")
_RULE = (
    "name", "match", "route", "redirect", "directResponse", "rewrite", "timeout", "retries", "fault", "mirror",
    "mirrorPercentage", "mirrorPercent", "mirrors", "headers",
)  # fmt: skip
_MATCH = (
    "name", "uri", "scheme", "method", "authority", "headers", "port", "queryParams", "ignoreUriCase",
    "withoutHeaders", "sourceLabels", "gateways", "sourceNamespace", "statPrefix",
)  # fmt: skip
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_GRPC_STATUS = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""By number. https://github.com/grpc/grpc/blob/master/doc/statuscodes.md"""
_HTTP_CODES = range(100, 600)


class _Reader:
    def __init__(self, key: Key, obj: Object, domain: str) -> None:
        self.key = key
        self.spec: dict[str, Any] = obj["spec"]
        self.created: str = obj["metadata"].get("creationTimestamp", "")
        self.domain = domain
        self.ref = ObjectRef("VirtualService", key.namespace, key.name)
        self.notes: list[Diagnostic] = []

    def read(self) -> Reading:
        self._unknown("spec", self.spec, _SPEC)
        for field in ("tcp", "tls"):
            if self.spec.get(field):
                self.notes.append(unsupported(self.ref, f"spec.{field}"))
        gateways = self.spec.get("gateways") or ["mesh"]
        if "mesh" not in gateways:
            self.notes.append(ignored(self.ref, "spec.gateways", "only routes for the gateway `mesh` reach a waypoint"))
            return Reading((), tuple(self.notes))
        drafts: list[Draft] = []
        for i, rule in enumerate(self.spec.get("http") or []):
            drafts += self._rule(f"spec.http[{i}]", rule)
        hosts = tuple(host_of(h, self.key.namespace, self.domain) for h in self.spec.get("hosts") or [])
        sets: tuple[RouteSet, ...] = ()
        if drafts:
            exported = tuple(self.spec.get("exportTo") or ())
            sets = (RouteSet(self.ref, self.created, hosts, exported, False, 0, tuple(drafts), "spec.hosts"),)
        return Reading(sets, tuple(self.notes))

    def _rule(self, field: str, rule: Mapping[str, Any]) -> list[Draft]:
        self._unknown(field, rule, _RULE)
        headers = rule.get("headers") or {}
        request, authority = _headers(headers.get("request"))
        response, _ = _headers(headers.get("response"))
        action = self._action(field, rule, authority)
        fault = self._fault(f"{field}.fault", rule.get("fault") or {})
        result = []
        for i, match in enumerate(rule.get("match") or [{}]):
            where = f"{field}.match[{i}]"
            if not self._concerns_waypoints(where, match):
                continue
            self._unknown(where, match, _MATCH)
            name = ".".join(filter(None, (rule.get("name"), match.get("name"))))
            route = Route(name, ("VirtualService", self.key), _match(match), action, fault, request, response)
            result.append(Draft(route, match.get("port") or 0))
        return result

    def _concerns_waypoints(self, field: str, match: Mapping[str, Any]) -> bool:
        if match.get("sourceLabels"):
            return False
        if match.get("gateways") and "mesh" not in match["gateways"]:
            self.notes.append(ignored(self.ref, f"{field}.gateways", "the match is not for the gateway `mesh`"))
            return False
        if match.get("sourceNamespace") and match["sourceNamespace"] != self.key.namespace:
            self.notes.append(
                ignored(
                    self.ref,
                    f"{field}.sourceNamespace",
                    "a waypoint compares it with its own namespace, never with the client's",
                )
            )
            return False
        if match.get("statPrefix"):
            self.notes.append(unsupported(self.ref, f"{field}.statPrefix"))
        return True

    def _action(self, field: str, rule: Mapping[str, Any], authority: str) -> Action:
        if redirect := rule.get("redirect"):
            return self._redirect(f"{field}.redirect", redirect)
        if response := rule.get("directResponse"):
            return DirectResponse(response["status"], (response.get("body") or {}).get("string", ""))
        routes = rule.get("route") or []
        destinations = [
            self._destination(item)
            for item in routes
            # the weight of an only destination says nothing
            if len(routes) == 1 or item.get("weight")
        ]
        if len(routes) == 1:
            destinations = [replace(d, weight=max(d.weight, 1)) for d in destinations]
        if not destinations:
            self.notes.append(Diagnostic(self.ref, "NoDestination", f"{field} names no destination", field=field))
            return DirectResponse(500)
        return Forward(
            tuple(destinations),
            self._rewrite(rule.get("rewrite") or {}, authority),
            timeout_ms=milliseconds(rule["timeout"]) if rule.get("timeout") else 0,
            retries=self._retries(f"{field}.retries", rule.get("retries")),
            mirrors=tuple(self._mirrors(rule)),
        )

    def _target(self, item: Mapping[str, Any]) -> Destination:
        host = host_of(item.get("host", ""), self.key.namespace, self.domain)
        return Destination(host, (item.get("port") or {}).get("number") or 0, item.get("subset") or "")

    def _destination(self, item: Mapping[str, Any]) -> WeightedDestination:
        headers = item.get("headers") or {}
        request, authority = _headers(headers.get("request"))
        response, _ = _headers(headers.get("response"))
        target = self._target(item["destination"])
        return WeightedDestination(item.get("weight") or 0, target, True, request, response, authority)

    def _mirrors(self, rule: Mapping[str, Any]) -> list[Mirror]:
        result = []
        if rule.get("mirror"):
            percent = rule.get("mirrorPercentage")
            share = rule.get("mirrorPercent", 100) if percent is None else percent.get("value", 0)
            result.append(Mirror(self._target(rule["mirror"]), parts_per_million(share)))
        for item in rule.get("mirrors") or []:
            percent = item.get("percentage")
            share = 100 if percent is None else percent.get("value", 0)
            result.append(Mirror(self._target(item["destination"]), parts_per_million(share)))
        return [m for m in result if m.parts_per_million]

    def _rewrite(self, item: Mapping[str, Any], authority: str) -> Rewrite | None:
        pattern = item.get("uriRegexRewrite")
        rewrite = Rewrite(
            authority=item.get("authority") or authority,
            prefix=None if pattern else item.get("uri") or None,
            regex=(pattern["match"], pattern["rewrite"]) if pattern else None,
        )
        return None if rewrite == Rewrite() else rewrite

    def _redirect(self, field: str, item: Mapping[str, Any]) -> Redirect:
        status = item.get("redirectCode") or 301
        if status not in _REDIRECT_CODES:
            self.notes.append(unsupported(self.ref, f"{field}.redirectCode", "301 is answered instead"))
            status = 301
        return Redirect(
            status=status,
            scheme=item.get("scheme") or "",
            host=item.get("authority") or "",
            port=item.get("port") or (REQUEST_PORT if item.get("derivePort") == "FROM_REQUEST_PORT" else 0),
            full_path=item.get("uri") or None,
        )

    def _retries(self, field: str, item: Mapping[str, Any] | None) -> RetryPolicy | None:
        if item is None:
            return None
        self._unknown(field, item, ("attempts", "perTryTimeout", "retryOn", "backoff"))
        words = [w.strip() for w in (item.get("retryOn") or "").split(",") if w.strip()]
        codes = tuple(int(w) for w in words if w.isdigit() and int(w) in _HTTP_CODES)
        return RetryPolicy(
            attempts=item.get("attempts") or 0,
            per_try_timeout_ms=milliseconds(item["perTryTimeout"]) if item.get("perTryTimeout") else 0,
            retry_on=",".join(w for w in words if not w.isdigit()),
            status_codes=codes,
            backoff_ms=milliseconds(item["backoff"]) if item.get("backoff") else 0,
        )

    def _fault(self, field: str, item: Mapping[str, Any]) -> Fault | None:
        """A percentage that is left out is none at all (Percent in istio.io/api, TranslateFault)."""
        delay = abort = None
        if spec := item.get("delay"):
            self._unknown(f"{field}.delay", spec, ("fixedDelay", "percentage", "percent"))
            delay = Delay(milliseconds(spec.get("fixedDelay") or "0"), self._share(f"{field}.delay", spec))
        if spec := item.get("abort"):
            self._unknown(f"{field}.abort", spec, ("httpStatus", "grpcStatus", "percentage"))
            if spec.get("httpStatus"):
                abort = Abort(spec["httpStatus"], self._share(f"{field}.abort", spec))
            elif spec.get("grpcStatus") in _GRPC_STATUS:
                abort = Abort(0, self._share(f"{field}.abort", spec), _GRPC_STATUS.index(spec["grpcStatus"]))
        return Fault(delay, abort) if delay or abort else None

    def _share(self, field: str, spec: Mapping[str, Any]) -> int:
        percentage = spec.get("percentage")
        parts = parts_per_million(spec.get("percent", 0) if percentage is None else percentage.get("value", 0))
        if parts == 0:
            self.notes.append(
                Diagnostic(
                    self.ref,
                    "FaultNever",
                    f"{field} has no percentage, which means 0 %: the fault is never injected; set percentage.value",
                    field=field,
                )
            )
        return parts

    def _unknown(self, field: str, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
        self.notes += [unsupported(self.ref, f"{field}.{name}") for name in unknown_fields(value, known)]


def read(key: Key, obj: Object, domain: str) -> Reading:
    return _Reader(key, obj, domain).read()


def _headers(item: Mapping[str, Any] | None) -> tuple[HeaderChange, str]:
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


def _strings(items: Mapping[str, Mapping[str, str]] | None, *, lower: bool) -> tuple[tuple[str, StringMatch], ...]:
    named = ((name.lower() if lower else name, _string(item or {})) for name, item in (items or {}).items())
    return tuple(sorted((name, match) for name, match in named if match is not None))


def _match(item: Mapping[str, Any]) -> Match:
    return Match(
        path=_string(item.get("uri"), ignore_case=bool(item.get("ignoreUriCase"))),
        method=_string(item.get("method")),
        authority=_string(item.get("authority")),
        scheme=_string(item.get("scheme")),
        headers=_strings(item.get("headers"), lower=True),
        without_headers=_strings(item.get("withoutHeaders"), lower=True),
        query=_strings(item.get("queryParams"), lower=False),
    )
