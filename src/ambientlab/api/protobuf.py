"""Kubernetes protobuf request bodies (`application/vnd.kubernetes.protobuf`), which `kubectl create` sends.

Only decoding: replies may be JSON. A body is `k8s\\0` and a runtime.Unknown that wraps the object. Messages are read by
table (`protobuf_fields`); a field that the table lacks and that carries something is refused, not dropped: it would be
a wish of the user's that nobody heard.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.protobuf_fields import MESSAGES

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64


class _Damaged(ValueError):
    """The bytes are not a protobuf message."""


def decode(body: bytes) -> Object:
    """Raises StatusError 400 for a damaged body or an unreadable field, 415 for a kind without a table."""
    if not body.startswith(_MAGIC):
        raise _bad("the protobuf body does not begin with the expected prefix k8s\\x00")
    try:
        wrapper = {number: value for number, _, value in _fields(body[len(_MAGIC) :])}
        meta = {number: value for number, _, value in _fields(_blob(wrapper.get(1, b"")))}
        api_version, kind = _blob(meta.get(1, b"")).decode(), _blob(meta.get(2, b"")).decode()
        if kind not in MESSAGES:
            raise StatusError(
                415,
                "UnsupportedMediaType",
                f"{kind} in {api_version} cannot be read as protobuf here; send it as application/json",
            )
        obj = _message(kind, _blob(wrapper.get(2, b"")), kind, 0)
    except (_Damaged, UnicodeDecodeError, OverflowError) as error:
        raise _bad(f"the protobuf body cannot be read: {error}") from None
    return {"apiVersion": api_version, "kind": kind} | obj


def _bad(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def _blob(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _Damaged("expected a length-delimited field")
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise _Damaged("unexpected EOF")


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) of each field, in order."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _Damaged(f"wire type {wire} of field {number} is not used by Kubernetes")
        if at + size > len(data):
            raise _Damaged("unexpected EOF")
        yield number, wire, data[at : at + size]
        at += size


def _message(name: str, data: bytes, path: str, depth: int) -> Object:
    """The JSON form: what Go's `omitempty` leaves out is left out."""
    if depth > _MAX_DEPTH:
        raise _Damaged("nested too deeply")
    table = MESSAGES[name]
    result: Object = {}
    for number, wire, value in _fields(data):
        if number not in table:
            if value not in (0, b""):
                raise _bad(f"field {number} of {path} cannot be read as protobuf here; send it as application/json")
            continue
        field, kind = table[number]
        _put(result, field, kind, wire, value, f"{path}.{field}", depth)
    return result


def _put(result: Object, field: str, kind: str, wire: int, value: int | bytes, path: str, depth: int) -> None:
    if not field:  # a struct that Go embeds: its fields are the object's own
        result.update(_message(kind, _blob(value), path.removesuffix("."), depth + 1))
    elif kind.startswith("[]"):
        result.setdefault(field, []).append(_value(kind[2:], wire, value, path, depth))
    elif kind.startswith("{}"):
        entry = {number: (inner_wire, inner) for number, inner_wire, inner in _fields(_blob(value))}
        key = _blob(entry.get(1, (_BYTES, b""))[1]).decode()
        inner_wire, inner = entry.get(2, (_BYTES, b""))
        result.setdefault(field, {})[key] = _value(kind[2:], inner_wire, inner, path, depth)
    elif kind.endswith("?"):  # a pointer in Go: there, even if zero
        result[field] = _value(kind[:-1], wire, value, path, depth)
    else:
        one = _value(kind, wire, value, path, depth)
        if one not in ("", 0, False, None):
            result[field] = one


def _value(kind: str, wire: int, value: int | bytes, path: str, depth: int) -> Any:
    if kind in ("int", "bool"):
        if not isinstance(value, int):
            raise _Damaged(f"{path} is not a number")
        return bool(value) if kind == "bool" else value - (1 << 64) if value >> 63 else value
    data = _blob(value)
    match kind:
        case "string":
            return data.decode()
        case "bytes":
            return base64.b64encode(data).decode()
        case "float":
            return struct.unpack("<d", data)[0] if wire == _FIXED64 else None
        case "Time":
            return _time(data)
        case "IntOrString":
            parts = _message("IntOrStringParts", data, path, depth)
            return parts.get("strVal", "") if parts.get("type") else parts.get("intVal", 0)
        case "Quantity":
            return _message("QuantityParts", data, path, depth).get("string", "0")
    return _message(kind, data, path, depth + 1)


def _time(data: bytes) -> str | None:
    parts = _message("TimeParts", data, "Time", 0)
    if not parts.get("seconds"):
        return None
    try:
        return datetime.fromtimestamp(parts["seconds"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OSError):
        raise _Damaged("a time is out of range") from None
