"""What the routes of Gateway API have in common, as Istio reads those whose parents are Services
(pilot/pkg/config/kube/gateway: conversion.go, route_collections.go).

Whether a backend exists is part of the reading, because it decides the status of the route; the share of a backend that
does not stays in the split. For mesh parents Istio does not ask for a ReferenceGrant, and so neither do we: a reference
that would need one elsewhere is only a finding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ambientlab import re2
from ambientlab.api import objects
from ambientlab.api.kinds import GATEWAY_GROUP, ISTIO_NETWORKING
from ambientlab.api.objects import Object
from ambientlab.cluster import GATEWAY_CONTROLLER, MESH_CONTROLLER
from ambientlab.mesh.index.diagnostics import (
    ACCEPTED,
    ELSEWHERE,
    RESOLVED_REFS,
    RESOLVED_WAYPOINTS,
    Diagnostic,
    ObjectRef,
)
from ambientlab.mesh.index.drafts import Draft, Reading, RouteSet, header_change
from ambientlab.mesh.index.values import service_host
from ambientlab.mesh.index.waypoints import USE_WAYPOINT, asked_for
from ambientlab.mesh.ir import Destination, HeaderChange, Key, Mirror, Route, StringMatch, WeightedDestination

MISSING_LABEL = (
    "istio.io/use-waypoint label missing from parent and parent namespace; in ambient mode, route will not be respected"
)
NO_PARENT = "parent not found"
TO_A_WAYPOINT = "NotAllowedByListeners"
"""Of a parent that is one, which takes routes by the services that use it alone."""


class RouteError(Exception):
    """A reference that cannot be followed. `hard` voids the whole route; otherwise only what refers is void.
    `destination` is what it refers to, if that can be said."""

    def __init__(
        self, reason: str, message: str, *, hard: bool = False, destination: Destination | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hard = hard
        self.destination = destination


def _not_found(destination: Destination) -> RouteError:
    return RouteError("BackendNotFound", f"backend({destination.host}) not found", destination=destination)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a route's reading depends on. Each answer is a dependency. `controller` tells who runs a Gateway."""

    service: Callable[[Key], Object | None]
    service_entry: Callable[[Key], Object | None]
    known: Callable[[str], bool]
    namespace_labels: Callable[[str], Mapping[str, str]]
    controller: Callable[[Key], str | None]
    granted: Callable[[ObjectRef, Key], bool]
    domain: str

    def host(self, key: Key) -> str:
        return service_host(key, self.domain)


Read = Callable[[Key, Object, Surroundings], Reading]


@dataclass(frozen=True, slots=True)
class Parent:
    """A host that a route is for, or one port of it; `field` is where the route says so."""

    field: str
    host: str
    port: int


