"""What a custom resource loses on its way in: fields its schema does not name, and nulls its schema does not allow.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning
"""

from __future__ import annotations

from typing import Any

from ambientlab.api.fielderrors import child
from ambientlab.api.schema import Node

_META = frozenset({"apiVersion", "kind", "metadata"})


def prune(node: Node, value: Any, path: str = "", *, root: bool = True) -> tuple[Any, list[str]]:
    """The value without unknown fields, and their paths, sorted as a kube-apiserver reports them."""
    unknown: list[str] = []
    return _prune(node, value, path, unknown, root), sorted(unknown)


def _prune(node: Node, value: Any, path: str, unknown: list[str], meta: bool = False) -> Any:
    if isinstance(value, list):
        if node.items is None:
            return value
        return [_prune(node.items, item, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    meta = meta or node.embedded
    for name, inner in value.items():
        if meta and name in _META:
            result[name] = inner
        elif name in node.properties:
            schema = node.properties[name]
            if inner is not None or schema.nullable:
                result[name] = _prune(schema, inner, child(path, name), unknown)
        elif node.additional is not None:
            result[name] = _prune(node.additional, inner, child(path, name), unknown)
        elif node.preserve_unknown or (node.type == "any" and not node.properties):
            result[name] = inner
        else:
            unknown.append(child(path, name))
    return result


def default(node: Node, value: Any) -> None:
    """Fill in the schema's defaults, in place, where a field is absent; defaults inside a defaulted value too.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting
    """
    if isinstance(value, dict):
        for name, schema in node.properties.items():
            if name not in value and schema.has_default:
                value[name] = _copy(schema.default)
            if name in value:
                default(schema, value[name])
        if node.additional is not None:
            for name in value.keys() - node.properties.keys():
                default(node.additional, value[name])
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            default(node.items, item)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
