"""Shapes of JSON that somebody else wrote: what is of another type than is read is told by its place in the document.

A shape returns the value as it is to be read, or raises ShapeError. Only what is read has a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

_T = TypeVar("_T")

Shape = Callable[[Any], Any]


class ShapeError(Exception):
    """`str()` has the place, as in `configs[2].name: expected a string, found a list`."""

    def __init__(self, expected: str, found: Any) -> None:
        super().__init__(expected)
        self._why = f"expected {expected}, found {_kind(found)}"
        self._place = ""

    def within(self, step: str) -> ShapeError:
        self._place = f"{step}{self._place}"
        return self

    def __str__(self) -> str:
        return f"{self._place.removeprefix('.')}: {self._why}" if self._place else self._why


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return kinds.get(type(value), "a number")


def anything(value: Any) -> Any:
    return value


def text(value: Any) -> str:
    return _of(str, "a string", value)


def number(value: Any) -> int:
    """A whole one."""
    return _of(int, "a whole number", value)


def boolean(value: Any) -> bool:
    return _of(bool, "a boolean", value)


def struct(value: Any) -> dict[str, Any]:
    """An object with whatever in it."""
    return _of(dict, "an object", value)


def _of(kind: type[_T], words: str, value: Any) -> _T:
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):  # Python's booleans are ints as well
        return value
    raise ShapeError(words, value)


def moment(given: str) -> datetime | None:
    """One as RFC 3339 has it, None for another text."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def each(shape: Shape) -> Shape:
    """A list of these."""

    def read(value: Any) -> list[Any]:
        return [within(f"[{at}]", shape, one) for at, one in enumerate(_of(list, "a list", value))]

    return read


def values(shape: Shape) -> Shape:
    """An object whose keys are data."""

    def read(value: Any) -> dict[str, Any]:
        return {key: within(f".{key}", shape, one) for key, one in struct(value).items()}

    return read


def message(fields: Mapping[str, Shape]) -> Shape:
    """An object with these fields and others. A field that is null is absent, as in protobuf's JSON."""

    def read(value: Any) -> dict[str, Any]:
        return {
            key: within(f".{key}", fields[key], one) if key in fields else one
            for key, one in struct(value).items()
            if one is not None or key not in fields
        }

    return read


def within(step: str, shape: Shape, value: Any) -> Any:
    """A part of a document as its shape has it; what is wrong with it is told with the step that led there."""
    try:
        return shape(value)
    except ShapeError as error:
        raise error.within(step) from None