class RouteReader(ABC):
    """Reads one route; a subclass knows the rules of its kind."""

    kind: ClassVar[str]

    def __init__(self, key: Key, obj: Object, around: Surroundings) -> None:
        self.key = key
        self.spec: dict[str, Any] = obj["spec"]
        self.created: str = obj["metadata"].get("creationTimestamp", "")
        self.around = around
        self.ref = ObjectRef(self.kind, key.namespace, key.name)
        self.notes: list[Diagnostic] = []
        self.errors: list[tuple[str, RouteError]] = []

    @abstractmethod
    def sets(self, parents: list[Parent]) -> tuple[RouteSet, ...]:
        """What the route asks for. Raises a hard RouteError where the whole object is void."""

    def read(self) -> Reading:
        parents = self._parents()
        sets: tuple[RouteSet, ...] = ()
        try:
            sets = self.sets(parents)
        except RouteError as error:
            self.errors = [("spec.rules", error)]
        # Istio reports one error, the last it met
        for n, (field, met) in enumerate(self.errors, 1):
            condition = RESOLVED_REFS if n == len(self.errors) else ""
            self.notes.append(
                Diagnostic(self.ref, met.reason, met.message, condition, field, destination=met.destination)
            )
        return Reading(sets, tuple(self.notes))

    def _parents(self) -> list[Parent]:
        """Each host of each parent that exists."""
        found: dict[tuple[str, int], str] = {}
        for i, ref in enumerate(self.spec.get("parentRefs") or []):
            field = f"spec.parentRefs[{i}]"
            group, kind = ref.get("group", GATEWAY_GROUP), ref.get("kind", "Gateway")
            parent = Key(ref.get("namespace") or self.key.namespace, ref["name"])
            if (group, kind) == (GATEWAY_GROUP, "Gateway") and self.around.controller(parent) == MESH_CONTROLLER:
                # listeners of HBONE allow no kind of route (gatewaycommon, GenerateGatewaySupportedKinds)
                message = f"kind {GATEWAY_GROUP}/v1/{self.kind} is not allowed"
                self.notes.append(Diagnostic(self.ref, TO_A_WAYPOINT, message, ACCEPTED, field))
                continue
            if (group, kind) not in (("", "Service"), (ISTIO_NETWORKING, "ServiceEntry")):
                message = (
                    f'ambientlab serves routes in waypoints, whose parentRefs have group "" and kind Service, or '
                    f"are ServiceEntries; a {kind} carries none here"
                )
                self.notes.append(Diagnostic(self.ref, "UnsupportedValue", message, ACCEPTED, field))
                continue
            declaring = self.around.service(parent) if kind == "Service" else self.around.service_entry(parent)
            if declaring is None:
                what = "service" if kind == "Service" else "service entry"
                message = f'parent {what}: "{parent.name}" not found'
                self.notes.append(Diagnostic(self.ref, "NoMatchingParent", message, ACCEPTED, field))
                self.notes.append(Diagnostic(self.ref, "ResolvedWaypoints", NO_PARENT, RESOLVED_WAYPOINTS, field))
                continue
            labels = (objects.labels_of(declaring), self.around.namespace_labels(parent.namespace))
            if (other := self._other_controller(parent.namespace, labels)) is not None:
                message = f"the waypoint is for {other} to configure"
                self.notes.append(Diagnostic(self.ref, "OtherController", message, ELSEWHERE, field))
                continue
            if not any(label.get(USE_WAYPOINT, "none").lower() not in ("", "none") for label in labels):
                self.notes.append(Diagnostic(self.ref, "ResolvedWaypoints", MISSING_LABEL, RESOLVED_WAYPOINTS, field))
            for host in [self.around.host(parent)] if kind == "Service" else declaring["spec"]["hosts"]:
                found.setdefault((host, ref.get("port") or 0), field)
        return [Parent(field, host, port) for (host, port), field in found.items()]

    def _other_controller(self, namespace: str, labels: Sequence[Mapping[str, str]]) -> str | None:
        """Whose the waypoint is that the first of these labels ask for, unless it is ours
        (waypointManagedByAnotherController)."""
        asked = next((asked for each in labels if (asked := asked_for(each, namespace)) is not None), None)
        controller = self.around.controller(asked) if isinstance(asked, Key) else None
        return controller if controller not in (None, MESH_CONTROLLER, GATEWAY_CONTROLLER) else None

    def destinations(
        self, field: str, refs: Sequence[Mapping[str, Any]], mirror_error: RouteError | None = None
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
                found, destination = False, error.destination or Destination("", 0)
            request, response, authority = self._backend_filters(ref)
            result.append(WeightedDestination(weight, destination, found, request, response, authority))
        if mirror_error is not None and errors:
            where, last = errors[-1]
            both = f"{last.message}; {mirror_error.message}"
            errors[-1] = (where, RouteError(last.reason, both, destination=last.destination))
        elif mirror_error is not None:
            errors.append((f"{field}.filters", mirror_error))
        self.errors += errors
        return tuple(result)

    def _backend(self, field: str, ref: Mapping[str, Any]) -> Destination:
        group, kind, name = ref.get("group", ""), ref.get("kind", "Service"), ref["name"]
        if (group, kind) == (ISTIO_NETWORKING, "Hostname"):
            return self._hostname(ref)
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
            raise _not_found(Destination(self.around.host(key), ref["port"]))
        if key.namespace != self.key.namespace and not self.around.granted(self.ref, key):
            self.notes.append(
                Diagnostic(
                    self.ref,
                    "ReferenceGrantMissing",
                    f"no ReferenceGrant in {key.namespace} lets {self.kind}s of {self.key.namespace} refer to Service "
                    f"{key.name}; Istio does not require one in a mesh, other implementations do",
                    field=field,
                )
            )
        return Destination(self.around.host(key), ref["port"])

    def _hostname(self, ref: Mapping[str, Any]) -> Destination:
        """Any host of the registry by its name (conversion.go, buildDestination)."""
        host = ref["name"]
        if ref.get("namespace"):
            raise RouteError("InvalidDestination", "namespace may not be set with Hostname type", hard=True)
        if not ref.get("port"):
            raise RouteError("InvalidDestination", "port is required in backendRef", hard=True)
        if not self.around.known(host):
            raise _not_found(Destination(host, ref["port"]))
        return Destination(host, ref["port"])

    def _backend_filters(self, ref: Mapping[str, Any]) -> tuple[HeaderChange, HeaderChange, str]:
        """Changes of requests and of responses, and the authority that the former ask for."""
        request = response = HeaderChange()
        authority = ""
        for item in ref.get("filters") or []:
            match item["type"]:
                case "RequestHeaderModifier":
                    request, authority = modifier(item.get("requestHeaderModifier"))
                case "ResponseHeaderModifier":
                    response, _ = modifier(item.get("responseHeaderModifier"))
                case other:
                    raise RouteError("InvalidFilter", f'unsupported filter type "{other}"', hard=True)
        return request, response, authority

    def mirror(self, field: str, item: Mapping[str, Any]) -> Mirror:
        """Of 0 parts where a percentage says so: it is left out, not one of everything."""
        destination = self._backend(field, item["backendRef"])
        parts = 1_000_000
        if fraction := item.get("fraction"):
            parts = fraction["numerator"] * 1_000_000 // fraction.get("denominator", 100)
        elif item.get("percent") is not None:
            parts = item["percent"] * 10_000
        return Mirror(destination, parts)


class RequestRouteReader(RouteReader):
    """Of a kind whose rules are about requests."""

    @abstractmethod
    def rule(self, field: str, name: str, rule: Mapping[str, Any]) -> list[Draft]:
        """The routes of one rule, one for each match. Raises a hard RouteError where the whole object is void."""

    def sets(self, parents: list[Parent]) -> tuple[RouteSet, ...]:
        drafts: list[Draft] = []
        for i, rule in enumerate(self.spec.get("rules") or []):
            name = rule.get("name") or f"{self.key.namespace}.{self.key.name}.{i}"
            drafts += self._usable(f"spec.rules[{i}]", self.rule(f"spec.rules[{i}]", name, rule))
        drafts.sort(key=lambda draft: precedence(draft.route))
        return tuple(
            RouteSet(
                self.ref,
                self.created,
                (parent.host,),
                (),
                True,
                parent.port,
                tuple(Draft(d.route, parent.port) for d in drafts),
                parent.field,
            )
            for parent in parents
            if drafts
        )

    def _usable(self, field: str, drafts: list[Draft]) -> list[Draft]:
        """Without the matches Envoy would refuse, and with them all that the waypoint is to serve."""
        usable = []
        for i, draft in enumerate(drafts):
            match = draft.route.match
            conditions = [match.path, *(value for _, value in (*match.headers, *match.query))]
            try:
                for condition in conditions:
                    if condition is not None and condition.kind == "regex":
                        re2.check(condition.value)
            except re2.ExpressionError as error:
                message = f"no request matches an expression that RE2 refuses: {error}; Istio's waypoint would refuse "
                where = f"{field}.matches[{i}]"
                self.notes.append(Diagnostic(self.ref, "InvalidExpression", message + "all its routes", field=where))
            else:
                usable.append(draft)
        return usable


def precedence(route: Route) -> tuple[int, int, bool, int, int]:
    """Sorts the most specific match first: exact, then prefix, then regular-expression paths, then those of any path;
    longer before shorter; then a method, then more headers, then more query parameters (HTTPRouteRule.matches). Ties
    keep their order."""
    match = route.match
    path = match.path or StringMatch("present")
    rank = {"exact": 3, "path-prefix": 2, "prefix": 2, "regex": 1}.get(path.kind, 0)
    return (-rank, -len(path.value), match.method is None, -len(match.headers), -len(match.query))


def named_matches(items: list[Mapping[str, Any]] | None, *, lower: bool) -> tuple[tuple[str, StringMatch], ...]:
    """Names that differ in case only are one name to the proxy, and all their conditions must hold: Istio does not pass
    over the later ones, as the specification would have it."""
    found = [
        (
            item["name"].lower() if lower else item["name"],
            StringMatch("regex" if item.get("type") == "RegularExpression" else "exact", item["value"]),
        )
        for item in items or []
    ]
    return tuple(sorted(found, key=lambda named: named[0]))


def modifier(item: Mapping[str, Any] | None) -> tuple[HeaderChange, str]:
    """The change, and the authority it asks for. A value no header can have voids the route (isValidHeaderValue)."""
    item = item or {}
    for header in [*(item.get("set") or ()), *(item.get("add") or ())]:
        if any((c < " " and c != "\t") or c == "\x7f" for c in header["value"]):
            name = header["name"]
            raise RouteError("InvalidFilter", f'header "{name}" value contains invalid characters', hard=True)

    def first_wins(entries: list[Mapping[str, str]] | None) -> dict[str, str]:
        headers: dict[str, str] = {}
        for entry in entries or []:
            headers.setdefault(entry["name"].lower(), entry["value"])
        return headers

    return header_change(first_wins(item.get("set")), first_wins(item.get("add")), item.get("remove") or [])
