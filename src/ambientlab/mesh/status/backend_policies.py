"""Status of BackendTLSPolicies: an entry for each backend (config/kube/gateway/backend_policies.go, mergeAncestors)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ambientlab.api.objects import Object
from ambientlab.cluster import MESH_CONTROLLER
from ambientlab.mesh.index.backendtls import Target
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.status.conditions import Condition
from ambientlab.mesh.status.entries import Entry, updated
from ambientlab.mesh.status.findings import conditions

_MAX_ANCESTORS = 16
_REFERENCE = ("group", "kind", "name", "sectionName")


def backend_policy_status(obj: Object, targets: Sequence[Target], found: Sequence[Diagnostic], now: datetime) -> Object:
    """The status with our entries up to date and those of other controllers as they are."""
    wanted: dict[str, tuple[Entry, list[Condition]]] = {}
    for i, (ref, target) in enumerate(zip(obj["spec"]["targetRefs"], targets, strict=True)):
        field = f"spec.targetRefs[{i}]"
        about = [each for each in found if each.field == field or not each.field.startswith("spec.targetRefs[")]
        entry = {"ancestorRef": {name: ref[name] for name in _REFERENCE if name in ref}}
        wanted[_name(entry)] = entry, [*(Condition(*verdict) for verdict in target.conditions), *conditions(about)]
    status = obj.get("status") or {}
    generation = obj["metadata"].get("generation", 1)
    ancestors = updated(status.get("ancestors") or [], wanted, MESH_CONTROLLER, _name, generation, now)
    return {**status, "ancestors": ancestors[:_MAX_ANCESTORS]}


def _name(entry: Entry) -> str:
    return "/".join(entry["ancestorRef"].get(name, "") for name in _REFERENCE)
