"""The JSONPath that printer columns use: `.spec.hosts`, `.status.conditions[?(@.type=="Ready")].status`, `.a[*].b`.

https://kubernetes.io/docs/reference/kubectl/jsonpath/ is larger; CRDs may use only simple paths with array filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]

_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\\])+)
      | \[\s*(?:'(?P<single>(?:\\.|[^'\\])*)'|"(?P<double>(?:\\.|[^"\\])*)")\s*\]
      | \[\s*(?P<index>-?\d+)\s*\]
      | \[\s*(?P<every>\*)\s*\]
      | \[\?\(\s*@\.(?P<field>[\w.\-/\\]+)\s*(?P<operator>==|!=)\s*(?P<wanted>'[^']*'|"[^"]*"|[^\s)]+)\s*\)\]""",
    re.VERBOSE,
)


class PathError(ValueError):
    """Not a path that printer columns may use."""


@cache
def compile_path(text: str) -> tuple[Step, ...]:
    """Raises PathError."""
    steps: list[Step] = []
    if text == ".":
        return ()
    path = text if text.startswith((".", "[")) else f".{text}"
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise PathError(f"invalid JSONPath {text!r} at {path[at:]!r}")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["index"] is not None:
        return _index(int(match["index"]))
    if match["every"] or match["name"] == "*":
        return _every
    if match["field"] is not None:
        return _filter(match["field"], match["operator"] == "==", match["wanted"].strip("'\""))
    name = next(match[group] for group in ("name", "single", "double") if match[group] is not None)
    return _field(re.sub(r"\\(.)", r"\1", name))


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _filter(field: str, equal: bool, wanted: str) -> Step:
    inner = compile_path(f".{field}")

    def step(value: Any) -> Iterator[Any]:
        for item in _every(value):
            found = [scalar(one) for one in find(inner, item)]
            if found and (wanted in found) is equal:
                yield item

    return step


def find(steps: tuple[Step, ...], value: Any) -> list[Any]:
    """Everything a compiled path leads to."""
    values = [value]
    for step in steps:
        values = [found for one in values for found in step(one)]
    return values


def scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
