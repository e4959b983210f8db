"""The patch that `kubectl apply` sends: what a manifest says and the object has not, and what the manifest applied last
said and this one does not any more (k8s.io/apimachinery, strategicpatch.CreateThreeWayMergePatch and
jsonmergepatch.CreateThreeWayJSONMergePatch)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from ambientlab.api.kinds import CORE
from ambientlab.api.objects import Object, annotations_of
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.api.schema import Node
from ambientlab.api.strategic import strategic_merge_patch
from ambientlab.apiserver.patch import apply as server_side
from ambientlab.apiserver.patch import fields, managed
from ambientlab.apiserver.patch.apply import LAST_APPLIED
from ambientlab.apiserver.patch.merge import merge_patch

_OF_CLIENT_SIDE = ("f:metadata", "f:annotations", f"f:{LAST_APPLIED}")
"""A field that who applies by that patch owns."""
_NOTHING = Node()
_BUILT_IN = frozenset(CORE)


def three_way(live: Object, wanted: Object, node: Node | None) -> Object:
    """`node` is the schema of a kind of Kubernetes' own, whose lists merge item by item, None for custom resources."""
    try:
        last = json.loads(annotations_of(live).get(LAST_APPLIED, "{}"))
    except ValueError:
        last = {}
    # as kubectl has it, what it applies always has annotations
    metadata = {**wanted["metadata"], "annotations": annotations_of(wanted)}
    return _object(_dict(last), live, {**wanted, "metadata": metadata}, node)


def node_of(resource: Resource) -> Node | None:
    """What `three_way` takes for objects of a kind."""
    return _schemas().schema(resource) if resource in _BUILT_IN else None


@cache
def _schemas() -> Registry:
    return Registry()


def as_kubectl(resource: Resource, live: Object, wanted: Object) -> Object:
    """What comes of that patch. Raises StrategicError."""
    node = node_of(resource)
    patch = three_way(live, wanted, node)
    result: Object = merge_patch(live, patch) if node is None else strategic_merge_patch(live, patch, node)
    return result


def made_over(live: Object, applied: Object, wanted: Object, node: Node) -> Object:
    """`applied`, which server-side apply makes of `live`, without what the manifest of before said and this one does
    not: kubectl makes over to the new manager what it owned by client-side apply, and applies once more
    (k8s.io/kubectl, pkg/cmd/apply/apply.go, migrateToSSAIfNecessary)."""
    managers = managed.read(live)
    own = {manager for manager, owned in managers.items() if _OF_CLIENT_SIDE in owned.fields}
    own = {manager for manager in own if manager.operation == "Update"}
    claimed = fields.applied(wanted, node)
    former = frozenset().union(*(managers[manager].fields for manager in own)) - claimed - {_OF_CLIENT_SIDE}
    others = [owned.fields for manager, owned in managers.items() if manager not in own]
    left: Object = server_side.prune(applied, node, former, claimed.union(*others))
    return left


def _object(last: Object, live: Object, wanted: Object, node: Node | None) -> Object:
    patch: Object = {}
    for name, value in wanted.items():
        there = live.get(name)
        child = None if node is None else node.properties.get(name) or node.additional or _NOTHING
        if isinstance(value, dict) and isinstance(there, dict):
            inner = _object(_dict(last.get(name)), there, value, child)
            if inner:
                patch[name] = inner
        elif value == {} and there is None:
            continue
        elif isinstance(value, list) and isinstance(there, list) and child is not None and child.patch_merge_key:
            if items := _items(last.get(name), there, value, child):
                patch[name] = items
        elif value is None or there != value:
            patch[name] = value
    patch |= {name: None for name in last if name not in wanted and name in live}
    return patch


def _items(last: Any, live: list[Any], wanted: list[Any], node: Node) -> list[Any]:
    key = node.patch_merge_key

    def by_key(some: Any) -> dict[Any, Object]:
        items = some if isinstance(some, list) else []
        return {item[key]: item for item in items if isinstance(item, dict) and key in item}

    before, there, now = by_key(last), by_key(live), by_key(wanted)
    if len(now) < len(wanted):
        return wanted
    items: list[Any] = []
    for name, item in now.items():
        inner = _object(before.get(name, {}), there.get(name, {}), item, node.items or _NOTHING)
        if inner:
            items.append({key: name} | inner)
    return items + [{key: name, "$patch": "delete"} for name in before if name not in now and name in there]


def _dict(value: Any) -> Object:
    return value if isinstance(value, dict) else {}
