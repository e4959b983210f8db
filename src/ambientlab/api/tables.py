"""meta.k8s.io/v1 Table: what `kubectl get` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import orjson

from ambientlab.api import jsonpath, registry
from ambientlab.api.objects import Object
from ambientlab.api.printers import PRINTERS
from ambientlab.api.printers.columns import AGE, NAME, Column, Printer, age, duration, since
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource

__all__ = ["IncludeObject", "columns", "duration", "table"]

IncludeObject = Literal["Metadata", "Object", "None"]


def columns(served: Registry, resource: Resource) -> tuple[Column, ...]:
    return _printer(served, resource).columns


def table(
    served: Registry,
    resource: Resource,
    objects: Sequence[Object],
    now: datetime,
    *,
    include_object: IncludeObject = "Metadata",
    list_metadata: Object | None = None,
    columns: bool = True,
) -> Object:
    """A Table of `objects`. Without `columns`, columnDefinitions is empty, as in the later events of a watch.

    `list_metadata` (resourceVersion, continue, remainingItemCount) becomes the Table's metadata. Rows share their
    objects (or metadata) with `objects`.
    """
    printer = _printer(served, resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata or {},
        "columnDefinitions": [column.to_object() for column in printer.columns] if columns else [],
        "rows": [_row(obj, printer.cells(obj, now), include_object) for obj in objects],
    }


def _row(obj: Object, cells: list[Any], include_object: IncludeObject) -> Object:
    row: Object = {"cells": cells}
    if include_object == "Object":
        row["object"] = obj
    elif include_object == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
    return row


def _printer(served: Registry, resource: Resource) -> Printer:
    if printer := PRINTERS.get(resource):
        return printer
    entry = served.entry(resource)
    return _custom(entry.columns) if entry.crd is not None else _PLAIN


_PLAIN = Printer((NAME, AGE), lambda obj, now: [obj["metadata"]["name"], age(obj, now)])


def _custom(declared: tuple[registry.Column, ...]) -> Printer:
    """The printer of a CRD version (apiextensions-apiserver's tableconvertor)."""
    compiled = [(one.type, jsonpath.compile_path(one.json_path)) for one in declared]

    def cells(obj: Object, now: datetime) -> list[Any]:
        values: list[Any] = [obj["metadata"]["name"]]
        for kind, path in compiled:
            found = jsonpath.find(path, obj)
            values.append(_cell(kind, found[0], now) if found else None)
        return values

    head = tuple(Column(one.name, one.type, one.priority, one.format, one.description) for one in declared)
    return Printer((NAME, *head), cells)


def _cell(kind: str, value: Any, now: datetime) -> Any:
    """A value as its column's type has it; None, which prints as nothing, where it does not fit."""
    match kind:
        case "string":
            return orjson.dumps(value).decode() if isinstance(value, dict | list) else jsonpath.scalar(value)
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return since(value, now) if isinstance(value, str) else "<unknown>"
    return None
