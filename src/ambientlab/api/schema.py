"""Structural schemas as one tree, whatever they were written in.

Validation, pruning, defaulting, server-side apply, strategic merge and OpenAPI all walk the same `Node`s. They come from
two sources: the definitions of the core kinds (see `definitions`) and the `openAPIV3Schema` of a CRD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
    `Node`s compare by identity: a core definition is one `Node` however many places refer to it.
    """

    type: Type = "any"
    description: str = ""
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
    """Name of the core definition this node is (`io.k8s.api.core.v1.Pod`), or "" for a node of its own."""


def core(definition: str) -> Node:
    """The node of a core definition, built on first use. Raises KeyError for an unknown name."""
    raise NotImplementedError


def structural(schema: Mapping[str, Any]) -> Node:
    """The node of a CRD's `openAPIV3Schema` (or any part of one)."""
    raise NotImplementedError
