"""Running the CEL rules of a schema over an object, worded as apiextensions-apiserver's schema/cel does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from ambientlab.api.cel import CelError, compile_rule
from ambientlab.api.fielderrors import Errors, FieldError, child, duplicate, forbidden, invalid, key, required
from ambientlab.api.schema import Node, Rule
from ambientlab.api.validation.structural import counterparts, identity, type_name


def validate(node: Node, value: Any, old: Any = None, path: str = "") -> Errors:
    """`old` is the object before an update; None on create, when transition rules do not apply.

    What an update leaves as it was need only keep to transition rules (kubernetes.io, "Validation ratcheting"): so the
    write of a status does not pay for the rules of its spec.
    """
    errors: Errors = []
    if has_rules(node):
        _walk(node, value, old, path, errors)
    return errors


@cache
def _has_transition_rules(node: Node) -> bool:
    return any(map(_is_transition, node.rules)) or any(_has_transition_rules(inner) for inner in _below(node))


def _is_transition(rule: Rule) -> bool:
    return "oldSelf" in rule.rule


@cache
def has_rules(node: Node) -> bool:
    """Whether a rule sits anywhere at or below `node` (schemas of CRDs do not refer to themselves)."""
    return bool(node.rules) or any(has_rules(inner) for inner in _below(node))


def _below(node: Node) -> Iterator[Node]:
    yield from node.properties.values()
    if node.additional is not None:
        yield node.additional
    if node.items is not None:
        yield node.items


def _walk(node: Node, value: Any, old: Any, path: str, errors: Errors, same: bool = False) -> None:
    """`same`: what holds the value is as it was."""
    if value is None:
        return
    same = same or (old is not None and value == old)
    if same and not _has_transition_rules(node):
        return
    for rule in node.rules:
        if (not same or _is_transition(rule)) and (error := _check(rule, value, old, path)):
            errors.append(error)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) and not node.map_atomic else {}
        for name, inner in value.items():
            schema = node.properties.get(name)
            here = child(path, name)
            if schema is None:
                schema, here = node.additional, key(path, name)
            if schema is not None and has_rules(schema):
                _walk(schema, inner, before.get(name), here, errors, same)
    elif isinstance(value, list) and node.items is not None and has_rules(node.items):
        known = counterparts(node, old)
        for index, item in enumerate(value):
            _walk(node.items, item, known.get(identity(node, item)), f"{path}[{index}]", errors, same)


def _check(rule: Rule, value: Any, old: Any, path: str) -> FieldError | None:
    where = path or "<nil>"
    kind = type_name(value)
    try:
        program = compile_rule(rule.rule)
    except CelError as error:
        return invalid(where, kind, f"rule compile error: {error}")
    if program.uses_old_self and old is None and not rule.optional_old_self:
        return None
    try:
        if program.evaluate(value, old) is True:
            return None
    except CelError as error:
        return invalid(where, kind, f"{error} evaluating rule: {(rule.message or rule.rule).strip()}")
    if rule.field_path:
        where = child(path, rule.field_path.removeprefix("."))
    return _failure(rule, kind, _detail(rule, value, old), where)


def _detail(rule: Rule, value: Any, old: Any) -> str:
    if rule.message_expression:
        try:
            text = compile_rule(rule.message_expression).evaluate(value, old)
        except CelError:
            text = ""
        if isinstance(text, str) and text.strip() and "\n" not in text.strip():
            return text.strip()
    return rule.message.strip() or f"failed rule: {rule.rule.strip()}"


def _failure(rule: Rule, kind: str, detail: str, where: str) -> FieldError:
    match rule.reason:
        case "FieldValueForbidden":
            return forbidden(where, detail)
        case "FieldValueRequired":
            return required(where, detail)
        case "FieldValueDuplicate":
            return duplicate(where, kind)
    return invalid(where, kind, detail)
