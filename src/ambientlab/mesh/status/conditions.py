"""metav1.Condition: bringing a list of them up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object, timestamp


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: bool
    reason: str
    message: str


def put(
    status: Object,
    current: Iterable[dict[str, Any]],
    wanted: Sequence[Condition],
    generation: int | None,
    now: datetime,
) -> Object:
    """`status` with `current` and `wanted` merged; a list that is empty goes."""
    rest = {name: value for name, value in status.items() if name != "conditions"}
    merged = merge(current, wanted, generation, now)
    return {**rest, "conditions": merged} if merged else rest


def merge(
    current: Iterable[dict[str, Any]], wanted: Sequence[Condition], generation: int | None, now: datetime
) -> list[dict[str, Any]]:
    """`wanted` in the places they had, new ones at the end by type, others' conditions as they were.

    The time of the last transition is kept while the status stays the same. `generation` is None for objects that have
    none. Istio's CRDs ask for no field of a condition, so that any may be missing.
    """
    result = [dict(condition) for condition in current]
    places = {condition.get("type"): i for i, condition in enumerate(result)}
    for condition in sorted(wanted, key=lambda c: c.type):
        place = places.get(condition.type)
        old = {} if place is None else result[place]
        status = "True" if condition.status else "False"
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        new: dict[str, Any] = {
            "type": condition.type,
            "status": status,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": since or timestamp(now),
        }
        if generation is not None:
            new["observedGeneration"] = generation
        if place is None:
            result.append(new)
        else:
            result[place] = new
    return result
