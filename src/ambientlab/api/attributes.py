"""CEL over Envoy's attributes of a request or connection, as Telemetry has it: whether Envoy will take an expression.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

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
    """The compiler's first line, "" if there is none. `istios`: with the attributes of Istio's own filter."""
    try:
        _environment(istios=istios).compile(expression)
    except RuntimeError as error:
        return str(error).partition("\n")[0].removeprefix("INVALID_ARGUMENT: ")
    return ""


def is_syntax_error(text: str) -> bool:
    return "Syntax error" in text
