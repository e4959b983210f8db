"""Remembering what was generated for what."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """The last result per key, kept while its inputs stay equal.

    Values that did not change are the identical objects, so comparing them costs next to nothing. A result equal to the
    last is replaced by it, so that results can be compared in the same way. One round is one generation of everything:
    what was not asked for in it is forgotten.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[tuple[Any, ...], T]] = {}
        self._next: dict[Hashable, tuple[tuple[Any, ...], T]] = {}

    def get(self, key: Hashable, make: Callable[..., T], *inputs: Any) -> T:
        """`make(*inputs)`, or what was given for `key` last time if it is the same."""
        entry = self._kept.get(key)
        if entry is None or entry[0] != inputs:
            made = make(*inputs)
            entry = (inputs, entry[1] if entry is not None and entry[1] == made else made)
        self._next[key] = entry
        return entry[1]

    def end_round(self) -> None:
        self._kept, self._next = self._next, {}
