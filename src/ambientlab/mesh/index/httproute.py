"""HTTPRoute, as Istio reads one whose parents are Services (pilot/pkg/config/kube/gateway/conversion.go).

Whether a backend exists is part of the reading, because it decides the status of the route; the share of a backend that
does not stays in the split. For mesh parents Istio does not ask for a ReferenceGrant, and so neither do we: a reference
that would need one elsewhere is only a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ambientlab.api import objects
from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import (
    ACCEPTED,
    RESOLVED_REFS,
    RESOLVED_WAYPOINTS,
    Diagnostic,
    ObjectRef,
    unsupported,
)
from ambientlab.mesh.index.drafts import REQUEST_PORT, Draft, Reading, RouteSet, header_change, unknown_fields
from ambientlab.mesh.index.values import milliseconds
from ambientlab.mesh.ir import (
    Action,
    Destination,
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
    WeightedDestination,
)

MISSING_LABEL = (
    "istio.io/use-waypoint label missing from parent and parent namespace; in ambient mode, route will not be respected"
)
NO_PARENT = "parent not found"
_RULE = ("name", "matches", "filters", "backendRefs", "timeouts", "retry", "sessionPersistence")
_RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled")


class RouteError(Exception):
    """A reference that cannot be followed. `hard` voids the whole HTTPRoute; otherwise only what refers is void."""

    def __init__(self, reason: str, message: str, *, hard: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hard = hard


class Surroundings:
    """What a route's reading depends on. Each answer is a dependency."""

    def __init__(
        self,
        service: Callable[[Key], Object | None],
        namespace_labels: Callable[[str], Mapping[str, str]],
        granted: Callable[[str, Key], bool],
        domain: str,
    ) -> None:
        self.service = service
        self.namespace_labels = namespace_labels
        self.granted = granted
        self.domain = domain

    def host(self, key: Key) -> str:
        return f"{key.name}.{key.namespace}.svc.{self.domain}"


