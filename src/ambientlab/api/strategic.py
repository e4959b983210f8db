"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

Rules and directives: sig-api-machinery's "strategic-merge-patch.md" in kubernetes/community. `$patch` replaces or
deletes, `$retainKeys` clears the members of a union, `$deleteFromPrimitiveList/x` takes values out of a list,
`$setElementOrder/x` orders one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.schema import Node

_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_NOTHING = Node()


class StrategicError(Exception):
    """The patch does not fit the schema, or a directive is not one."""


def strategic_merge_patch(target: Object, patch: Object, node: Node) -> Object:
    """A new object; parts of `target` are shared with it. Raises `StrategicError`."""
    return _merge_object(target, patch, node)


def _field(node: Node, name: str) -> Node:
    return node.properties.get(name) or node.additional or _NOTHING


def _merge_object(target: Object, patch: Object, node: Node) -> Object:
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise StrategicError(f"unknown patch directive: {directive!r}")
    result = dict(target)
    if "$retainKeys" in patch:
        retained = patch["$retainKeys"]
        if not isinstance(retained, list) or any(k not in retained for k in patch if not k.startswith("$")):
            raise StrategicError("$retainKeys directive does not match the keys of the patch")
        result = {key: value for key, value in result.items() if key in retained}
    orders = {key.removeprefix(_ORDER): value for key, value in patch.items() if key.startswith(_ORDER)}
    server = {name: result[name] for name in orders if isinstance(result.get(name), list)}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            name = key.removeprefix(_DELETE_FROM)
            if not isinstance(value, list):
                raise StrategicError(f"{key} must be a list")
            if isinstance(result.get(name), list):
                result[name] = [item for item in result[name] if item not in value]
    for key, value in patch.items():
        if key in ("$patch", "$retainKeys") or key.startswith((_DELETE_FROM, _ORDER)):
            continue
        child = _field(node, key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and "replace" not in child.patch_strategy:
            current = result.get(key)
            result[key] = _merge_object(current if isinstance(current, dict) else {}, value, child)
        elif isinstance(value, list) and "merge" in child.patch_strategy:
            current = result.get(key)
            result[key] = _merge_list(current if isinstance(current, list) else [], value, child)
        else:
            result[key] = value
    for name, order in orders.items():
        if isinstance(result.get(name), list):
            result[name] = _ordered(result[name], order, server.get(name, []), _field(node, name))
    return result


def _merge_list(target: list[Any], patch: list[Any], node: Node) -> list[Any]:
    key = node.patch_merge_key
    if not key or not all(isinstance(item, dict) for item in patch):
        return target + [item for index, item in enumerate(patch) if item not in target and item not in patch[:index]]
    if any(item == {"$patch": "replace"} for item in patch):
        return [item for item in patch if item != {"$patch": "replace"}]
    result = list(target)
    for item in patch:
        if key not in item:
            raise StrategicError(f"map: {item} does not contain declared merge key: {key}")
        found = next((i for i, old in enumerate(result) if isinstance(old, dict) and old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if not (isinstance(old, dict) and old.get(key) == item[key])]
        elif found is None:
            result.append(_merge_object({}, item, node.items or _NOTHING))
        else:
            result[found] = _merge_object(result[found], item, node.items or _NOTHING)
    return result


def _ordered(merged: list[Any], order: Any, server: list[Any], node: Node) -> list[Any]:
    """What the patch names comes in its order; what only the server has keeps its place among those it knew."""
    if not isinstance(order, list):
        raise StrategicError(f"{_ORDER}: a list is expected")
    key = node.patch_merge_key
    identity: Callable[[Any], Any] = (lambda item: item.get(key) if isinstance(item, dict) else item) if key else _same
    wanted = [identity(item) for item in order]
    before = [identity(item) for item in server]
    named = sorted((i for i in merged if identity(i) in wanted), key=lambda i: wanted.index(identity(i)))
    others = [item for item in merged if identity(item) not in wanted]
    result: list[Any] = []
    while named and others:
        left, right = identity(others[0]), identity(named[0])
        known = left in before and right in before
        result.append((others if known and before.index(left) < before.index(right) else named).pop(0))
    return result + named + others


def _same(item: Any) -> Any:
    return item
