"""Status conditions of the apps kinds: a list with one entry per type."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ambientlab.api.objects import timestamp

Condition = dict[str, Any]


def find(conditions: list[Condition], type_: str) -> Condition | None:
    return next((one for one in conditions if one["type"] == type_), None)


def without(conditions: list[Condition], type_: str) -> list[Condition]:
    return [one for one in conditions if one["type"] != type_]


def condition(type_: str, status: str, reason: str, message: str, now: datetime, *, updates: bool = False) -> Condition:
    """`updates` adds lastUpdateTime, which only Deployment conditions have."""
    moment = timestamp(now)
    return {
        "type": type_,
        "status": status,
        **({"lastUpdateTime": moment} if updates else {}),
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def put(conditions: list[Condition], new: Condition) -> list[Condition]:
    """With `new` in place of the condition of its type. The same status and reason change nothing; the same status
    keeps the time of its transition."""
    old = find(conditions, new["type"])
    if old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"]):
        return conditions
    if old is not None and old["status"] == new["status"]:
        new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
    return [*without(conditions, new["type"]), new]
