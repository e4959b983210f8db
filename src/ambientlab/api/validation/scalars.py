"""Numbers, ports, percentages and quantities, as pkg/apis/*/validation checks them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from ambientlab.api.fielderrors import Errors, invalid, not_supported, required
from ambientlab.api.numbers import INT64, whole

PORT_RANGE = "must be between 1 and 65535, inclusive"
NOT_NEGATIVE = "must be greater than or equal to 0"
_PORT_NAME = re.compile("[-a-z0-9]+")
_PERCENT = re.compile("[0-9]+%")
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)


def port(path: str, value: Any, errors: Errors) -> None:
    if not 1 <= value <= 65535:
        errors.append(invalid(path, value, PORT_RANGE))


def port_name(text: str) -> list[str]:
    """IANA service names (RFC 6335, 5.1), as IsValidPortName."""
    problems: list[str] = []
    if len(text) > 15:
        problems.append("must be no more than 15 characters")
    if not _PORT_NAME.fullmatch(text):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        problems.append("must contain at least one letter (a-z)")
    if "--" in text:
        problems.append("must not contain consecutive hyphens")
    if text[:1] == "-" or text[-1:] == "-":
        problems.append("must not begin or end with a hyphen")
    return problems


def port_or_name(path: str, value: Any, errors: Errors) -> None:
    if isinstance(value, int):
        port(path, value, errors)
    else:
        errors.extend(invalid(path, value, problem) for problem in port_name(value))


def not_negative(path: str, value: Any, errors: Errors) -> None:
    if value is not None and value < 0:
        errors.append(invalid(path, value, NOT_NEGATIVE))


def one_of(path: str, value: Any, supported: Iterable[str], errors: Errors, *, needed: bool = True) -> None:
    """An enumerated string; an empty one is missing."""
    if not value:
        if needed:
            errors.append(required(path))
    elif value not in supported:
        errors.append(not_supported(path, value, supported))


def count_or_percent(path: str, value: Any, errors: Errors, *, limit: bool = False) -> None:
    """An int-or-string that is a count or a percentage; `limit` if more than all makes no sense."""
    if isinstance(value, int):
        not_negative(path, value, errors)
    elif not _PERCENT.fullmatch(value):
        errors.append(invalid(path, value, _PERCENT_TEXT))
    elif whole(value[:-1], 100 if limit else INT64) is None:
        errors.append(invalid(path, value, "must not be greater than 100%" if limit else _PERCENT_TEXT))


def is_zero(value: Any) -> bool:
    return value in (0, "0%")


_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)([numkMGTPE]?|[KMGTPE]i)")


def quantity(text: str) -> Decimal | None:
    """The value of a resource.Quantity (`250m`, `1Gi`); None if it is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2]]
    except InvalidOperation:
        return None
