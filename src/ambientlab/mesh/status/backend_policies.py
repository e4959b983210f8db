"""Status of BackendTLSPolicies: an entry for each backend (config/kube/gateway/backend_policies.go, mergeAncestors)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.cluster import MESH_CONTROLLER
from ambientlab.mesh.index.backendtls import Target
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.status import findings
from ambientlab.mesh.status.conditions import Condition, merge

_MAX_ANCESTORS = 16
_REFERENCE = ("group", "kind", "name", "sectionName")


def backend_policy_status(obj: Object, targets: Sequence[Target], found: Sequence[Diagnostic], now: datetime) -> Object:
    """The status with our entries up to date and those of other controllers as they are."""
    current = (obj.get("status") or {}).get("ancestors") or []
    ours: list[dict[str, Any]] = []
    for i, (ref, target) in enumerate(zip(obj["spec"]["targetRefs"], targets, strict=True)):
        reference = {name: ref[name] for name in _REFERENCE if name in ref}
        field = f"spec.targetRefs[{i}]"
        about = [each for each in found if each.field == field or not each.field.startswith("spec.targetRefs[")]
        wanted = [*(Condition(*verdict) for verdict in target.conditions), *findings.conditions(about)]
        before: dict[str, Any] = next((a for a in current if _is_ours(a) and a["ancestorRef"] == reference), {})
        conditions = merge(
            findings.without_resolved(before.get("conditions") or [], wanted),
            wanted,
            obj["metadata"].get("generation", 1),
            now,
        )
        ours.append({"ancestorRef": reference, "controllerName": MESH_CONTROLLER, "conditions": conditions})
    ancestors = []
    for entry in current:
        replacement = next((a for a in ours if a["ancestorRef"] == entry["ancestorRef"]), None)
        if not _is_ours(entry):
            ancestors.append(entry)
        elif replacement is not None:
            ours.remove(replacement)
            ancestors.append(replacement)
    return {**(obj.get("status") or {}), "ancestors": [*ancestors, *ours][:_MAX_ANCESTORS]}


def _is_ours(entry: dict[str, Any]) -> bool:
    return bool(entry.get("controllerName") == MESH_CONTROLLER)
