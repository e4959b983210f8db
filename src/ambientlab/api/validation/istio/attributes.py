"""Values of the attributes that policies are about (istio/istio pkg/config/security)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

from ambientlab.api.fielderrors import quote
from ambientlab.api.numbers import whole
from ambientlab.api.validation.istio.common import Messages

ONE_SEGMENT, ANY_SEGMENTS = "{*}", "{**}"
_LITERAL = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+")
_MAPS = ("request.headers", "request.experimental.inline.headers", "request.auth.claims", "experimental.envoy.filters.")
"""Attributes of which the key names one entry: `a[b]`."""
_PLAIN = frozenset(
    {
        "source.namespace",
        "source.principal",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "connection.sni",
    }
)
_ACCOUNT = "expected format 'serviceAccount' or 'namespace/serviceAccount'"


def attribute(key: str, values: Sequence[str]) -> Messages:
    """ValidateAttribute: the first thing wrong with a condition on an attribute."""
    if problem := filled(key, values):
        return problem
    if key.startswith(_MAPS):
        inside = key.find("[")
        return [] if key.endswith("]") and 0 < inside < len(key) - 2 else [f"bad key ({key}): should have format a[b]"]
    match key:
        case "source.ip" | "remote.ip" | "destination.ip":
            return addresses(values)
        case "destination.port":
            return ports(values)
        case "source.serviceAccount":
            return accounts(key, values)
        case "source.trustDomain":
            return stars(key, values)
        case "destination.namespace":
            return [f"attribute {key} is replaced by the metadata.namespace"]
        case "destination.name" | "destination.user":
            return [f"deprecated attribute {key}: only supported in v1alpha1"]
    if key.startswith("destination.labels"):
        return [f"attribute {key} is replaced by the workload selector"]
    return [] if key in _PLAIN else [f"unknown attribute: {key}"]


def filled(key: str, values: Iterable[str]) -> Messages:
    return [f"empty value not allowed, found in {key}"] if "" in values else []


def addresses(values: Iterable[str]) -> Messages:
    problems: Messages = []
    for value in values:
        address, slash, bits = value.rpartition("/")
        if not slash:
            if _address_problem(value):
                problems.append(f"bad IP address ({value})")
        elif problem := _prefix_problem(address, bits):
            problems.append(f"bad CIDR range ({value}): netip.ParsePrefix({quote(value)}): {problem}")
    return problems


def _prefix_problem(address: str, bits: str) -> str:
    """In the words of Go's netip.ParsePrefix."""
    if problem := _address_problem(address):
        return f"ParseAddr({quote(address)}): {problem}"
    if "%" in address:
        return "IPv6 zones cannot be present in a prefix"
    if not re.fullmatch(r"0|[1-9]\d{0,17}", bits):
        return f"bad bits after slash: {quote(bits)}"
    return "prefix length out of range" if int(bits) > (128 if ":" in address else 32) else ""


def _address_problem(text: str) -> str:
    """In the words of Go's netip.ParseAddr, as far as it is about IPv4."""
    first = next((character for character in text if character in ".:%"), "")
    if first != ".":
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return "missing IPv6 address" if first == "%" else "unable to parse IP"
        return ""
    parts = text.split(".")
    for number, part in enumerate(parts):
        if (strange := re.search(r"[^0-9]", part)) is not None:
            rest = ".".join([part[strange.start() :], *parts[number + 1 :]])
            return f"unexpected character (at {quote(rest)})"
        if not part:
            return "IPv4 field must have at least one digit"
        if len(part) > 1 and part.startswith("0"):
            return "IPv4 field has octet with leading zero"
        if whole(part, 255) is None:
            return "IPv4 field has value >255"
    return "" if len(parts) == 4 else f"IPv4 address too {'short' if len(parts) < 4 else 'long'}"


def ports(values: Iterable[str]) -> Messages:
    problems: Messages = []
    for value in values:
        if not (value.isascii() and value.isdigit()):
            problems.append(f"bad port ({value}): strconv.ParseUint: parsing {quote(value)}: invalid syntax")
        elif whole(value, 65535) is None:
            problems.append(f"bad port ({value}): <nil>")
    return problems


def accounts(key: str, values: Sequence[str]) -> Messages:
    if len(values) > 16:
        return ["may not have more than 16 values"]
    for value in values:
        namespace, slash, name = value.partition("/")
        if not value:
            return filled(key, values)
        if "*" in value:
            return [f"wildcard not allowed, found in {key}"]
        if "/" in name:
            return [f"{_ACCOUNT}, found {quote(value)} in {key}"]
        if slash and not namespace:
            return [f"{_ACCOUNT}, found empty namespace {quote(value)} in {key}"]
        if slash and not name:
            return [f"{_ACCOUNT}, found empty serviceAccount {quote(value)} in {key}"]
    return []


def stars(key: str, values: Sequence[str]) -> Messages:
    """CheckWildcardValues: the first thing wrong."""
    for value in values:
        if not value:
            return filled(key, values)
        if value.count("*") > 1:
            return [f"at most one wildcard is allowed, found in {key}: {quote(value)}"]
        if "*" in value[1:-1]:
            return [f"wildcard is only allowed at the start or end, found in {key}: {quote(value)}"]
    return []


def trust_domains(key: str, values: Sequence[str]) -> Messages:
    """CheckTrustDomainValues: the first thing wrong."""
    slashed = [f"trust domain must not contain '/', found in {key}: {quote(value)}" for value in values if "/" in value]
    return stars(key, values) or slashed[:1]


def path_templates(key: str, paths: Iterable[str]) -> Messages:
    """CheckValidPathTemplate: the first thing wrong."""
    for text in paths:
        template = ONE_SEGMENT in text or ANY_SEGMENTS in text
        path, ended = text.strip("/"), False
        wrong = f"invalid or unsupported path {path}, found in {key}. "
        for segment in path.split("/"):
            if segment in (ONE_SEGMENT, ANY_SEGMENTS):
                if ended:
                    return [f"{wrong}{ANY_SEGMENTS} is not the last operator"]
                ended = segment == ANY_SEGMENTS
            elif "{" in segment or "}" in segment:
                return [f"{wrong}Contains '{{' or '}}' beyond a supported path template"]
            elif template and not _LITERAL.fullmatch(segment):
                return [f"{wrong}Contains segment {segment} with invalid string literal"]
    return []
