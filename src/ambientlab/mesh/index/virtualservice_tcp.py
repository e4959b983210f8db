"""The TCP and TLS rules of VirtualServices (pilot/pkg/networking/core/listener_waypoint.go, getWaypointTCPRoutes)."""

from __future__ import annotations

from typing import Any, Literal

from ambientlab.mesh.index.delegates import Json
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored
from ambientlab.mesh.index.drafts import TcpDraft
from ambientlab.mesh.index.values import host_of
from ambientlab.mesh.ir import Destination, WeightedDestination


def drafts(
    ref: ObjectRef, spec: Json, kind: Literal["tls", "tcp"], domain: str, notes: list[Diagnostic]
) -> tuple[TcpDraft, ...]:
    """The rules of `spec.tls` or `spec.tcp` that can hold at a waypoint."""
    result = []
    for i, rule in enumerate(spec.get(kind) or []):
        field = f"spec.{kind}[{i}]"
        matches = [
            (match.get("port") or 0, tuple(match.get("sniHosts") or ()) if kind == "tls" else None)
            for j, match in enumerate(rule.get("match") or [])
            if _concerns_waypoints(ref, f"{field}.match[{j}]", match, notes)
        ]
        shares = _shares(rule.get("route") or [], ref.namespace, domain)
        if shares and (matches or not rule.get("match")):
            result.append(TcpDraft(field, shares, tuple(matches)))
    return tuple(result)


def _concerns_waypoints(ref: ObjectRef, field: str, match: Json, notes: list[Diagnostic]) -> bool:
    if match.get("gateways") and "mesh" not in match["gateways"]:
        notes.append(ignored(ref, f"{field}.gateways", "the match is not for the gateway `mesh`"))
        return False
    return not (match.get("sourceLabels") or match.get("sourceNamespace"))


def _shares(routes: list[dict[str, Any]], namespace: str, domain: str) -> tuple[WeightedDestination, ...]:
    """The weight of an only destination says nothing."""
    return tuple(
        WeightedDestination(max(item.get("weight") or 0, 1), _target(item["destination"], namespace, domain))
        for item in routes
        if len(routes) == 1 or item.get("weight")
    )


def _target(item: Json, namespace: str, domain: str) -> Destination:
    host = host_of(item.get("host", ""), namespace, domain)
    return Destination(host, (item.get("port") or {}).get("number") or 0, item.get("subset") or "")
