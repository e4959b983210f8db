"""Documents with one thing wrong: what each part of a JSON document is told apart by."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

GONE = object()
"""In place of a value: its key is missing."""


Place = tuple[str | int, ...]


def places(document: Any, *before: str | int) -> Iterator[tuple[Place, Any]]:
    """Each value in a document, and the way to it."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for step, value in inner:
        yield (*before, step), value
        yield from places(value, *before, step)


def mutated(document: Any, place: Place, value: Any) -> Any:
    """A copy with this value at a place."""
    made = at = deepcopy(document)
    for step in place[:-1]:
        at = at[step]
    if value is GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return made


def told(place: Place) -> str:
    """A place as errors tell it: `configs[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
