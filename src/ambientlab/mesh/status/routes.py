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
from ambientlab.mesh.status.conditions import Condition
from ambientlab.mesh.status.entries import Entry, updated


def route_status(obj: Object, diagnostics: Sequence[Diagnostic], found: Sequence[Diagnostic], now: datetime) -> Object:
    """The status with our entries up to date and those of other controllers as they are. `diagnostics` decide Istio's
    conditions, `found` is what those leave unsaid."""
    namespace: str = obj["metadata"].get("namespace", "")

    def name(entry: Entry) -> str:
        return _parent_string(entry["parentRef"], namespace)

    wanted: dict[str, tuple[Entry, list[Condition]]] = {}
    elsewhere = {diagnostic.field for diagnostic in diagnostics if diagnostic.condition == ELSEWHERE}
    for i, ref in enumerate(obj["spec"].get("parentRefs") or []):
        field, entry = f"spec.parentRefs[{i}]", {"parentRef": ref}
        if field not in elsewhere and name(entry) not in wanted:
            wanted[name(entry)] = (
                entry,
                [*_conditions(field, diagnostics), *findings.conditions(_about(field, found))],
            )
    status = obj.get("status") or {}
    last_first = dict(sorted(wanted.items(), reverse=True))
    generation = obj["metadata"].get("generation", 1)
    parents = updated(status.get("parents") or [], last_first, GATEWAY_CONTROLLER, name, generation, now)
    return {**status, "parents": parents}


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


def _parent_string(ref: Mapping[str, Any], namespace: str) -> str:
    """What tells parents apart, with defaults filled in; it is also what Istio sorts them by."""
    group, kind = ref.get("group", GATEWAY_GROUP), ref.get("kind", "Gateway")
    section, port = ref.get("sectionName") or "", ref.get("port") or 0
    return f"{group}/{kind}/{ref['name']}/{section}/{port}.{ref.get('namespace') or namespace}"
