"""Names in messages, of which there may be many."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 3


def names(of: Iterable[object]) -> str:
    every = list(map(str, of))
    named = ", ".join(every[:_MOST])
    return named if len(every) <= _MOST else f"{named} and {len(every) - _MOST} more"
