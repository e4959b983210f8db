"""Reading a JSON value as one of the core kinds, as Go's decoder reads it into the kind's struct.

Unknown fields are dropped and reported, null is the zero value, and a value of the wrong type is an error in the words
of encoding/json (through sigs.k8s.io/json): `json: cannot unmarshal string into Go struct field
ServicePort.spec.ports.port of type int32`. The struct named is the innermost one; its path has no indices.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

from ambientlab.api import definitions
from ambientlab.api.fielderrors import child, quote
from ambientlab.api.schema import Node

_INTEGERS = {"int32": 31, "int64": 63, "": 63}
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

# Strings that Go gives a type of its own; published schemas say only "string".
_NAMED_STRINGS = {
    ("ContainerPort", "protocol"): "v1.Protocol",
    ("ServicePort", "protocol"): "v1.Protocol",
    ("PodSpec", "restartPolicy"): "v1.RestartPolicy",
    ("PodSpec", "dnsPolicy"): "v1.DNSPolicy",
    ("Container", "imagePullPolicy"): "v1.PullPolicy",
    ("Container", "terminationMessagePolicy"): "v1.TerminationMessagePolicy",
    ("ServiceSpec", "type"): "v1.ServiceType",
    ("ServiceSpec", "sessionAffinity"): "v1.ServiceAffinity",
    ("DeploymentStrategy", "type"): "v1.DeploymentStrategyType",
    ("EndpointSlice", "addressType"): "v1.AddressType",
    ("Secret", "type"): "v1.SecretType",
    ("ObjectMeta", "uid"): "types.UID",
    ("CustomResourceDefinitionSpec", "scope"): "v1.ResourceScope",
}


@dataclass(slots=True)
class Reading:
    """What reading found besides the value. `error` is the first of its kind, in the order of the document."""

    unknown: list[str] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the reader is: the path with indices, Go's path without, and the innermost struct's name."""

    path: str = ""
    go_path: str = ""
    struct: str = ""

    def field(self, struct: str, name: str) -> _Place:
        return _Place(child(self.path, name), child(self.go_path, name), struct)

    def item(self, index: int) -> _Place:
        return _Place(f"{self.path}[{index}]", self.go_path, self.struct)

    def key(self, name: str) -> _Place:
        return _Place(child(self.path, name), self.go_path, self.struct)


def read(node: Node, value: Any, path: str = "") -> tuple[Any, Reading]:
    """The value with unknown fields and nulls dropped. `path` is where `value` sits in its object."""
    reading = Reading()
    place = _Place(path, path)
    return _Reader(reading).read(node, value, place), reading


class _Reader:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def read(self, node: Node, value: Any, place: _Place) -> Any:
        if node.preserve_unknown:
            return value
        match node.type:
            case "object":
                return self._object(node, value, place)
            case "array":
                if value is None:
                    return None
                if not isinstance(value, list):
                    return self._wrong(node, value, place)
                items = node.items or Node()
                return [
                    self._zero(items) if item is None else self.read(items, item, place.item(index))
                    for index, item in enumerate(value)
                ]
            case "string":
                return self._string(node, value, place)
            case "integer":
                return self._integer(node, value, place)
            case "number":
                return value if _is_number(value) else self._wrong(node, value, place)
            case "boolean":
                return value if isinstance(value, bool) else self._wrong(node, value, place)
            case "int-or-string":
                return self._int_or_string(value)
        if node.definition == definitions.QUANTITY:
            return self._quantity(value)
        return value

    def _object(self, node: Node, value: Any, place: _Place) -> Any:
        if not isinstance(value, dict):
            if isinstance(value, bool) and node.definition == definitions.SCHEMA_OR_BOOL:
                return value
            return self._wrong(node, value, place)
        if node.additional is not None:
            inner = node.additional
            return {
                name: self._zero(inner) if one is None else self.read(inner, one, place.key(name))
                for name, one in value.items()
            }
        if not node.properties and not node.definition:
            return value
        struct = node.definition.rpartition(".")[2] or place.struct
        result: dict[str, Any] = {}
        properties = node.properties
        for name, one in value.items():
            if name not in properties:
                self._reading.unknown.append(child(place.path, name))
            elif one is not None:
                result[name] = self.read(properties[name], one, place.field(struct, name))
        return result

    def _string(self, node: Node, value: Any, place: _Place) -> Any:
        if not isinstance(value, str):
            return self._wrong(node, value, place)
        if node.format == "byte":
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                self._fail(f"illegal base64 data at input byte {_base64_offset(value)}")
        elif node.format == "date-time" and not _TIME.fullmatch(value):
            layout = "2006-01-02T15:04:05.000000Z07:00" if "Micro" in node.definition else "2006-01-02T15:04:05Z07:00"
            self._fail(f'parsing time {quote(value)} as "{layout}": cannot parse {quote(value)} as "2006"')
        return value

    def _integer(self, node: Node, value: Any, place: _Place) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            limit = 1 << _INTEGERS.get(node.format, 63)
            if -limit <= value < limit:
                return value
            return self._wrong(node, value, place, f"number {value}")
        if isinstance(value, float):
            return self._wrong(node, value, place, f"number {value:g}")
        return self._wrong(node, value, place)

    def _int_or_string(self, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
                self._fail(f"json: cannot unmarshal number {value} into Go value of type int32")
            return value
        what = f"number {value:g}" if isinstance(value, float) else _json_type(value)
        self._fail(f"json: cannot unmarshal {what} into Go value of type int32")
        return value

    def _quantity(self, value: Any) -> Any:
        text = str(value) if _is_number(value) else value
        if isinstance(text, str) and _QUANTITY.fullmatch(text):
            return text
        self._fail("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
        return value

    def _wrong(self, node: Node, value: Any, place: _Place, what: str = "") -> Any:
        target = f"Go struct field {place.struct}.{place.go_path}" if place.struct else "Go value"
        name = _NAMED_STRINGS.get((place.struct, place.go_path.rpartition(".")[2])) or go_type(node)
        self._fail(f"json: cannot unmarshal {what or _json_type(value)} into {target} of type {name}")
        return value

    def _fail(self, message: str) -> None:
        self._reading.error = self._reading.error or message

    def _zero(self, node: Node) -> Any:
        """What Go makes of null inside a list or map."""
        match node.type:
            case "string":
                return ""
            case "object":
                return {}
            case "integer" | "number" | "int-or-string":
                return 0
            case "boolean":
                return False
        return None


def go_type(node: Node) -> str:
    """The Go type a node was generated from: `int32`, `[]v1.ServicePort`, `map[string]string`."""
    match node.type:
        case "string":
            if node.definition:
                return ".".join(node.definition.rsplit(".", 2)[-2:])
            return "[]uint8" if node.format == "byte" else "string"
        case "integer":
            return node.format or "int64"
        case "number":
            return "float64"
        case "boolean":
            return "bool"
        case "array":
            return f"[]{go_type(node.items or Node())}"
    if node.definition:
        return ".".join(node.definition.rsplit(".", 2)[-2:])
    return f"map[string]{go_type(node.additional)}" if node.additional else "interface {}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
    return "object"


def _base64_offset(text: str) -> int:
    """Where Go's decoder gives up: at the first character outside the alphabet, else at the end."""
    match = re.search(r"[^A-Za-z0-9+/\r\n]", text)
    return match.start() if match else len(text)
