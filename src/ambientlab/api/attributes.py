"""CEL over Envoy's attributes of a request or connection, as Telemetry has it: whether Envoy will take an expression.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from ambientlab import re2

_ATTRIBUTES = (
    "request", "response", "connection", "upstream", "source", "destination", "metadata", "filter_state",
    "upstream_filter_state", "xds",
)  # fmt: skip
_ISTIOS = ("upstream_peer", "downstream_peer", "node")
"""What Istio's own filter adds."""


@cache
def _environment(*, istios: bool) -> Any:
    cel = importlib.import_module("cel_expr_python.cel")
    names = (*_ATTRIBUTES, *_ISTIOS) if istios else _ATTRIBUTES
    return cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN))


def trouble(expression: str, *, istios: bool = False) -> str:
    """The compiler's first line, or what Envoy refuses of what compiles; "" if there is neither. `istios`: with the
    attributes of Istio's own filter."""
    try:
        compiled = _environment(istios=istios).compile(expression)
    except RuntimeError as error:
        return str(error).partition("\n")[0].removeprefix("INVALID_ARGUMENT: ")
    wrapped = importlib.import_module("google.protobuf.any_pb2").Any.FromString(compiled.serialize())
    checked = importlib.import_module("cel.expr.checked_pb2").CheckedExpr.FromString(wrapped.value)
    return next(_refused(checked.expr), "")


def _refused(expression: Any) -> Iterator[str]:
    """Envoy builds no comprehensions, and constant regular expressions at once
    (source/extensions/filters/common/expr/evaluator.cc)."""
    match expression.WhichOneof("expr_kind"):
        case "comprehension_expr":
            yield "Comprehension support is disabled"
        case "call_expr":
            call = expression.call_expr
            if call.function == "matches" and call.args:
                yield from _bad_regex(call.args[-1].const_expr.string_value)
            for part in (call.target, *call.args):
                yield from _refused(part)
        case "select_expr":
            yield from _refused(expression.select_expr.operand)
        case "list_expr":
            for part in expression.list_expr.elements:
                yield from _refused(part)
        case "struct_expr":
            for entry in expression.struct_expr.entries:
                yield from _refused(entry.map_key)
                yield from _refused(entry.value)


def _bad_regex(text: str) -> Iterator[str]:
    try:
        re2.check(text)
    except re2.ExpressionError as error:
        yield str(error)


def is_syntax_error(text: str) -> bool:
    return "Syntax error" in text
