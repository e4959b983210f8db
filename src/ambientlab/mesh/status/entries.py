"""Statuses that every controller has entries of its own in: the parents of a route, the ancestors of a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ambientlab.mesh.status.conditions import Condition, merge
from ambientlab.mesh.status.findings import without_resolved

Entry = dict[str, Any]


def updated(
    current: Sequence[Entry],
    wanted: Mapping[str, tuple[Entry, Sequence[Condition]]],
    controller: str,
    name_of: Callable[[Entry], str],
    generation: int,
    now: datetime,
) -> list[Entry]:
    """`current` with the entries of `controller` as `wanted` by their names: in the places they had, new ones at the
    end in the order given. Those of others stay as they are."""

    def is_ours(entry: Entry) -> bool:
        return bool(entry.get("controllerName") == controller)

    before = {name_of(entry): entry for entry in reversed(current) if is_ours(entry)}
    ours: dict[str, Entry] = {}
    for name, (entry, conditions) in wanted.items():
        kept = without_resolved(before.get(name, {}).get("conditions") or [], conditions)
        ours[name] = {**entry, "controllerName": controller, "conditions": merge(kept, conditions, generation, now)}
    result = []
    for entry in current:
        if not is_ours(entry):
            result.append(entry)
        elif (name := name_of(entry)) in ours:
            result.append(ours.pop(name))
    return [*result, *ours.values()]
