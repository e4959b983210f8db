"""RE2 expressions: what schemas of CRDs and Istio's matches are written in, told in the words of Go's regexp/syntax.

Python's `re` takes exponential time for some expressions, which whoever writes one could stop the server with, and
differs in what it knows. The CEL evaluator carries the real RE2, whose time is linear.
"""

from __future__ import annotations

import re

from ambientlab.api import cel

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

_MATCHES = "self.matches(oldSelf)"
_INVALID = re.compile(r"invalid regular expression: (.+)", re.DOTALL)


class ExpressionError(ValueError):
    """Not an RE2 expression; `str()` is Go's reason."""


def search(expression: str, value: str) -> bool:
    """Whether some part of `value` matches. Raises ExpressionError."""
    try:
        return bool(cel.compile_rule(_MATCHES).evaluate(value, expression))
    except cel.CelError as error:
        raise ExpressionError(_reason(str(error))) from None


def check(expression: str) -> None:
    """Raises ExpressionError for what is no expression."""
    search(expression, "")


def _reason(said: str) -> str:
    found = _INVALID.search(said)
    if found is None:
        return f"error parsing regexp: {said}"
    what, _, where = found[1].partition(": ")
    return f"error parsing regexp: {_WORDS.get(what, what)}: `{where}`"
