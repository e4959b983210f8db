"""Routes that lead to nobody, and weights that do not mean what they seem to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from ambientlab.api.kinds import DESTINATIONRULE, GRPCROUTE, HTTPROUTE, TCPROUTE, TLSROUTE, VIRTUALSERVICE
from ambientlab.mesh.analysis import codes, cures
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.explain import remedies, rules, words
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.ir import Destination, Forward, Key, Resolution, Service

_GATEWAY_API = (HTTPROUTE, GRPCROUTE, TCPROUTE, TLSROUTE)
_OF_VIRTUAL_SERVICE = ("http", "tls", "tcp")
_LIKE_PERCENT = range(60, 151)
"""Sums of numbers that look like percent; one of them has two digits."""


def nobody(index: MeshIndex) -> Iterator[Finding]:
    """Destinations of routes in force that nobody is behind."""
    led_to: dict[tuple[Destination, Key | None], None] = {}
    for (host, _), table in sorted(index.mesh.routes.items()):
        for route in table.routes:
            if isinstance(route.action, Forward):
                items = [item for item in route.action.destinations if item.found and item.weight]
                led_to |= {(item.destination, index.mesh.services[host].waypoint): None for item in items}
    for (host, _), connections in sorted(index.mesh.tcp_routes.items()):
        items = [item for item in connections.destinations if item.found and item.weight]
        led_to |= {(item.destination, index.mesh.services[host].waypoint): None for item in items}
    for destination, waypoint in led_to:
        yield from _empty(index, index.mesh.services[destination.host], destination.subset, waypoint)


def _empty(index: MeshIndex, service: Service, name: str, waypoint: Key | None) -> Iterator[Finding]:
    if not service.endpoints:
        if service.resolution is Resolution.STATIC:
            ref = ObjectRef(service.kind, *service.key)
            message = "a route leads to it, and it has no ready endpoint: requests are answered 503"
            yield Finding(codes.NO_ENDPOINTS, ref, message, "", (remedies.pods_of(service),))
        return
    subset = service.subset(name)
    if subset is None or not (message := rules.emptiness(service, subset)):
        return
    for rule in rules.deciding(index, service, waypoint):
        for number, (named, _) in enumerate(rule.subsets):
            if named == subset:
                ref = ObjectRef(DESTINATIONRULE.kind, *rule.key)
                cure = remedies.fill(service, subset)
                yield Finding(codes.NO_ENDPOINTS, ref, message, f"spec.subsets[{number}]", (cure,))


def weights(index: MeshIndex) -> Iterator[Finding]:
    for resource in _GATEWAY_API:
        for key, obj in sorted(index.sources[resource].items()):
            for i, rule in enumerate(obj["spec"].get("rules") or ()):
                yield from _weights(ObjectRef(resource.kind, *key), f"spec.rules[{i}].backendRefs", rule, "backendRefs")
    for key, obj in sorted(index.sources[VIRTUALSERVICE].items()):
        for part in _OF_VIRTUAL_SERVICE:
            for i, rule in enumerate(obj["spec"].get(part) or ()):
                yield from _weights(ObjectRef(VIRTUALSERVICE.kind, *key), f"spec.{part}[{i}].route", rule, "route")


def _weights(ref: ObjectRef, field: str, rule: Mapping[str, Any], name: str) -> Iterator[Finding]:
    found = [item.get("weight") for item in rule.get(name) or ()]
    if (message := odd([weight for weight in found if weight is not None])) and None not in found:
        yield Finding(codes.ODD_WEIGHTS, ref, message, field, (cures.edit(ref, field),))


def odd(found: Sequence[int]) -> str:
    """What weights mean that seem to be percent, "" for those that are, and for what are plainly shares."""
    total = sum(found)
    if len(found) == 1:
        return f"weight {total} of an only destination: all requests go there" if total not in (0, 1, 100) else ""
    positive = [weight for weight in found if weight]
    if total == 100 or total not in _LIKE_PERCENT or max(positive) < 10 or len(set(positive)) == 1:
        return ""
    shares = ", ".join(words.percent(Fraction(weight, total)) for weight in found)
    return f"{' + '.join(map(str, found))} is {total}, not 100: the shares are {shares}"
