"""Durations as Go writes them (time.ParseDuration), which Kubernetes and Istio refer to."""

from __future__ import annotations

import re
from decimal import Decimal

_MICROSECONDS = ("us", "\N{MICRO SIGN}s", "\N{GREEK SMALL LETTER MU}s")
_SECONDS = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    **dict.fromkeys(_MICROSECONDS, Decimal("1e-6")),
    "ns": Decimal("1e-9"),
}
_PART = re.compile(rf"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|{'|'.join(_MICROSECONDS)}|ns|m|s)")


def seconds(text: str) -> Decimal | None:
    """Of a duration such as `1h5m`, `-0.3s` or `100ms`; None for what is none."""
    sign = Decimal(-1) if text.startswith("-") else Decimal(1)
    rest = text[1:] if text.startswith(("+", "-")) else text
    if rest == "0":
        return Decimal(0)
    total, at = Decimal(0), 0
    while part := _PART.match(rest, at):
        total += Decimal(part[1]) * _SECONDS[part[2]]
        at = part.end()
    return sign * total if rest and at == len(rest) else None
