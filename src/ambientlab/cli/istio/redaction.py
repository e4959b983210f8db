"""What is taken out of anything that is to be shown to others: keys, tokens, and what Secrets hold.

Objects lose it by their structure, before they are written; texts by what secrets look like, wherever they turn up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

REDACTED = "[redacted]"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_TELLING = re.compile(r"passw|secret|token|credential|api[_-]?key|private[_-]?key|auth", re.IGNORECASE)
"""In names of environment variables and arguments: their values are nobody's business."""

_PATTERNS = (
    (re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(-----END \1PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    # PEM within JSON or YAML is base64 of the above: its first bytes are always these
    (
        re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/]*?(?:UFJJVkFURSBLRVk|BSSVZBVEUgS0VZ|QUklWQVRFIEtFW)[A-Za-z0-9+/=]*"),
        REDACTED,
    ),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"), REDACTED),
    (
        re.compile(r"((?:proxy-)?authorization\W{1,4}(?:bearer|basic|digest)\s+)[^\s\"',}]+", re.IGNORECASE),
        rf"\1{REDACTED}",
    ),
    # headers as Envoy's dump has them, that a route adds to requests
    (
        re.compile(
            r"(\"key\"\s*:\s*\"(?:(?:proxy-)?authorization|(?:set-)?cookie|[a-z-]*(?:token|api-?key|secret)[a-z-]*)\"\s*,"
            r"\s*\"(?:raw_)?value\"\s*:\s*\")[^\"]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"((?:\b|_)token\"?[ \t]*[:=][ \t]*\"?)(?!\[redacted\])[^\s\"',}&]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"((?:set-)?cookie\"?\s*[:=]\s*\"?)[^\s\"',}][^\n\"]*", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"(://)[^/\s:@\"]*:[^/\s@\"]+@"), rf"\1{REDACTED}@"),
    (
        re.compile(
            r"((?:client-key-data|password|passwd|client_secret|api[_-]?key)\"?\s*[:=]\s*\"?)(?!\[redacted\])[^\s\"',}]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
)


def text(given: str) -> str:
    for pattern, replacement in _PATTERNS:
        given = pattern.sub(replacement, given)
    return given


def obj(given: dict[str, Any]) -> dict[str, Any]:
    """A copy of an object of the API. Of a Secret the names of its entries stay."""
    found: dict[str, Any] = json.loads(json.dumps(given))
    metadata = found.get("metadata") or {}
    metadata.pop("managedFields", None)
    annotations = metadata.get("annotations") or {}
    if _LAST_APPLIED in annotations:
        annotations[_LAST_APPLIED] = REDACTED
    if found.get("kind") == "Secret":
        for part in ("data", "stringData"):
            if part in found:
                found[part] = dict.fromkeys(found[part] or {}, REDACTED)
    _environment(found)
    return found


def _environment(value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            _environment(one)
    elif isinstance(value, dict):
        for variable in value.get("env") or () if isinstance(value.get("env"), list) else ():
            if isinstance(variable, dict) and "value" in variable and _TELLING.search(str(variable.get("name", ""))):
                variable["value"] = REDACTED
        for name in ("command", "args"):
            if isinstance(value.get(name), list):
                value[name] = list(_arguments(value[name]))
        for below in value.values():
            _environment(below)


def _arguments(given: list[Any]) -> Iterator[Any]:
    """`--token=x` and `--token x`."""
    named = False
    for one in given:
        name, equals, _ = str(one).partition("=")
        is_flag = name.startswith("-")
        if named and not is_flag:
            yield REDACTED
        else:
            yield f"{name}={REDACTED}" if is_flag and equals and _TELLING.search(name) else one
        named = is_flag and not equals and bool(_TELLING.search(name))