class _Reader:
    def __init__(self, key: Key, obj: Object, around: Surroundings) -> None:
        self.key = key
        self.spec: dict[str, Any] = obj["spec"]
        self.created: str = obj["metadata"].get("creationTimestamp", "")
        self.around = around
        self.ref = ObjectRef("HTTPRoute", key.namespace, key.name)
        self.notes: list[Diagnostic] = []
        self.errors: list[tuple[str, RouteError]] = []

    def read(self) -> Reading:
        parents = self._parents()
        drafts: list[Draft] = []
        try:
            for i, rule in enumerate(self.spec.get("rules") or []):
                drafts += self._rule(i, rule)
        except RouteError as error:
            drafts = []
            self.errors = [("spec.rules", error)]
        # Istio reports one error, the last it met
        for n, (field, met) in enumerate(self.errors, 1):
            condition = RESOLVED_REFS if n == len(self.errors) else ""
            self.notes.append(Diagnostic(self.ref, met.reason, met.message, condition, field))
        drafts.sort(key=_precedence)
        sets = tuple(
            RouteSet(
                self.ref,
                self.created,
                (host,),
                (),
                True,
                port,
                tuple(Draft(d.route, port) for d in drafts),
                field,
            )
            for field, host, port in parents
            if drafts
        )
        return Reading(sets, tuple(self.notes))

    def _parents(self) -> list[tuple[str, str, int]]:
        """(field, host, port or 0) of each parent that is a Service and exists."""
        found: dict[tuple[str, int], str] = {}
        for i, ref in enumerate(self.spec.get("parentRefs") or []):
            field = f"spec.parentRefs[{i}]"
            group, kind = ref.get("group", "gateway.networking.k8s.io"), ref.get("kind", "Gateway")
            parent = Key(ref.get("namespace") or self.key.namespace, ref["name"])
            if (group, kind) not in (("", "Service"), ("networking.istio.io", "ServiceEntry")):
                message = (
                    f'ambientlab serves routes in waypoints, whose parentRefs have group "" and kind Service; '
                    f"a {kind} carries none here"
                )
                self.notes.append(Diagnostic(self.ref, "UnsupportedValue", message, ACCEPTED, field))
                continue
            service = self.around.service(parent) if kind == "Service" else None
            if service is None:
                what = "service" if kind == "Service" else "service entry"
                message = f'parent {what}: "{parent.name}" not found'
                self.notes.append(Diagnostic(self.ref, "NoMatchingParent", message, ACCEPTED, field))
                self.notes.append(Diagnostic(self.ref, "ResolvedWaypoints", NO_PARENT, RESOLVED_WAYPOINTS, field))
                continue
            labels = (objects.labels_of(service), self.around.namespace_labels(parent.namespace))
            if not any(label.get("istio.io/use-waypoint", "none").lower() not in ("", "none") for label in labels):
                self.notes.append(Diagnostic(self.ref, "ResolvedWaypoints", MISSING_LABEL, RESOLVED_WAYPOINTS, field))
            found.setdefault((self.around.host(parent), ref.get("port") or 0), field)
        return [(field, host, port) for (host, port), field in found.items()]

    def _rule(self, index: int, rule: Mapping[str, Any]) -> list[Draft]:
        field = f"spec.rules[{index}]"
        self._unknown(field, rule, _RULE)
        name = rule.get("name") or f"{self.key.namespace}.{self.key.name}.{index}"
        action, request, response = self._action(field, rule)
        return [
            Draft(
                Route(
                    name,
                    ("HTTPRoute", self.key),
                    self._match(match),
                    action,
                    request_headers=request,
                    response_headers=response,
                )
            )
            for match in rule.get("matches") or [{}]
        ]

    def _match(self, match: Mapping[str, Any]) -> Match:
        path = match.get("path") or {}
        value, kind = path.get("value") or "/", path.get("type", "PathPrefix")
        if kind == "PathPrefix":
            wanted = StringMatch("path-prefix", value.rstrip("/") or "/")
        else:
            wanted = StringMatch("exact" if kind == "Exact" else "regex", value)
        return Match(
            path=wanted,
            method=StringMatch("exact", match["method"]) if match.get("method") else None,
            headers=_named_matches(match.get("headers"), lower=True),
            query=_named_matches(match.get("queryParams"), lower=False),
        )

    def _action(self, field: str, rule: Mapping[str, Any]) -> tuple[Action, HeaderChange, HeaderChange]:
        request = response = HeaderChange()
        authority = ""
        rewrite: Rewrite | None = None
        redirect: Redirect | None = None
        mirrors: list[Mirror] = []
        mirror_error: RouteError | None = None
        for i, item in enumerate(rule.get("filters") or []):
            where = f"{field}.filters[{i}]"
            match item["type"]:
                case "RequestHeaderModifier":
                    request, authority = _modifier(item.get("requestHeaderModifier"))
                case "ResponseHeaderModifier":
                    response, _ = _modifier(item.get("responseHeaderModifier"))
                case "RequestRedirect":
                    redirect = _redirect(item["requestRedirect"])
                case "URLRewrite":
                    rewrite = _rewrite(item["urlRewrite"])
                case "RequestMirror":
                    try:
                        mirrors.append(self._mirror(item["requestMirror"]))
                    except RouteError as error:
                        if error.hard:
                            raise
                        mirror_error = error
                case "CORS":
                    self.notes.append(unsupported(self.ref, where))
                case other:
                    raise RouteError("InvalidFilter", f'unsupported filter type "{other}"', hard=True)
        if authority:
            rewrite = Rewrite(
                (rewrite.authority if rewrite else "") or authority,
                rewrite.full_path if rewrite else None,
                rewrite.prefix if rewrite else None,
            )
        destinations = self._destinations(field, rule.get("backendRefs") or [], mirror_error)
        if redirect is not None:
            return redirect, request, response
        if not destinations:
            # "if all entries have a weight of 0 or there are none, requests must get a 500" (HTTPRouteRule.backendRefs)
            return DirectResponse(500), request, response
        timeouts = rule.get("timeouts") or {}
        overall = milliseconds(timeouts.get("request") or "0")
        per_try = milliseconds(timeouts.get("backendRequest") or "0")
        retries = _retries(rule.get("retry"), per_try)
        forward = Forward(
            destinations,
            rewrite,
            timeout_ms=overall if retries is not None or not per_try else per_try,
            retries=retries,
            mirrors=tuple(mirrors),
            not_found_status=500,
        )
        return forward, request, response

    def _destinations(
        self, field: str, refs: list[Mapping[str, Any]], mirror_error: RouteError | None
    ) -> tuple[WeightedDestination, ...]:
        result: list[WeightedDestination] = []
        errors: list[tuple[str, RouteError]] = []
        for i, ref in enumerate(refs):
            weight = ref.get("weight", 1)
            if weight == 0:
                continue
            where = f"{field}.backendRefs[{i}]"
            found = True
            try:
                destination = self._backend(where, ref)
            except RouteError as error:
                if error.hard:
                    raise
                errors.append((where, error))
                found, destination = False, Destination("", 0)
                if error.reason == "BackendNotFound":
                    key = Key(ref.get("namespace") or self.key.namespace, ref["name"])
                    destination = Destination(self.around.host(key), ref["port"])
            request, response = self._backend_filters(ref)
            result.append(WeightedDestination(weight, destination, found, request, response))
        if mirror_error is not None and errors:
            where, last = errors[-1]
            errors[-1] = (where, RouteError(last.reason, f"{last.message}; {mirror_error.message}"))
        elif mirror_error is not None:
            errors.append((f"{field}.filters", mirror_error))
        self.errors += errors
        return tuple(result)

    def _backend(self, field: str, ref: Mapping[str, Any]) -> Destination:
        group, kind, name = ref.get("group", ""), ref.get("kind", "Service"), ref["name"]
        if (group, kind) != ("", "Service"):
            raise RouteError("InvalidKind", f'referencing unsupported backendRef: group "{group}" kind "{kind}"')
        if "." in name:
            raise RouteError(
                "InvalidDestination",
                "service name invalid; the name of the Service must be used, not the hostname.",
                hard=True,
            )
        if not ref.get("port"):
            raise RouteError("InvalidDestination", "port is required in backendRef", hard=True)
        key = Key(ref.get("namespace") or self.key.namespace, name)
        if self.around.service(key) is None:
            raise RouteError("BackendNotFound", f"backend({self.around.host(key)}) not found")
        if key.namespace != self.key.namespace and not self.around.granted(self.key.namespace, key):
            self.notes.append(
                Diagnostic(
                    self.ref,
                    "ReferenceGrantMissing",
                    f"no ReferenceGrant in {key.namespace} lets HTTPRoutes of {self.key.namespace} refer to Service "
                    f"{key.name}; Istio does not require one in a mesh, other implementations do",
                    field=field,
                )
            )
        return Destination(self.around.host(key), ref["port"])

    def _backend_filters(self, ref: Mapping[str, Any]) -> tuple[HeaderChange, HeaderChange]:
        request = response = HeaderChange()
        for item in ref.get("filters") or []:
            match item["type"]:
                case "RequestHeaderModifier":
                    request, _ = _modifier(item.get("requestHeaderModifier"))
                case "ResponseHeaderModifier":
                    response, _ = _modifier(item.get("responseHeaderModifier"))
                case other:
                    raise RouteError("InvalidFilter", f'unsupported filter type "{other}"', hard=True)
        return request, response

    def _mirror(self, item: Mapping[str, Any]) -> Mirror:
        destination = self._backend("filters", item["backendRef"])
        parts = 1_000_000
        if fraction := item.get("fraction"):
            parts = fraction["numerator"] * 1_000_000 // fraction.get("denominator", 100)
        elif item.get("percent") is not None:
            parts = item["percent"] * 10_000
        return Mirror(destination, parts)

    def _unknown(self, field: str, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
        self.notes += [unsupported(self.ref, f"{field}.{name}") for name in unknown_fields(value, known)]


def read(key: Key, obj: Object, around: Surroundings) -> Reading:
    return _Reader(key, obj, around).read()


def _precedence(draft: Draft) -> tuple[int, int, bool, int, int]:
    return precedence(draft.route)


def precedence(route: Route) -> tuple[int, int, bool, int, int]:
    """Sorts the most specific match first: exact, then prefix, then regular-expression paths; longer before shorter;
    then a method, then more headers, then more query parameters (HTTPRouteRule.matches). Ties keep their order."""
    match = route.match
    path = match.path or StringMatch("path-prefix", "/")
    rank = {"exact": 3, "path-prefix": 2, "prefix": 2, "regex": 1}.get(path.kind, 0)
    return (-rank, -len(path.value), match.method is None, -len(match.headers), -len(match.query))


def _named_matches(items: list[Mapping[str, Any]] | None, *, lower: bool) -> tuple[tuple[str, StringMatch], ...]:
    result: dict[str, StringMatch] = {}
    for item in items or []:
        name = item["name"].lower() if lower else item["name"]
        kind = "regex" if item.get("type") == "RegularExpression" else "exact"
        # "only the first entry with an equivalent name must be considered"
        result.setdefault(name, StringMatch("regex" if kind == "regex" else "exact", item["value"]))
    return tuple(sorted(result.items()))


def _modifier(item: Mapping[str, Any] | None) -> tuple[HeaderChange, str]:
    item = item or {}

    def first_wins(entries: list[Mapping[str, str]] | None) -> dict[str, str]:
        headers: dict[str, str] = {}
        for entry in entries or []:
            headers.setdefault(entry["name"].lower(), entry["value"])
        return headers

    return header_change(first_wins(item.get("set")), first_wins(item.get("add")), item.get("remove") or [])


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
        prefix=None if prefix is None else prefix.rstrip("/") or "/",
    )
    return None if rewrite == Rewrite() else rewrite


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
