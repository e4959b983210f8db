"""Sets of field paths: who owns what in an object (metav1.FieldsV1).

A path is a tuple of steps as FieldsV1 writes them: `f:name` a field, `k:{...}` an item of a list that is a map,
`v:...` an item of a list that is a set. A set of such tuples is all that ownership needs; FieldsV1 is its encoding as
a tree, where `.` marks a node that is a member besides having children.
Semantics: sigs.k8s.io/structured-merge-diff v6, packages fieldpath and typed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from ambientlab.api.schema import Node

Path = tuple[str, ...]
Fields = frozenset[Path]

_ANY = Node()
# Owned by the server, or the object's very identity: nobody manages them.
_UNMANAGED: tuple[Path, ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)


def child(node: Node, name: str) -> Node:
    return node.properties.get(name) or node.additional or _ANY


def list_keys(node: Node) -> tuple[str, ...]:
    """The fields that identify an item, or () for a list that is not a map."""
    if node.list_type == "map":
        return node.list_map_keys
    if not node.list_type and "merge" in node.patch_strategy and node.patch_merge_key:
        return (node.patch_merge_key,)
    return ()


def is_set(node: Node) -> bool:
    return node.list_type == "set" or (
        not node.list_type and "merge" in node.patch_strategy and not node.patch_merge_key
    )


def is_leaf(value: Any, node: Node) -> bool:
    """Whether `value` is owned as a whole: a scalar, an atomic list or map."""
    if isinstance(value, dict):
        return node.map_atomic
    if isinstance(value, list):
        return not (list_keys(node) or is_set(node))
    return True


def step(item: Any, node: Node) -> str:
    """The step from a list to one of its items."""
    keys = list_keys(node)
    if not keys or not isinstance(item, dict):
        return "v:" + _json(item)
    return "k:" + _json({key: item.get(key, _key_default(node.items or _ANY, key)) for key in keys})


def _key_default(node: Node, key: str) -> Any:
    """Ports are told apart by number and protocol, and a port that names none is TCP; schemas do not all say so."""
    schema = child(node, key)
    return schema.default if schema.has_default else "TCP" if key == "protocol" and schema.type == "string" else None


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def steps(value: Any, node: Node) -> Iterator[tuple[str, Any, Node]]:
    """The children of a value that is no leaf: step, value, schema."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield "f:" + name, inner, child(node, name)
    elif isinstance(value, list):
        item_node = node.items or _ANY
        for item in value:
            yield step(item, node), item, item_node


def applied(value: Any, node: Node) -> Fields:
    """What a server-side apply of `value` claims: leaves, list items, keys of free maps, empty containers."""
    found: set[Path] = set()
    _claim(value, node, (), found)
    return manageable(found)


def _claim(value: Any, node: Node, path: Path, found: set[Path]) -> None:
    for name, inner, inner_node in steps(value, node):
        here = (*path, name)
        if is_leaf(inner, inner_node):
            found.add(here)
            continue
        free = name[0] != "f" or name[2:] not in node.properties
        if not inner or free:
            found.add(here)
        _claim(inner, inner_node, here, found)


def every(value: Any, node: Node) -> Fields:
    """Every path of a value, containers included: what a write that creates it owns."""
    found: set[Path] = set()
    _collect(value, node, (), found)
    return manageable(found)


def _collect(value: Any, node: Node, path: Path, found: set[Path]) -> None:
    for name, inner, inner_node in steps(value, node):
        here = (*path, name)
        if is_leaf(inner, inner_node):
            found.add(here)
            continue
        if _marks(name, inner, node, inner_node):
            found.add(here)
        _collect(inner, inner_node, here, found)


def _marks(name: str, value: Any, parent: Node, node: Node) -> bool:
    """Whether a container is a member itself, and not just the way to its members.

    Structs and required lists of core kinds are always there (Go has no absent struct): nobody sets them.
    """
    if not value or name[0] != "f":
        return True
    if isinstance(value, dict):
        return not (node.properties and node.definition)
    return not (parent.definition and name[2:] in parent.required)


def compare(old: Any, new: Any, node: Node) -> tuple[Fields, Fields]:
    """(paths set by going from `old` to `new`, paths removed by it)."""
    changed: set[Path] = set()
    removed: set[Path] = set()
    _compare(old, new, node, (), changed, removed)
    return manageable(changed), manageable(removed)


def _compare(old: Any, new: Any, node: Node, path: Path, changed: set[Path], removed: set[Path]) -> None:
    if old is new:
        return
    before = {name: (inner, inner_node) for name, inner, inner_node in steps(old, node)}
    for name, inner, inner_node in steps(new, node):
        here = (*path, name)
        if name not in before:
            if is_leaf(inner, inner_node) or _marks(name, inner, node, inner_node):
                changed.add(here)
            _collect_below(inner, inner_node, here, changed)
            continue
        previous, _ = before.pop(name)
        if is_leaf(inner, inner_node) or is_leaf(previous, inner_node):
            if previous != inner or type(previous) is not type(inner):
                changed.add(here)
        else:
            _compare(previous, inner, inner_node, here, changed, removed)
    for name, (previous, previous_node) in before.items():
        removed.add((*path, name))
        _collect_below(previous, previous_node, (*path, name), removed)


def _collect_below(value: Any, node: Node, path: Path, found: set[Path]) -> None:
    if not is_leaf(value, node):
        _collect(value, node, path, found)


def manageable(paths: Iterable[Path]) -> Fields:
    return frozenset(path for path in paths if path not in _UNMANAGED and path[:2] != ("f:metadata", "f:managedFields"))


def decode(tree: Any) -> Fields:
    """FieldsV1 to paths. Raises ValueError if it is none."""
    found: set[Path] = set()

    def walk(node: Any, path: Path) -> None:
        if not isinstance(node, dict):
            raise ValueError("FieldsV1 is a tree of objects")
        if path and (not node or "." in node):
            found.add(path)
        for name, inner in node.items():
            if name != ".":
                walk(inner, (*path, name))

    walk(tree, ())
    return frozenset(found)


def encode(paths: Fields) -> dict[str, Any]:
    """Paths to FieldsV1."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for name in path:
            node = node.setdefault(name, {})
        node["."] = {}
    _trim(root)
    return root


def _trim(node: dict[str, Any]) -> None:
    if len(node) == 1:
        node.pop(".", None)
    for name, inner in node.items():
        if name != ".":
            _trim(inner)


def text(path: Path) -> str:
    """As messages write a path: `.spec.containers[name="x"].image`."""
    parts = []
    for name in path:
        kind, rest = name[0], name[2:]
        if kind == "f":
            parts.append("." + rest)
        elif kind == "k":
            pairs = orjson.loads(rest)
            parts.append("[" + ",".join(f"{key}={_json(value)}" for key, value in pairs.items()) + "]")
        else:
            parts.append(f"[={rest}]")
    return "".join(parts)
