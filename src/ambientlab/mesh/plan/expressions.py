"""Texts that a regular expression matches, as far as one can be read off it.

Every text is held against the expression by whoever asks for it: what this makes of an expression it does not
understand is no text at all, or a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from ambientlab.api.numbers import whole

_MOST = 8
_LONGEST = 4096
_CLASSES = {"d": "0", "D": "x", "w": "x", "W": "-", "s": " ", "S": "x"}
_CANDIDATES = "xaA0-/_.zbB19 ~"
_FOLLOWING = "?*+{"


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def next(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, text: str = "") -> bool:
        if text and not self.text.startswith(text, self.at):
            return False
        self.at += len(text) or 1
        return True


def texts(expression: str) -> list[str]:
    """A few that take different ways through the expression, the shortest way first. None of one that is nested too
    deeply to be read."""
    try:
        return list(dict.fromkeys(_alternatives(_Reader(expression))))[:_MOST]
    except RecursionError:
        return []


def _alternatives(reader: _Reader) -> list[str]:
    found = _sequence(reader)
    while reader.take("|"):
        found += _sequence(reader)
    return found


def _sequence(reader: _Reader) -> list[str]:
    parts: list[list[str]] = []
    while reader.next not in ("", "|", ")"):
        part = _atom(reader)
        while reader.next and reader.next in _FOLLOWING:
            before = reader.at
            part = _repeated(reader, part)
            if reader.at == before:
                break
        parts.append(part)
    return ["".join(way) for way in islice(product(*parts), _MOST)]


def _repeated(reader: _Reader, part: list[str]) -> list[str]:
    least, most = 1, 1
    if reader.next == "{":
        end = reader.text.find("}", reader.at)
        bounds = reader.text[reader.at + 1 : end].split(",")
        times = whole(bounds[0])
        if end < 0 or times is None:
            reader.take()
            return [f"{text}{{" for text in part]
        least = most = min(times, 100)
        most += len(bounds) > 1
        reader.at = end + 1
    else:
        least, most = {"?": (0, 1), "*": (0, 1), "+": (1, 2)}[reader.next]
        reader.take()
    reader.take("?")
    found = ((text, times) for times in dict.fromkeys((least, most)) for text in part)
    return [text * times for text, times in found if len(text) * times <= _LONGEST][:_MOST]


def _atom(reader: _Reader) -> list[str]:
    first = reader.next
    reader.take()
    match first:
        case "(":
            return _group(reader)
        case "[":
            return list(_members(reader))
        case "\\":
            escaped = reader.next
            reader.take()
            return [""] if escaped in "AzbB" else [_CLASSES.get(escaped, escaped)]
        case ".":
            return ["x"]
        case "^" | "$":
            return [""]
    return [first]


def _group(reader: _Reader) -> list[str]:
    if reader.take("?"):
        while reader.next not in ("", ":", ">", ")"):
            reader.take()
        if reader.take(")"):
            return [""]
        reader.take()
    found = _alternatives(reader)
    reader.take(")")
    return found


def _members(reader: _Reader) -> Iterator[str]:
    """One that a class of characters has."""
    inverted = reader.take("^")
    ranges: list[tuple[str, str]] = []
    first = True
    while reader.next and (first or reader.next != "]"):
        first = False
        one = _member(reader)
        if reader.next == "-" and reader.text[reader.at + 1 : reader.at + 2] not in ("", "]"):
            reader.take()
            ranges.append((one, _member(reader)))
        else:
            ranges.append((one, one))
    reader.take("]")
    if not inverted:
        yield from dict.fromkeys(end for each in ranges[:_MOST] for end in each[:1])
        return
    yield from islice((c for c in _CANDIDATES if not any(low <= c <= high for low, high in ranges)), 1)


def _member(reader: _Reader) -> str:
    if reader.take("\\"):
        escaped = reader.next
        reader.take()
        return _CLASSES.get(escaped, escaped)
    end = reader.text.find(":]", reader.at) if reader.text.startswith("[:", reader.at) else -1
    if end >= 0:
        name = reader.text[reader.at + 2 : end]
        reader.at = end + 2
        return {"digit": "0", "space": " ", "upper": "X", "punct": "-"}.get(name, "x")
    one = reader.next
    reader.take()
    return one
