"""RE2 expressions: what schemas of CRDs and Istio's matches are written in, told in the words of Go's regexp/syntax.

Python's `re` takes exponential time for some expressions, which whoever writes one could stop the server with, and
differs in what it knows. The CEL evaluator carries the real RE2, whose time is linear.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

_WORDS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid named capture group": "invalid named capture",
}
"""RE2's own (re2/regexp.cc, kErrorStrings) -> Go's (regexp/syntax/parse.go)."""

_INVALID = re.compile(r"invalid regular expression: (.+)", re.DOTALL)


class ExpressionError(ValueError):
    """Not an RE2 expression; `str()` is Go's reason."""


@cache
def _matcher() -> Callable[[str, str], Any]:
    """The evaluator is loaded when the first expression is met: that takes longer than everything else here."""
    cel = importlib.import_module("cel_expr_python.cel")
    names = {"value": cel.Type.STRING, "expression": cel.Type.STRING}
    program = cel.NewEnv(variables=names).compile("value.matches(expression)")

    def match(expression: str, value: str) -> bool:
        result = program.eval(data={"value": value, "expression": expression})
        if result.type() == cel.Type.ERROR:
            raise ExpressionError(_reason(str(result.value())))
        return bool(result.plain_value())

    return match


@lru_cache(maxsize=4096)
def search(expression: str, value: str) -> bool:
    """Whether some part of `value` matches. Raises ExpressionError."""
    return bool(_matcher()(expression, value))


def fullmatch(expression: str, value: str) -> bool:
    """Whether `value` matches as a whole, which is how Envoy matches. Raises ExpressionError."""
    return search(rf"\A(?:{expression})\z", value)


def replace_all(expression: str, replacement: str, value: str) -> str:
    r"""Every match replaced, where `\1` stands for a group and `\0` for the match (RE2::GlobalReplace).

    The evaluator only tells whether there is a match; where it is, Python's `re` says. Raises ExpressionError, also for
    an expression that Python does not know.
    """
    if not search(expression, value):
        return value
    try:
        found = re.compile(expression)
    except re.error as error:
        raise ExpressionError(f"cannot be carried out here: {error}") from None
    return found.sub(lambda match: _expand(match, replacement), value)


def check(expression: str) -> None:
    """Raises ExpressionError for what is no expression."""
    search(expression, "")


def _expand(match: re.Match[str], replacement: str) -> str:
    r"""`\\` is a backslash; a group that took no part is empty."""
    return re.sub(r"\\(\d|\\)", lambda m: "\\" if m[1] == "\\" else match[int(m[1])] or "", replacement)


def _reason(said: str) -> str:
    found = _INVALID.search(said)
    if found is None:
        return f"error parsing regexp: {said}"
    what, _, where = found[1].partition(": ")
    return f"error parsing regexp: {_WORDS.get(what, what)}: `{where}`"
