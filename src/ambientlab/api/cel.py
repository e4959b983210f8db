"""CEL rules of CRDs (`x-kubernetes-validations`), behind an interface: the evaluator is young.

The environment is Kubernetes' as far as the evaluator carries it: the standard library, optionals, strings, and the
Kubernetes functions below. A rule that needs more does not compile, and its CRD is refused with the compiler's reason.
https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Protocol
from urllib.parse import urlsplit


class CelError(Exception):
    """A rule that does not compile, or cannot be evaluated on this value."""


class Program(Protocol):
    """A compiled rule. `uses_old_self` rules hold for updates only."""

    @property
    def uses_old_self(self) -> bool: ...

    def evaluate(self, self_: Any, old_self: Any = None) -> Any:
        """The value as plain Python; raises `CelError` where evaluation fails."""
        ...


def _answers(check: Callable[[str], Any]) -> Callable[[str], bool]:
    def safe(value: str) -> bool:
        try:
            return bool(check(value))
        except ValueError:
            return False

    return safe


def _is_url(value: str) -> bool:
    parts = urlsplit(value)
    return bool(parts.scheme) and bool(parts.netloc or parts.path.startswith("/"))


_PREDICATES: dict[str, Callable[[str], bool]] = {
    "isIP": _answers(lambda value: ipaddress.ip_address(value) is not None),
    "isCIDR": _answers(lambda value: "/" in value and ipaddress.ip_interface(value) is not None),
    "isURL": _answers(_is_url),
}


def _url(value: str) -> dict[str, str]:
    """A URL's parts. Raises ValueError for what is none: a rule about that cannot be evaluated."""
    if not _is_url(value):
        raise ValueError("not a URL")
    parts = urlsplit(value)
    return {
        "getScheme": parts.scheme,
        "getHost": parts.netloc.rpartition("@")[2],
        "getHostname": parts.hostname or "",
        "getPort": "" if parts.port is None else str(parts.port),
        "getEscapedPath": parts.path,
    }


_URL_PARTS = ("getScheme", "getHost", "getHostname", "getPort", "getEscapedPath")


@cache
def _cel() -> Any:
    """The evaluator's module, loaded when the first rule is compiled: it takes longer than the rest of the room."""
    return importlib.import_module("cel_expr_python.cel")


@cache
def _environment() -> Any:
    cel = _cel()
    optional = importlib.import_module("cel_expr_python.ext.ext_optional")
    strings = importlib.import_module("cel_expr_python.ext.ext_strings")
    functions = [
        cel.FunctionDecl(
            name,
            [
                cel.Overload(
                    id=f"{name.lower()}_string", return_type=cel.Type.BOOL, parameters=[cel.Type.STRING], impl=check
                )
            ],
        )
        for name, check in _PREDICATES.items()
    ]
    text, parts = cel.Type.STRING, cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
    functions.append(
        cel.FunctionDecl("url", [cel.Overload(id="string_to_url", return_type=parts, parameters=[text], impl=_url)])
    )
    for name in _URL_PARTS:
        part = cel.Overload(
            id=f"url_{name.lower()}", return_type=text, parameters=[parts], is_member=True, impl=itemgetter(name)
        )
        functions.append(cel.FunctionDecl(name, [part]))
    return cel.NewEnv(
        variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN},
        extensions=[optional.ExtOptional(), strings.ExtStrings()],
        functions=functions,
    )


_OLD_SELF = re.compile(r"\boldSelf\b")
# A field whose name CEL reserves is written __name__ in rules; objects here keep their real keys.
_ESCAPED_FIELD = re.compile(r"(?<=\.)__([a-z]+)__\b")


@dataclass(frozen=True, slots=True)
class _Compiled:
    expression: Any
    uses_old_self: bool

    def evaluate(self, self_: Any, old_self: Any = None) -> Any:
        try:
            value = self.expression.eval(data={"self": self_, "oldSelf": old_self})
        except RuntimeError as error:  # a rule that takes more steps than the evaluator grants one
            raise CelError(str(error).partition("\n")[0]) from None
        if value.type() == _cel().Type.ERROR:
            raise CelError(str(value.value()))
        return value.plain_value()


@cache
def compile_rule(rule: str) -> Program:
    """Compiled on first use and cached. Raises CelError."""
    try:
        expression = _environment().compile(_ESCAPED_FIELD.sub(r"\1", rule))
    except RuntimeError as error:
        raise CelError(str(error).partition("\n")[0]) from None
    return _Compiled(expression, bool(_OLD_SELF.search(rule)))
