"""Words to write a CustomResourceDefinition in.

A schema is a plain OpenAPI dictionary; each function makes one, description first, and passes keywords on (`maxLength`,
`default`, `enum` ...). In `obj`, a name that ends in `!` is required. `rules` are (message, CEL rule) pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ambientlab.api.objects import Object

Schema = dict[str, Any]
Rules = Sequence[tuple[str, str]]


def _schema(kind: str, doc: str, rules: Rules, more: Mapping[str, Any]) -> Schema:
    schema: Schema = {"type": kind, **more}
    if doc:
        schema["description"] = doc
    if rules:
        schema["x-kubernetes-validations"] = [{"message": message, "rule": rule} for message, rule in rules]
    return schema


def string(doc: str = "", *, rules: Rules = (), **more: Any) -> Schema:
    return _schema("string", doc, rules, more)


def enum(doc: str, *values: str, **more: Any) -> Schema:
    return _schema("string", doc, (), {"enum": list(values), **more})


def boolean(doc: str, **more: Any) -> Schema:
    return _schema("boolean", doc, (), more)


def integer(doc: str, *, rules: Rules = (), **more: Any) -> Schema:
    return _schema("integer", doc, rules, more)


def int32(doc: str, **more: Any) -> Schema:
    return _schema("integer", doc, (), {"format": "int32", **more})


def double(doc: str, **more: Any) -> Schema:
    return _schema("number", doc, (), {"format": "double", **more})


def array(doc: str, items: Schema, *, rules: Rules = (), **more: Any) -> Schema:
    return _schema("array", doc, rules, {"items": items, **more})


def atomic(doc: str, items: Schema, *, rules: Rules = (), **more: Any) -> Schema:
    """A list that is replaced as a whole."""
    return array(doc, items, rules=rules, **more, **{"x-kubernetes-list-type": "atomic"})


def unique(doc: str, items: Schema, *, rules: Rules = (), **more: Any) -> Schema:
    """A list without repetition, merged item by item."""
    return array(doc, items, rules=rules, **more, **{"x-kubernetes-list-type": "set"})


def keyed(doc: str, key: str, items: Schema, *, rules: Rules = (), **more: Any) -> Schema:
    """A list whose items are told apart, and merged, by one of their fields."""
    identity = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return array(doc, items, rules=rules, **more, **identity)


def mapping(doc: str, values: Schema, *, rules: Rules = (), **more: Any) -> Schema:
    return _schema("object", doc, rules, {"additionalProperties": values, **more})


def obj(doc: str, fields: Mapping[str, Schema], *, rules: Rules = (), **more: Any) -> Schema:
    required = [name.removesuffix("!") for name in fields if name.endswith("!")]
    properties = {name.removesuffix("!"): schema for name, schema in fields.items()}
    body: Schema = {"properties": properties, **more}
    if required:
        body["required"] = sorted(required)
    return _schema("object", doc, rules, body)


def any_object(doc: str) -> Schema:
    """An object of whatever fields."""
    return _schema("object", doc, (), {"x-kubernetes-preserve-unknown-fields": True})


def at_most_one(*fields: str) -> list[Schema]:
    """`oneOf` of a protobuf oneof: none of the fields, or just one."""
    each = [{"required": [name]} for name in fields]
    return [{"not": {"anyOf": each}}, *each]


@dataclass(frozen=True, slots=True)
class Printed:
    """A printer column."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    doc: str = ""

    def to_object(self) -> Object:
        column: Object = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.priority:
            column["priority"] = self.priority
        if self.doc:
            column["description"] = self.doc
        return column


AGE = Printed("Age", ".metadata.creationTimestamp", "date", doc="Time since the object was created.")


def definition(
    group: str,
    kind: str,
    plural: str,
    *,
    doc: str,
    fields: Mapping[str, Schema],
    versions: Iterable[str],
    storage: str,
    columns: Sequence[Printed],
    namespaced: bool = True,
    short_names: Sequence[str] = (),
    categories: Sequence[str] = (),
    status: bool = True,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    older: Mapping[str, Mapping[str, Schema]] | None = None,
    deprecated: Mapping[str, str] | None = None,
) -> Object:
    """A CRD whose versions share one schema, but for the fields of `older` ones; conversion between them changes
    apiVersion only. `deprecated` are versions and the warning to whoever uses one."""
    names: Object = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "categories": list(categories),
    }
    if short_names:
        names["shortNames"] = list(short_names)
    schemas = {
        version: obj(
            doc,
            {
                "apiVersion": string("Version of the schema that this object is written in."),
                "kind": string("Kind of this object."),
                "metadata": {"type": "object"},
                **(older or {}).get(version, fields),
            },
        )
        for version in versions
    }
    warnings = deprecated or {}
    metadata: Object = {"name": f"{plural}.{group}"}
    if labels:
        metadata["labels"] = dict(labels)
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == storage,
                    **({"deprecated": True, "deprecationWarning": warnings[version]} if version in warnings else {}),
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}} if status else {},
                    "additionalPrinterColumns": [column.to_object() for column in columns],
                }
                for version, schema in schemas.items()
            ],
        },
    }
