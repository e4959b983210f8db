"""What Istio says itself of objects, in their status (pkg/config/analysis/analyzers/conditions)."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    GATEWAY,
    GRPCROUTE,
    HTTPROUTE,
    SERVICE,
    SERVICEENTRY,
    WORKLOADENTRY,
)
from ambientlab.api.objects import conditions_of
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import items
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
            for condition in conditions_of(item.obj):
                kind, reason = condition.get("type", ""), condition.get("reason", "")
                partly = (kind, reason) == ("WaypointAccepted", "PartiallyInvalid")
                if partly or (kind in types and condition.get("status") == "False"):
                    about = (kind, reason, condition.get("message", ""))
                    yield codes.NEGATIVE_CONDITION(item.ref, *about, field="status.conditions")
