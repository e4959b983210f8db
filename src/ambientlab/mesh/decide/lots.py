"""Drawing lots: finite distributions with exact probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

Lot = tuple[tuple[Fraction, T], ...]
"""Values with their probabilities, which are positive and 1 together."""

ALWAYS = Fraction(1)
MILLION = 1_000_000


def certain(value: T) -> Lot[T]:
    return ((ALWAYS, value),)


def weighted(values: Iterable[tuple[int, T]]) -> Lot[T]:
    """In proportion to weights, of which one at least is positive."""
    items = [(weight, value) for weight, value in values if weight]
    total = sum(weight for weight, _ in items)
    return tuple((Fraction(weight, total), value) for weight, value in items)


def evenly(values: Sequence[T]) -> Lot[T]:
    return weighted((1, value) for value in values)


def chance(parts_per_million: int, then: T, otherwise: T) -> Lot[T]:
    parts = min(parts_per_million, MILLION)
    return weighted(((parts, then), (MILLION - parts, otherwise)))


def joined(lot: Lot[T], then: Callable[[T], Lot[U]]) -> Lot[U]:
    """What follows from each value is drawn in turn, independently; equal ends are one."""
    found: list[tuple[Fraction, U]] = []
    for probability, value in lot:
        for next_probability, end in then(value):
            share = probability * next_probability
            for place, (known, same) in enumerate(found):
                if same == end:
                    found[place] = (known + share, same)
                    break
            else:
                found.append((share, end))
    return tuple(found)
