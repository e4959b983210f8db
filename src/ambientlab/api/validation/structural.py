"""Validation of a custom resource against its schema, in the words of k8s.io/kube-openapi and apiextensions-apiserver.

What only this stage says: types, bounds, enums, patterns, required fields, list-map keys and sets. CEL rules come after
it, and only if it found nothing that would make them misread the object (see `blocks_rules`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from ambientlab import re2
from ambientlab.api import crds
from ambientlab.api.fielderrors import (
    Errors,
    child,
    duplicate,
    invalid,
    not_supported,
    quote,
    required,
    show,
    too_long,
    too_many,
    type_invalid,
)
from ambientlab.api.schema import Node
from ambientlab.api.validation import formats

_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


def validate(node: Node, value: Any, old: Any = None, path: str = "") -> Errors:
    """`old` is the object before an update: what is as it was may be wrong, but for lists of repeated items
    (apiextensions-apiserver's validation/ratcheting.go). So an object that a version with other bounds has taken still
    gets its status in this one."""
    errors: Errors = []
    _value(node, value, path, errors, old)
    if not errors:
        _lists(node, value, path, errors)
    return errors


def blocks_rules(errors: Errors) -> bool:
    """True if CEL rules must not run on this object; it also notes that they did not."""
    if not any(error.kind in _BLOCKING for error in errors):
        return False
    errors.append(invalid("<nil>", None, _UNCHECKED))
    return True


def _value(node: Node, value: Any, path: str, errors: Errors, old: Any = None) -> None:
    if value is None and node.nullable:
        return
    before = len(errors)
    _checked(node, value, path, errors, old)
    if len(errors) > before and old is not None and show(old) == show(value):
        del errors[before:]


def _checked(node: Node, value: Any, path: str, errors: Errors, old: Any) -> None:
    if not _type_ok(node, value):
        found = type_name(value)
        wanted = "integer,string" if node.type == "int-or-string" else node.type
        detail = f"{path} in body must be of type {wanted}: {quote(found)}"
        errors.append(type_invalid(path, found, detail))
        return
    if node.enum and value not in node.enum:
        errors.append(not_supported(path, value, node.enum))
    if isinstance(value, str):
        _string(node, value, path, errors)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _number(node, value, path, errors)
    elif isinstance(value, list):
        _list(node, value, path, errors, old)
    elif isinstance(value, dict):
        _object(node, value, path, errors, old if isinstance(old, dict) else {})
    if node.all_of or node.any_of or node.one_of or node.negated is not None:
        _combined(node, value, path, errors)


def _type_ok(node: Node, value: Any) -> bool:
    match node.type:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _integral(value)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "int-or-string":
            return isinstance(value, str) or _integral(value)
    return True


def _integral(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
    return "object"


def _string(node: Node, value: str, path: str, errors: Errors) -> None:
    if node.max_length is not None and len(value) > node.max_length:
        errors.append(too_long(path, node.max_length))
    if node.min_length is not None and len(value) < node.min_length:
        errors.append(invalid(path, value, f"{path} in body should be at least {node.min_length} chars long"))
    if node.pattern and not _matches(node.pattern, value):
        errors.append(invalid(path, value, f"{path} in body should match '{node.pattern}'"))
    if node.format and not formats.holds(node.format, value):
        errors.append(type_invalid(path, value, f"{path} in body must be of type {node.format}: {quote(value)}"))


def _matches(pattern: str, value: str) -> bool:
    """What is shipped and short goes through Python's faster engine. Schemas in service were checked to compile."""
    if len(value) <= _SHORT and pattern in _shipped_patterns():
        return _compiled(pattern).search(value) is not None
    return re2.search(pattern, value)


def check_pattern(pattern: str) -> None:
    """Raises re2.ExpressionError for a pattern that is none."""
    if pattern not in _shipped_patterns():
        re2.check(pattern)


@cache
def _shipped_patterns() -> frozenset[str]:
    return frozenset(found for crd in crds.shipped() for found in _patterns(crd["spec"]))


def _patterns(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(pattern := value.get("pattern"), str):
            yield pattern
        for inner in value.values():
            yield from _patterns(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _patterns(inner)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Go's RE2 as Python's re: `$` is the very end of the text."""
    return re.compile(_END.sub(r"\\Z", pattern), re.ASCII)


_SHORT = 1000
_END = re.compile(r"(?<!\\)\$(?=$|[)|])")


def _number(node: Node, value: float, path: str, errors: Errors) -> None:
    if (low := node.minimum) is not None and (value <= low if node.exclusive_minimum else value < low):
        than = "greater than" if node.exclusive_minimum else "greater than or equal to"
        errors.append(invalid(path, value, f"{path} in body should be {than} {_go_float(low)}"))
    if (high := node.maximum) is not None and (value >= high if node.exclusive_maximum else value > high):
        than = "less than" if node.exclusive_maximum else "less than or equal to"
        errors.append(invalid(path, value, f"{path} in body should be {than} {_go_float(high)}"))
    if node.multiple_of and value % node.multiple_of:
        errors.append(invalid(path, value, f"{path} in body should be a multiple of {_go_float(node.multiple_of)}"))
    bits = {"int32": 31, "int64": 63}.get(node.format)
    if bits and node.type == "integer" and not -(1 << bits) <= value < 1 << bits:
        errors.append(
            invalid("<nil>", "", f"Checked value must be of type {node.type} with format {node.format} in {path}")
        )


def _go_float(value: float) -> str:
    """Go's %v of a bound: 65535, but 1e+06 from a million on."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _list(node: Node, value: list[Any], path: str, errors: Errors, old: Any) -> None:
    if node.items is not None:
        known = counterparts(node, old)
        placed = old if isinstance(old, list) and not node.list_type else ()
        for index, item in enumerate(value):
            earlier = placed[index] if index < len(placed) else known.get(identity(node, item))
            _value(node.items, item, f"{path}[{index}]", errors, earlier)
    if node.max_items is not None and len(value) > node.max_items:
        errors.append(too_many(path, len(value), node.max_items))
    if node.min_items is not None and len(value) < node.min_items:
        errors.append(invalid(path, len(value), f"{path} in body should have at least {node.min_items} items"))
    if node.unique_items and _repeated(value):
        errors.append(invalid(path, value, f"{path} in body shouldn't contain duplicates"))


def counterparts(node: Node, old: Any) -> dict[Any, Any]:
    """Only items of a list-map can be told apart between two versions of an object."""
    if node.list_type != "map" or not isinstance(old, list):
        return {}
    return {identity(node, item): item for item in old}


def identity(node: Node, item: Any) -> Any:
    if node.list_type != "map" or not isinstance(item, dict):
        return None
    return tuple(str(item.get(name)) for name in node.list_map_keys)


def _object(node: Node, value: dict[str, Any], path: str, errors: Errors, old: dict[str, Any]) -> None:
    for name in node.required:
        if name not in value:
            errors.append(required(child(path, name)))
    for name, inner in value.items():
        if name in node.properties:
            _value(node.properties[name], inner, child(path, name), errors, old.get(name))
        elif node.additional is not None:
            _value(node.additional, inner, child(path, name), errors, old.get(name))
    if node.max_properties is not None and len(value) > node.max_properties:
        errors.append(too_many(path, len(value), node.max_properties))
    if node.min_properties is not None and len(value) < node.min_properties:
        detail = f"{path} in body should have at least {node.min_properties} properties"
        errors.append(invalid(path, len(value), detail))


def _combined(node: Node, value: Any, path: str, errors: Errors) -> None:
    """allOf, anyOf, oneOf and not. Their own complaints carry no field: kube-openapi puts the path into the text."""

    def complain(text: str) -> None:
        errors.append(invalid("<nil>", "", f"{quote(path)} must {text}"))

    def failures(schemas: Iterable[Node]) -> list[Errors]:
        found = []
        for one in schemas:
            inner: Errors = []
            _value(one, value, path, inner)
            found.append(inner)
        return found

    if node.any_of:
        tried = failures(node.any_of)
        if all(tried):
            complain("validate at least one schema (anyOf)")
            errors.extend(tried[0])
    if node.one_of:
        tried = failures(node.one_of)
        valid = sum(1 for one in tried if not one)
        if valid == 0:
            complain("validate one and only one schema (oneOf). Found none valid")
            errors.extend(tried[0])
        elif valid > 1:
            complain(f"validate one and only one schema (oneOf). Found {valid} valid alternatives")
    if node.all_of:
        wrong = [one for one in failures(node.all_of) if one]
        for one in wrong:
            errors.extend(one)
        if wrong:
            complain("validate all the schemas (allOf)")
    if node.negated is not None and not failures([node.negated])[0]:
        complain("not validate the schema (not)")


def _repeated(value: list[Any]) -> bool:
    return len({show(item) for item in value}) < len(value)


def _lists(node: Node, value: Any, path: str, errors: Errors) -> None:
    """No two items of a set are equal, no two of a list-map share their keys (schema/listtype)."""
    if isinstance(value, dict):
        for name, inner in value.items():
            schema = node.properties.get(name, node.additional)
            if schema is not None and isinstance(inner, dict | list):
                _lists(schema, inner, child(path, name), errors)
    elif isinstance(value, list):
        seen: set[str] = set()
        for index, item in enumerate(value):
            here = f"{path}[{index}]"
            if node.list_type in ("set", "map"):
                keys = item
                if node.list_type == "map" and isinstance(item, dict):
                    keys = {name: item[name] for name in node.list_map_keys if name in item}
                text = show(keys)
                if text in seen:
                    errors.append(duplicate(here, keys))
                seen.add(text)
            if node.items is not None and isinstance(item, dict | list):
                _lists(node.items, item, here, errors)
