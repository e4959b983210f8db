"""What Istio leaves unsaid of an object, as conditions of our own: nothing a user writes is passed over in silence.

Two types keep apart whose doing it is. `ambientlab.io/Unsupported`: Istio honours it and this mesh does not.
`ambientlab.io/Finding`: so it is on a cluster with Istio too. Both are True while there is something to say, and gone
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import FINDING, SEVERAL, UNSUPPORTED, Diagnostic
from ambientlab.mesh.status.conditions import Condition, put

UNSUPPORTED_CONDITION = "ambientlab.io/Unsupported"
MAX_MESSAGE = 32768
"""Characters a condition's message may have (metav1.Condition)."""


def conditions(findings: Sequence[Diagnostic]) -> list[Condition]:
    """`findings` are statements about one object, none of which decides a condition of Istio's."""
    ours = [finding for finding in findings if finding.reason == UNSUPPORTED]
    others = [finding for finding in findings if finding.reason != UNSUPPORTED]
    return [_condition(type_, some) for type_, some in ((UNSUPPORTED_CONDITION, ours), (FINDING, others)) if some]


def _condition(type_: str, findings: Sequence[Diagnostic]) -> Condition:
    reasons = {finding.reason for finding in findings}
    message = "; ".join(dict.fromkeys(finding.text for finding in findings))
    if len(message) > MAX_MESSAGE:
        message = f"{message[: MAX_MESSAGE - 3]}..."
    return Condition(type_, True, reasons.pop() if len(reasons) == 1 else SEVERAL, message)


def without_resolved(current: Iterable[dict[str, Any]], wanted: Sequence[Condition]) -> list[dict[str, Any]]:
    """`current` without conditions of our types that nothing wants any more."""
    resolved = {UNSUPPORTED_CONDITION, FINDING} - {condition.type for condition in wanted}
    return [condition for condition in current if condition.get("type") not in resolved]


def networking_status(obj: Object, findings: Sequence[Diagnostic], now: datetime) -> Object:
    """Status of an object of Istio's APIs about which Istio itself says nothing."""
    return said(obj.get("status") or {}, findings, obj["metadata"].get("generation", 1), now)


def said(status: Object, findings: Sequence[Diagnostic], generation: int | None, now: datetime) -> Object:
    """`status` with what there is to say, and without what there was."""
    wanted = conditions(findings)
    current = without_resolved(status.get("conditions") or [], wanted)
    return put(status, current, wanted, generation, now)
