"""What two decisions about one request differ in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ambientlab.mesh.plain import plain
from ambientlab.mesh.plan.aspects import NONE, USUAL, Aspect, Facet, Facets

_WITHOUT = {Aspect.ACTION: "passed on"}
_BY_END = (Aspect.SETTINGS, Aspect.PODS, Aspect.LAST_LEG)
_BEHIND_POLICIES = frozenset(
    {Aspect.ACTION, Aspect.FAULT, Aspect.REWRITE, Aspect.REQUEST_HEADERS, Aspect.TIMEOUT, Aspect.RETRIES}
    | {Aspect.MIRROR, Aspect.SETTINGS}
)
"""What is done with requests that tokens and policies let pass."""
DELIVERED = "delivered"
"""To the endpoints that the service has, and as it was."""

_NOTHING = Facet(None, NONE, True)


@dataclass(frozen=True, slots=True)
class Share:
    """Of one end, before and after; 0 where it is none."""

    name: str
    before: Fraction
    after: Fraction


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect, in words. `subject` is the end that it is about, "" for the whole; `shares` are those of all ends
    where the split differs."""

    aspect: Aspect
    before: str
    after: str
    subject: str = ""
    shares: tuple[Share, ...] = ()


def differences(before: Facets, after: Facets) -> tuple[Difference, ...]:
    found: list[Difference] = []
    refused = all(Aspect.SPLIT in some and some[Aspect.SPLIT].refused for some in (before, after))
    for aspect in Aspect:
        old, new = before.get(aspect), after.get(aspect)
        if old == new or (refused and aspect in _BEHIND_POLICIES):
            continue
        if aspect in _BY_END:
            found += _by_end(aspect, old or _NOTHING, new or _NOTHING)
        elif old is None or new is None:
            one = old or new
            if one is not None and not one.usual:
                without = _WITHOUT.get(aspect, NONE)
                if one.text != without:
                    found.append(Difference(aspect, old.text if old else without, new.text if new else without))
        elif old.value != new.value and not (aspect is Aspect.SPLIT and old.text == new.text and found):
            told = _told((old.text, old.value), (new.text, new.value))
            found.append(Difference(aspect, *told, shares=tuple(_shares(old, new))))
    return tuple(found)


def _told(old: tuple[str, Hashable], new: tuple[str, Hashable]) -> tuple[str, str]:
    """Texts, each with its value: where they are the same, with what they leave out of it and tells the values
    apart."""
    if old[0] != new[0]:
        return old[0], new[0]
    before, after = ([*_leaves("", value)] for _, value in (old, new))
    gone, come = _grouped(before, Counter(before) - Counter(after)), _grouped(after, Counter(after) - Counter(before))
    return _with(old[0], gone), _with(new[0], come or ("" if gone else "otherwise"))


def _with(text: str, detail: str) -> str:
    return f"{text} ({detail})" if detail else text


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """What is in a value, by the names of the fields that lead to it."""
    value = plain(value)
    if isinstance(value, dict):
        for field, inner in value.items():
            yield from _leaves(f"{name} {field}".strip().replace("_", " "), inner)
    elif isinstance(value, list | tuple | frozenset):
        for inner in sorted(value, key=str) if isinstance(value, frozenset) else value:
            yield from _leaves(name, inner)
    elif value is True:
        yield name, ""
    elif value not in (None, False, ""):
        yield name, str(value)


def _grouped(leaves: Iterable[tuple[str, str]], chosen: Counter[tuple[str, str]]) -> str:
    """The chosen ones in their order, those of one name together."""
    values: dict[str, list[str]] = {}
    for name, value in leaves:
        if chosen[name, value] > 0:
            chosen[name, value] -= 1
            values.setdefault(name, []).append(value)
    return ", ".join(f"{name} {', '.join(some)}".strip() for name, some in values.items()).strip()


def _shares(old: Facet, new: Facet) -> Iterator[Share]:
    """Of ends that get requests in the same proportions as before, only more or less of them, what they get together:
    which they are is nothing new."""
    before, after = ({(end.name, end.delivered): end.share for end in facet.shares} for facet in (old, new))
    places = dict.fromkeys((*before, *after))
    pairs = {place: (before.get(place, Fraction(0)), after.get(place, Fraction(0))) for place in places}
    delivered = [pairs[place] for place in places if place[1]]
    total_before, total_after = (
        (sum(shares, Fraction(0)) for shares in zip(*delivered, strict=True)) if delivered else (0, 0)
    )
    if len(delivered) < len(pairs) and all(b * total_after == a * total_before for b, a in delivered):
        if delivered:
            yield Share(DELIVERED, Fraction(total_before), Fraction(total_after))
        pairs = {place: pair for place, pair in pairs.items() if not place[1]}
    for (name, _), (b, a) in pairs.items():
        yield Share(name, b, a)


def _by_end(aspect: Aspect, old: Facet, new: Facet) -> Iterator[Difference]:
    """For ends that there are before and after: about others the split says all there is to say, but for settings."""
    before = {name: (value, text) for name, value, text in old.ends}
    for name, value, text in new.ends:
        if name not in before:
            if aspect is Aspect.SETTINGS and text != USUAL:
                yield Difference(aspect, USUAL, text, name)
        elif before[name][0] != value:
            was, said = before[name]
            yield Difference(aspect, *_told((said, was), (text, value)), name)
