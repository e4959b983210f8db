"""JSON patch, RFC 6902, with JSON pointers of RFC 6901."""

from __future__ import annotations

from typing import Any

import orjson

from ambientlab.api.numbers import whole
from ambientlab.api.objects import copy

# As a kube-apiserver's: a document copied into itself doubles with each operation.
_MAX_COPIED = 3 << 20


class PatchError(Exception):
    """The patch is well-formed but cannot be applied to this document."""


class MalformedPatch(Exception):
    """Not a JSON patch at all."""


def json_patch(document: Any, operations: Any) -> Any:
    """A new document. Raises `MalformedPatch`, `PatchError` and RecursionError; then nothing is applied."""
    if not isinstance(operations, list):
        raise MalformedPatch("a JSON patch is a list of operations")
    result = {"": copy(document)}  # so that the whole document, too, is a member of something
    copied = 0
    for operation in operations:
        if isinstance(operation, dict) and operation.get("op") == "copy":
            copied += _size(_get(result, _source(operation), "copy"))
            if copied > _MAX_COPIED:
                raise PatchError(
                    "Unable to complete the copy, the accumulated size increase of copy is "
                    f"{copied}, exceeding the limit {_MAX_COPIED}"
                )
        _apply(result, operation)
    return result.get("")


def _apply(root: dict[str, Any], operation: Any) -> None:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise MalformedPatch("an operation of a JSON patch has `op` and `path`")
    name, path = operation.get("op"), operation["path"]
    if name in ("add", "replace", "test") and "value" not in operation:
        raise MalformedPatch(f"operation {name!r} needs `value`")
    match name:
        case "add":
            _add(root, path, copy_value(operation["value"]))
        case "remove":
            _remove(root, path, "remove")
        case "replace":
            _get(root, path, "replace")
            parent, token = _parent(root, path, "replace")
            parent[_index(parent, token, path, "replace") if isinstance(parent, list) else token] = copy_value(
                operation["value"]
            )
        case "move":
            value = _get(root, _source(operation), "move")
            if path.startswith(operation["from"] + "/"):
                raise PatchError(f"move operation does not apply: {path} is inside of what it moves")
            _remove(root, operation["from"], "move")
            _add(root, path, value)
        case "copy":
            _add(root, path, copy_value(_get(root, _source(operation), "copy")))
        case "test":
            if not _same(_get(root, path, "test"), operation["value"]):
                raise PatchError(f"testing path {path} failed: test failed")
        case _:
            raise MalformedPatch(f"unknown operation {name!r} in a JSON patch")


def _size(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError as error:  # for its depth alone, as in `copy`
        raise RecursionError(str(error)) from None


def copy_value(value: Any) -> Any:
    return copy({"": value})[""]


def _source(operation: dict[str, Any]) -> str:
    source = operation.get("from")
    if not isinstance(source, str):
        raise MalformedPatch(f"operation {operation['op']!r} needs `from`")
    return source


def _tokens(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise MalformedPatch(f"{path!r} is not a JSON pointer")
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")]


def _parent(root: dict[str, Any], path: str, name: str) -> tuple[Any, str]:
    *parents, last = _tokens(path)
    value: Any = root
    for token in parents:
        value = _member(value, token, path, name)
    return value, last


def _get(root: dict[str, Any], path: str, name: str) -> Any:
    parent, last = _parent(root, path, name)
    return _member(parent, last, path, name)


def _member(value: Any, token: str, path: str, name: str) -> Any:
    if isinstance(value, dict) and token in value:
        return value[token]
    if isinstance(value, list):
        return value[_index(value, token, path, name)]
    raise PatchError(f"{name} operation does not apply: doc is missing path: {path}: missing value")


def _index(values: list[Any], token: str, path: str, name: str, *, end: int = 0) -> int:
    index = whole(token)
    if index is None or (len(token) > 1 and token[0] == "0"):
        raise PatchError(f"{name} operation does not apply: {path}: {token!r} is not an index")
    if index >= len(values) + end:
        raise PatchError(f"{name} operation does not apply: {path}: index {index} is out of bounds")
    return index


def _add(root: dict[str, Any], path: str, value: Any) -> None:
    parent, last = _parent(root, path, "add")
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, path, "add", end=1), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise PatchError(f"add operation does not apply: doc is missing path: {path}: missing value")


def _remove(root: dict[str, Any], path: str, name: str) -> None:
    _get(root, path, name)
    parent, last = _parent(root, path, name)
    del parent[int(last) if isinstance(parent, list) else last]


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON values: true is not 1, though Python thinks so."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
