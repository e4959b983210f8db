"""What becomes of headers (Envoy, source/common/router/header_parser.cc)."""

from __future__ import annotations

from collections.abc import Iterable

from ambientlab.mesh.decide.request import Headers
from ambientlab.mesh.ir import HeaderChange

NOTHING = HeaderChange()


def changed(headers: Headers, changes: Iterable[HeaderChange]) -> Headers:
    """Each change in turn: remove, then set, then add. One to an empty value is none, as Envoy has it."""
    result = headers
    for change in changes:
        kept = [(name, value) for name, value in result if name not in change.remove]
        for name, value in change.set:
            if value:
                kept = [*((n, v) for n, v in kept if n != name), (name, value)]
        result = (*kept, *((name, value) for name, value in change.add if value))
    return result


def together(first: HeaderChange, second: HeaderChange) -> HeaderChange:
    """Two changes that are made as one, which is not the same as one after the other: all is removed before anything
    is set."""
    return HeaderChange(first.set + second.set, first.add + second.add, first.remove + second.remove)
