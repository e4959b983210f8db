"""What Istio says itself of objects, in their status (pkg/config/analysis/analyzers/conditions)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    GATEWAY,
    GRPCROUTE,
    HTTPROUTE,
    SERVICE,
    SERVICEENTRY,
    WORKLOADENTRY,
)
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import Item, items
from ambientlab.mesh.index import MeshIndex

_BOUND = ("istio.io/WaypointBound",)
_ROUTE = ("Accepted", "Programmed", "ResolvedRefs")
_NEGATIVE = {
    SERVICE: _BOUND,
    SERVICEENTRY: _BOUND,
    WORKLOADENTRY: _BOUND,
    AUTHORIZATIONPOLICY: ("ZtunnelAccepted", "WaypointAccepted"),
    GATEWAY: _ROUTE,
    HTTPROUTE: _ROUTE,
    GRPCROUTE: _ROUTE,
}
"""The conditions that say of a kind, by being False, that something is wrong."""


def analyse(index: MeshIndex) -> Iterator[Finding]:
    for resource, types in _NEGATIVE.items():
        for item in items(index, resource):
            for condition in _conditions(item):
                kind, reason = condition.get("type", ""), condition.get("reason", "")
                partly = (kind, reason) == ("WaypointAccepted", "PartiallyInvalid")
                if partly or (kind in types and condition.get("status") == "False"):
                    about = (kind, reason, condition.get("message", ""))
                    yield codes.NEGATIVE_CONDITION(item.ref, *about, field="status.conditions")


def _conditions(item: Item) -> Iterator[Mapping[str, Any]]:
    """Istio's CRDs have no schema of `parents`, so that anything may be there."""
    status = item.obj.get("status") or {}
    parents = status.get("parents")
    for holder in (status, *(parents if isinstance(parents, list) else ())):
        found = holder.get("conditions") if isinstance(holder, dict) else None
        yield from (one for one in (found if isinstance(found, list) else ()) if isinstance(one, dict))
