"""Hosts, ports, durations, percentages, labels: the words of Istio's configuration."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ambientlab import re2
from ambientlab.api.durations import seconds
from ambientlab.api.fielderrors import quote

Messages = list[str]

_LABEL = "[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_WILDCARD_LABEL = re.compile(rf"\*|(?:\*|\*-)?{_LABEL}")
_QUALIFIED = "(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_TAG_KEY = re.compile(rf"({_LABEL}(?:\.{_LABEL})*/)?({_QUALIFIED})")
_TAG_VALUE = re.compile(f"(?:{_QUALIFIED})?")
_MILLISECOND = Decimal("0.001")


def is_label(text: str) -> bool:
    return len(text) <= 63 and bool(_DNS_LABEL.fullmatch(text))


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _preconditions(domain: str) -> Messages:
    if len(domain) > 255:
        return [f"domain name {quote(domain)} too long (max 255)"]
    return [] if domain else ["empty domain name not allowed"]


def _labels_of(domain: str) -> Messages:
    parts = domain.split(".")
    if parts[-1].isdigit():
        return [f"domain name {quote(domain)} invalid (top level domain {quote(parts[-1])} cannot be all-numeric)"]
    for index, part in enumerate(parts):
        if index == len(parts) - 1 and not part:
            return []
        if not is_label(part):
            return [f"domain name {quote(domain)} invalid (label {quote(part)} invalid)"]
    return []


def fqdn(domain: str) -> Messages:
    return _preconditions(domain) or _labels_of(domain)


def wildcard_domain(domain: str) -> Messages:
    """A host whose first label may be, or begin with, a star."""
    if problems := _preconditions(domain):
        return problems
    first, dot, rest = domain.partition(".")
    if len(first) > 63 or not _WILDCARD_LABEL.fullmatch(first):
        return [f"domain name {quote(domain)} invalid (label {quote(first)} invalid)"]
    return _labels_of(rest) if dot else []


def port(number: int) -> Messages:
    return [] if 1 <= number <= 65535 else [f"port number {number} must be in the range 1..65535"]


def port_name(name: str) -> Messages:
    return [] if is_label(name) else [f"invalid port name: {name}"]


def ip_subnet(text: str) -> Messages:
    """An address, or one with the length of its network's prefix."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        what = "CIDR block" if "/" in text else "IP"
        return [f"{text} is not a valid {what}"]
    return []


def duration(text: str) -> Messages:
    value = seconds(text)
    if value is None:
        return [f"time: invalid duration {quote(text)}"]
    if value < _MILLISECOND:
        return ["duration must be greater than 1ms"]
    return ["only durations to ms precision are supported"] if value % _MILLISECOND else []


def durations(settings: Mapping[str, Any], *names: str) -> Messages:
    """The durations of these names that are given."""
    return [problem for name in names if name in settings for problem in duration(settings[name])]


def percent(value: int) -> Messages:
    return [] if 0 <= value <= 100 else [f"percentage {value} is not in range 0..100"]


def labels(values: Mapping[str, str] | None) -> Messages:
    problems: Messages = []
    for name, text in (values or {}).items():
        match = _TAG_KEY.fullmatch(name)
        if match is None:
            problems.append(f"invalid tag key: {quote(name)}")
        elif len(match[1] or "") - 1 > 253:
            problems.append(f"invalid tag key: {quote(name)} (DNS prefix is too long)")
        elif len(match[2]) > 63:
            problems.append(f"invalid tag key: {quote(name)} (name is too long)")
        if not _TAG_VALUE.fullmatch(text):
            problems.append(f"invalid tag value: {quote(text)}")
    return problems


def subset_name(name: str) -> Messages:
    if not name:
        return ["subset name cannot be empty"]
    return [] if is_label(name) else [f"subset name is invalid: {name}"]


def export_to(names: Iterable[str], namespace: str, *, to_nobody: bool = False) -> Messages:
    """`to_nobody` allows `~`, as ServiceEntries do."""
    problems: Messages = []
    seen: set[str] = set()
    listed = list(names)
    for name in listed:
        key = namespace if name == "." else name
        if key in seen and key != name:
            problems.append(f"duplicate entries in exportTo: . and current namespace {namespace}")
        elif key in seen:
            problems.append(f"duplicate entries in exportTo for entry {name}")
        elif key == "~" and to_nobody:
            pass
        elif key == "~":
            problems.append("exportTo ~ (none) is not allowed for Istio configuration objects")
        elif key not in ("*", ".") and not is_label(key):
            problems.append("only .,*, or a valid DNS 1123 label is allowed as exportTo entry")
        seen.add(key)
    if "*" in seen and len(listed) > 1:
        problems.append("cannot have both public (*) and non-public exportTo values for a resource")
    if "~" in seen and to_nobody and len(listed) > 1:
        problems.append("cannot export service entry to no one (~) and someone")
    return problems


def expression(text: str, where: str) -> Messages:
    """An RE2 expression."""
    if len(text) > 1024:
        return [f"{quote(where)}: regex is too large, max length allowed is 1024"]
    try:
        re2.check(text)
    except re2.ExpressionError as error:
        hint = "Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"
        return [f"{quote(where)}: {error}; {hint}"]
    return []
