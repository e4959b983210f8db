"""Scalar values as the two APIs write them."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from ambientlab.mesh.ir import Key

_MICROSECONDS = ("us", "\N{MICRO SIGN}s", "\N{GREEK SMALL LETTER MU}s")
_UNITS_MS = {"h": 3_600_000.0, "m": 60_000.0, "s": 1000.0, "ms": 1.0, "ns": 0.000_001}
_UNITS_MS |= dict.fromkeys(_MICROSECONDS, 0.001)
_PART = re.compile(rf"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|{'|'.join(_MICROSECONDS)}|ns|m|s)")
_LONGEST_MS = 2**63 // 10**6


def milliseconds(text: str) -> int:
    """A duration such as `1h30m`, `0.3s` or `250ms` (Go's time.ParseDuration, which both APIs refer to).

    Rounded to milliseconds, and cut off at the longest that Go has, about 292 years. Raises ValueError for anything
    else.
    """
    sign, rest = text[:1], text[1:]
    if sign not in ("+", "-"):
        sign, rest = "", text
    total, end = 0.0, 0
    for part in _PART.finditer(rest):
        if part.start() != end:
            break
        total += float(part[1]) * _UNITS_MS[part[2]]
        end = part.end()
    if rest == "0":
        return 0
    if not rest or end != len(rest):
        raise ValueError(f"{text!r} is not a duration")
    return round(min(total, _LONGEST_MS)) * (-1 if sign == "-" else 1)


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


def service_host(key: Key, domain: str) -> str:
    """The host of a Service: its full name in the cluster's DNS."""
    return f"{key.name}.{key.namespace}.svc.{domain}"


def host_of(name: str, namespace: str, domain: str) -> str:
    """A host as Istio completes short names: within the namespace of the object that names it."""
    return name if "." in name or "*" in name else service_host(Key(namespace, name), domain)


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host of a VirtualService or DestinationRule, possibly with a leading `*`, covers a service's."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return pattern == host
