"""Scalar values as the two APIs write them."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

_UNITS_MS = {"h": 3_600_000.0, "m": 60_000.0, "s": 1000.0, "ms": 1.0, "us": 0.001, "µs": 0.001, "ns": 0.000_001}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")


def milliseconds(text: str) -> int:
    """A duration such as `1h30m`, `0.3s` or `250ms` (Go's time.ParseDuration, which both APIs refer to).

    Rounded to milliseconds; raises ValueError for anything else.
    """
    total, end = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        total += float(part[1]) * _UNITS_MS[part[2]]
        end = part.end()
    if text == "0":
        return 0
    if not text or end != len(text):
        raise ValueError(f"{text!r} is not a duration")
    return round(total)


def parts_per_million(percent: Any) -> int:
    """Istio's Percent, of which 0.0001 is the smallest that Envoy can tell from nothing. What is less than a millionth
    is cut off (route.go, translatePercentToFractionalPercent)."""
    return int(float(percent) * 10_000)


def address_of(text: str) -> str | None:
    """The one IPv4 address that `text` is, possibly written as a network of one; None for anything else."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    return str(network.network_address) if network.version == 4 and network.num_addresses == 1 else None


def host_of(name: str, namespace: str, domain: str) -> str:
    """A host as Istio completes short names: within the namespace of the object that names it."""
    return name if "." in name or "*" in name else f"{name}.{namespace}.svc.{domain}"


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host of a VirtualService or DestinationRule, possibly with a leading `*`, covers a service's."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return pattern == host
