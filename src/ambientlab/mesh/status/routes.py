"""Status of Gateway API's routes: an entry for each parent (config/kube/gateway/conditions.go, createRouteStatus)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ambientlab.api.kinds import GATEWAY_GROUP
from ambientlab.api.objects import Object
from ambientlab.cluster import GATEWAY_CONTROLLER
from ambientlab.mesh.index.diagnostics import ACCEPTED, ELSEWHERE, RESOLVED_REFS, RESOLVED_WAYPOINTS, Diagnostic
from ambientlab.mesh.status import findings
from ambientlab.mesh.status.conditions import Condition, merge


def route_status(obj: Object, diagnostics: Sequence[Diagnostic], found: Sequence[Diagnostic], now: datetime) -> Object:
    """The status with our entries up to date and those of other controllers as they are. `diagnostics` decide Istio's
    conditions, `found` is what those leave unsaid."""
    metadata, namespace = obj["metadata"], obj["metadata"].get("namespace", "")
    current = (obj.get("status") or {}).get("parents") or []
    ours: dict[str, dict[str, Any]] = {}
    elsewhere = {diagnostic.field for diagnostic in diagnostics if diagnostic.condition == ELSEWHERE}
    for i, ref in enumerate(obj["spec"].get("parentRefs") or []):
        name = _parent_string(ref, namespace)
        field = f"spec.parentRefs[{i}]"
        if name in ours or field in elsewhere:
            continue
        wanted = [*_conditions(field, diagnostics), *findings.conditions(_about(field, found))]
        before: dict[str, Any] = next(
            (p for p in current if _is_ours(p) and _parent_string(p["parentRef"], namespace) == name), {}
        )
        ours[name] = {
            "parentRef": ref,
            "controllerName": GATEWAY_CONTROLLER,
            "conditions": merge(
                findings.without_resolved(before.get("conditions") or [], wanted),
                wanted,
                metadata.get("generation", 1),
                now,
            ),
        }
    parents = []
    for entry in current:
        if not _is_ours(entry):
            parents.append(entry)
        elif (name := _parent_string(entry["parentRef"], namespace)) in ours:
            parents.append(ours.pop(name))
    parents += [ours[name] for name in sorted(ours, reverse=True)]
    return {**(obj.get("status") or {}), "parents": parents}


def _conditions(field: str, diagnostics: Sequence[Diagnostic]) -> list[Condition]:
    accepted = Condition(ACCEPTED, True, ACCEPTED, "Route was valid")
    resolved = Condition(RESOLVED_REFS, True, RESOLVED_REFS, "All references resolved")
    waypoints = Condition(RESOLVED_WAYPOINTS, True, RESOLVED_WAYPOINTS, "All waypoints resolved")
    for diagnostic in diagnostics:
        if diagnostic.condition == RESOLVED_REFS:
            resolved = Condition(RESOLVED_REFS, False, diagnostic.reason, diagnostic.message)
        elif diagnostic.field != field:
            continue
        elif diagnostic.condition == ACCEPTED:
            accepted = Condition(ACCEPTED, False, diagnostic.reason, diagnostic.message)
        elif diagnostic.condition == RESOLVED_WAYPOINTS:
            # Istio leaves it True, and only the message tells
            waypoints = Condition(RESOLVED_WAYPOINTS, True, diagnostic.reason, diagnostic.message)
    return [accepted, resolved, waypoints]


def _about(field: str, found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Without what concerns other parents."""
    others = "spec.parentRefs["
    return [each for each in found if f"{each.field}.".startswith(f"{field}.") or not each.field.startswith(others)]


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("controllerName") == GATEWAY_CONTROLLER)


def _parent_string(ref: Mapping[str, Any], namespace: str) -> str:
    """What tells parents apart, with defaults filled in; it is also what Istio sorts them by."""
    group, kind = ref.get("group", GATEWAY_GROUP), ref.get("kind", "Gateway")
    section, port = ref.get("sectionName") or "", ref.get("port") or 0
    return f"{group}/{kind}/{ref['name']}/{section}/{port}.{ref.get('namespace') or namespace}"
