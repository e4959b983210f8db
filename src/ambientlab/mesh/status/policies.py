"""Status of AuthorizationPolicies (pilot/pkg/model, WaypointPolicyStatus and WorkloadAuthorization)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.targets import Attachment
from ambientlab.mesh.index.ztunnelpolicies import Acceptance
from ambientlab.mesh.status.conditions import Condition, put
from ambientlab.mesh.status.findings import conditions, without_resolved

_WAYPOINT, _ZTUNNEL = "WaypointAccepted", "ZtunnelAccepted"


def policy_status(
    obj: Object,
    acceptance: Acceptance | None,
    attachments: Sequence[Attachment],
    findings: Sequence[Diagnostic],
    now: datetime,
) -> Object:
    """A policy that names targets is for waypoints, any other for ztunnel; a condition that is neither's goes."""
    status = obj.get("status") or {}
    istios = _waypoint(attachments) if attachments else []
    if acceptance is not None:
        istios.append(Condition(_ZTUNNEL, acceptance.accepted, acceptance.reason, acceptance.message))
    stale = {_WAYPOINT, _ZTUNNEL} - {condition.type for condition in istios}
    ours = conditions(findings)
    current = without_resolved(status.get("conditions") or [], ours)
    current = [condition for condition in current if condition.get("type") not in stale]
    return put(status, current, [*istios, *ours], obj["metadata"].get("generation", 1), now)


def _waypoint(attachments: Sequence[Attachment]) -> list[Condition]:
    """One condition for all targets (flattenConditions)."""
    if len(attachments) == 1:
        only = attachments[0]
        return [Condition(_WAYPOINT, only.bound, only.reason, only.message)]
    loose = [str(attachment.target) for attachment in attachments if not attachment.bound]
    bound = len(loose) < len(attachments)
    reason = ("PartiallyInvalid" if loose else "Accepted") if bound else "Invalid"
    return [Condition(_WAYPOINT, bound, reason, f"Invalid targetRefs: {', '.join(loose)}" if loose else "")]
