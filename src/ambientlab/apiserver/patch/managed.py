"""managedFields: which manager owns which fields, kept for every kind of write.

kubernetes.io/docs/reference/using-api/server-side-apply; the arithmetic is structured-merge-diff's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ambientlab.api.objects import Object
from ambientlab.api.schema import Node
from ambientlab.apiserver.patch import fields
from ambientlab.apiserver.patch.fields import Fields, Path

Operation = Literal["Apply", "Update"]


@dataclass(frozen=True, slots=True, order=True)
class Manager:
    """What identifies an entry of managedFields."""

    operation: Operation
    name: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As a conflict names it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


@dataclass(frozen=True, slots=True)
class Owned:
    fields: Fields
    time: str


Managers = Mapping[Manager, Owned]


@dataclass(frozen=True, slots=True)
class Conflict:
    manager: Manager
    path: Path


def read(obj: Object) -> dict[Manager, Owned]:
    """The managers of an object; an entry we cannot read is dropped, as are all by `managedFields: [{}]`."""
    found = {}
    for entry in obj["metadata"].get("managedFields") or ():
        try:
            owned = Owned(fields.decode(entry["fieldsV1"]), entry.get("time", ""))
            operation: Operation = "Apply" if entry["operation"] == "Apply" else "Update"
            manager = Manager(operation, entry.get("manager", ""), entry["apiVersion"], entry.get("subresource", ""))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        found[manager] = owned
    return found


def given(obj: Object, old: Object) -> dict[Manager, Owned]:
    """The managers that an update starts from: a client may write them, and clears them with a list of one empty entry;
    what is empty or cannot be read is as if it were not there (k8s.io/apimachinery,
    pkg/util/managedfields/internal/fieldmanager.go, decodeLiveOrNew)."""
    if obj["metadata"].get("managedFields") == [{}]:
        return {}
    return read(obj) or read(old)


def write(obj: Object, managers: Managers) -> None:
    """Set `obj`'s managedFields, in Kubernetes' order: appliers first, then by time."""
    entries: list[dict[str, Any]] = []
    for manager, owned in sorted(managers.items(), key=lambda item: (item[0].operation, item[1].time, item[0])):
        entry: dict[str, Any] = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": owned.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.encode(owned.fields),
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def update(
    old: Object | None, new: Object, node: Node, managers: Managers, manager: Manager, now: str
) -> dict[Manager, Owned]:
    """The managers after `manager` changed `old` to `new` by create, update or patch: it takes what it changed."""
    if old is None:
        owned = fields.every(new, node)
        return {**managers, manager: Owned(owned, now)} if owned else dict(managers)
    changed, removed = fields.compare(old, new, node)
    result = _without(managers, changed, removed, keep=manager)
    before = result.pop(manager, None)
    mine = ((before.fields if before else frozenset()) - removed) | changed
    if mine:
        touched = before is None or mine != before.fields or bool(changed)
        result[manager] = Owned(mine, now if touched or before is None else before.time)
    return result


def conflicts(managers: Managers, manager: Manager, changed: Fields) -> list[Conflict]:
    """Fields others own that `manager` is about to give another value."""
    return [
        Conflict(other, path)
        for other, owned in sorted(managers.items())
        if other != manager
        for path in sorted(owned.fields & changed)
    ]


def take(
    managers: Managers, manager: Manager, claimed: Fields, changed: Fields, removed: Fields, now: str
) -> dict[Manager, Owned]:
    """The managers after an apply: `manager` owns exactly `claimed`, others lose what was changed or removed."""
    result = _without(managers, changed, removed, keep=manager)
    before = result.pop(manager, None)
    if claimed:
        same = before is not None and before.fields == claimed and not changed and not removed
        result[manager] = before if same and before is not None else Owned(claimed, now)
    return result


def _without(managers: Managers, changed: Fields, removed: Fields, *, keep: Manager) -> dict[Manager, Owned]:
    result = {}
    for manager, owned in managers.items():
        left = owned if manager == keep else replace(owned, fields=owned.fields - changed - removed)
        if left.fields:
            result[manager] = left
    return result
