"""Status of Services and ServiceEntries: the waypoint their labels ask for (pilot/pkg/model, ServiceInfo)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import WAYPOINT_BOUND, Diagnostic
from ambientlab.mesh.index.waypoints import INGRESS_USE_WAYPOINT, Binding
from ambientlab.mesh.status.conditions import Condition, put
from ambientlab.mesh.status.findings import said


def service_status(obj: Object, binding: Binding, findings: Sequence[Diagnostic], now: datetime) -> Object:
    """With what Istio leaves unsaid."""
    return said(_bound(obj, binding, now), findings, obj["metadata"].get("generation"), now)


def _bound(obj: Object, binding: Binding, now: datetime) -> Object:
    """A service that asks for no waypoint has no such condition."""
    status = obj.get("status") or {}
    current = status.get("conditions") or []
    if binding.waypoint is not None:
        message = f"Successfully attached to waypoint {binding.waypoint}"
        if binding.ingress:
            message += ". Ingress traffic will traverse the waypoint"
        elif binding.ingress is not None:
            message += (
                f". Ingress traffic is not using the waypoint, set the {INGRESS_USE_WAYPOINT} label to true if desired."
            )
        if binding.reason:
            message += f". Canary waypoint not attached: {binding.message}"
        wanted = [Condition(WAYPOINT_BOUND, True, "WaypointAccepted", message)]
    elif binding.reason:
        wanted = [Condition(WAYPOINT_BOUND, False, binding.reason, binding.message)]
    else:
        wanted = []
        current = [condition for condition in current if condition.get("type") != WAYPOINT_BOUND]
    return put(status, current, wanted, None, now)
