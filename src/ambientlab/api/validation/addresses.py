"""Addresses of IP as Go reads them, and those that no endpoint may have (apimachinery, pkg/util/validation/ip.go;
pkg/apis/core/validation, ValidateNonSpecialIP)."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

from ambientlab.api.fielderrors import Errors, invalid

_MULTICAST = ipaddress.ip_network("224.0.0.0/24")


def family_of(text: str) -> str:
    """IPv4 or IPv6; "" for what is no address."""
    address = _parsed(text)
    return f"IPv{address.version}" if address is not None else ""


def check_ordinary(path: str, text: str, errors: Errors) -> None:
    """Whoever connects to these connects to itself, or to who is near it: a proxy to its own administration."""
    address = _parsed(text)
    if address is None:
        return
    ranges = (
        (address.is_unspecified, f"unspecified ({text})"),
        (address.is_loopback, "in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "in the link-local range (169.254.0.0/16, fe80::/10)"),
        (_is_near_multicast(address), "in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    )
    errors += [invalid(path, text, f"may not be {words}") for within, words in ranges if within]


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """None with a zone. One of IPv4 that is written as one of IPv6 is of IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if "%" in text else address.ipv4_mapped or address
    return address


def _is_near_multicast(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address in _MULTICAST
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2
