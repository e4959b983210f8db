"""The string formats that a schema may ask for. An unknown format asks for nothing, as in Kubernetes.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from functools import cache
from urllib.parse import urlsplit

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_DURATION = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|0")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_MAC = re.compile(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}")


def _date(value: str) -> bool:
    date.fromisoformat(value)
    return len(value) == 10


def _cidr(value: str) -> bool:
    ipaddress.ip_interface(value)
    return "/" in value


def _byte(value: str) -> bool:
    base64.b64decode(value, validate=True)
    return True


def _uri(value: str) -> bool:
    """Go's url.ParseRequestURI: an absolute URI or an absolute path."""
    return value.startswith("/") or bool(urlsplit(value).scheme)


_CHECKS: dict[str, Callable[[str], bool]] = {
    "date-time": lambda value: bool(_DATE_TIME.fullmatch(value)),
    "datetime": lambda value: bool(_DATE_TIME.fullmatch(value)),
    "date": _date,
    "duration": lambda value: bool(_DURATION.fullmatch(value)),
    "hostname": lambda value: len(value) <= 253 and bool(_HOSTNAME.fullmatch(value)),
    "ipv4": lambda value: bool(ipaddress.IPv4Address(value)),
    "ipv6": lambda value: ipaddress.IPv6Address(value) is not None,
    "cidr": _cidr,
    "mac": lambda value: bool(_MAC.fullmatch(value)),
    "uuid": lambda value: bool(_UUID.fullmatch(value)),
    "email": lambda value: bool(_EMAIL.fullmatch(value)),
    "byte": _byte,
    "uri": _uri,
}


@cache
def known(name: str) -> Callable[[str], bool] | None:
    return _CHECKS.get(name)


def holds(name: str, value: str) -> bool:
    check = known(name)
    if check is None:
        return True
    try:
        return check(value)
    except (ValueError, binascii.Error):
        return False
