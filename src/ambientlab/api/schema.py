"""Structural schemas as one tree, whatever they were written in.

Validation, pruning, defaulting, server-side apply and strategic merge all walk the same `Node`s. They come from two
sources: the definitions of the core kinds (see `definitions`) and the `openAPIV3Schema` of a CRD. Descriptions are left
out: only OpenAPI shows them, and it reads the sources themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, cast

from ambientlab.api import definitions

Type = Literal["object", "array", "string", "integer", "number", "boolean", "any", "int-or-string"]
ListType = Literal["", "atomic", "set", "map"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `x-kubernetes-validations`."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = ""
    field_path: str = ""
    optional_old_self: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """What one value may be.

    `properties` are the known fields of an object, `additional` the schema of a map's values, `items` that of a list's.
    `Node`s compare by identity: a core definition is one `Node` however many places refer to it, unless the place adds
    something of its own (a patch strategy). `definition` names it (`io.k8s.api.core.v1.Pod`), "" for a node of its own.
    """

    type: Type = "any"
    properties: Mapping[str, Node] = field(default_factory=dict)
    additional: Node | None = None
    items: Node | None = None
    required: tuple[str, ...] = ()
    enum: tuple[Any, ...] = ()
    has_default: bool = False
    default: Any = None
    nullable: bool = False
    format: str = ""
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool = False
    min_properties: int | None = None
    max_properties: int | None = None
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    all_of: tuple[Node, ...] = ()
    negated: Node | None = None
    list_type: ListType = ""
    list_map_keys: tuple[str, ...] = ()
    map_atomic: bool = False
    patch_strategy: tuple[str, ...] = ()
    patch_merge_key: str = ""
    preserve_unknown: bool = False
    embedded: bool = False
    rules: tuple[Rule, ...] = ()
    definition: str = ""


class _Properties(Mapping[str, Node]):
    """Builds a property's node when it is first looked at; this is also what lets schemas refer to themselves."""

    __slots__ = ("_built", "_schemas")

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self._built: dict[str, Node] = {}

    def __getitem__(self, name: str) -> Node:
        node = self._built.get(name)
        if node is None:
            node = self._built[name] = structural(self._schemas[name])
        return node

    def __contains__(self, name: object) -> bool:
        return name in self._schemas

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)


_SPECIAL = {
    definitions.INT_OR_STRING: Node(type="int-or-string", definition=definitions.INT_OR_STRING),
    definitions.QUANTITY: Node(type="any", definition=definitions.QUANTITY),
    # Both are written as any JSON value; the published definition of the first admits only objects.
    "io.k8s.apimachinery.pkg.runtime.RawExtension": Node(type="any", preserve_unknown=True),
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": Node(type="object", preserve_unknown=True, map_atomic=True),
}


@cache
def core(definition: str) -> Node:
    """The node of a core definition, built on first use. Raises KeyError for an unknown name."""
    if special := _SPECIAL.get(definition):
        return special
    if definition in definitions.SCHEMA_UNIONS:
        return replace(core(definitions.JSON_SCHEMA), definition=definition)
    return replace(structural(definitions.definition(definition)), definition=definition)


def structural(schema: Mapping[str, Any]) -> Node:
    """The node of a CRD's `openAPIV3Schema`, of a core definition, or of any part of either."""
    if target := definitions.reference(cast("dict[str, Any]", schema)):
        return _referred(core(target), schema)
    strategy, merge_key = _patch(schema)
    additional = schema.get("additionalProperties")
    items = schema.get("items")
    negated = schema.get("not")
    preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or additional is True
    return Node(
        type=_type(schema),
        properties=_Properties(schema.get("properties") or {}),
        additional=structural(additional) if isinstance(additional, dict) else None,
        items=structural(items) if isinstance(items, dict) else None,
        required=tuple(schema.get("required") or ()),
        enum=tuple(schema.get("enum") or ()),
        has_default="default" in schema,
        default=schema.get("default"),
        nullable=bool(schema.get("nullable")),
        format=schema.get("format") or "",
        pattern=schema.get("pattern") or "",
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        exclusive_minimum=bool(schema.get("exclusiveMinimum")),
        exclusive_maximum=bool(schema.get("exclusiveMaximum")),
        multiple_of=schema.get("multipleOf"),
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
        min_items=schema.get("minItems"),
        max_items=schema.get("maxItems"),
        unique_items=bool(schema.get("uniqueItems")),
        min_properties=schema.get("minProperties"),
        max_properties=schema.get("maxProperties"),
        any_of=_all(schema.get("anyOf")),
        one_of=_all(schema.get("oneOf")),
        all_of=_all(schema.get("allOf")),
        negated=structural(negated) if isinstance(negated, dict) else None,
        list_type=schema.get("x-kubernetes-list-type") or "",
        list_map_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        map_atomic=schema.get("x-kubernetes-map-type") == "atomic",
        patch_strategy=strategy,
        patch_merge_key=merge_key,
        preserve_unknown=preserve,
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        rules=tuple(map(_rule, schema.get("x-kubernetes-validations") or ())),
    )


def _referred(node: Node, schema: Mapping[str, Any]) -> Node:
    """What a schema refers to, with what it says besides."""
    strategy, merge_key = _patch(schema)
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if strategy or merge_key or (atomic and not node.map_atomic):
        return replace(node, patch_strategy=strategy, patch_merge_key=merge_key, map_atomic=atomic or node.map_atomic)
    return node


def _rule(entry: Mapping[str, Any]) -> Rule:
    return Rule(
        rule=entry.get("rule", ""),
        message=entry.get("message", ""),
        message_expression=entry.get("messageExpression", ""),
        reason=entry.get("reason", ""),
        field_path=entry.get("fieldPath", ""),
        optional_old_self=bool(entry.get("optionalOldSelf")),
    )


def _all(schemas: Any) -> tuple[Node, ...]:
    return tuple(structural(schema) for schema in schemas or ())


def _patch(schema: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    strategy = tuple(part for part in (schema.get("x-kubernetes-patch-strategy") or "").split(",") if part)
    return strategy, schema.get("x-kubernetes-patch-merge-key") or ""


def _type(schema: Mapping[str, Any]) -> Type:
    if schema.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    kind = schema.get("type")
    if isinstance(kind, list):  # the core definitions write every optional type as [type, "null"]
        kind = next((one for one in kind if one != "null"), None)
    return cast("Type", kind) if kind else "any"
