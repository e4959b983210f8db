"""Request bodies as plain JSON values: JSON, YAML, Kubernetes protobuf.

YAML means what it means to Kubernetes (sigs.k8s.io/yaml): it is JSON in another notation. Keys become strings,
timestamps stay strings, one document, and aliases may not blow a small body up into a huge object.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml

from ambientlab.api import protobuf
from ambientlab.api.errors import StatusError
from ambientlab.api.fielderrors import child, quote

JSON_TYPES = frozenset({"application/json", "application/merge-patch+json", "application/json-patch+json", ""})
YAML_TYPES = frozenset({"application/yaml", "application/apply-patch+yaml", "application/x-yaml", "text/yaml"})
_MAX_YAML_NODES = 200_000
_MAX_DEPTH = 1000


@dataclass(slots=True)
class Parsed:
    """`duplicates` are messages about keys given twice (the last one wins), for strict field validation."""

    value: Any
    duplicates: list[str] = field(default_factory=list)


def parse(body: bytes, content_type: str, *, find_duplicates: bool = True) -> Parsed:
    """Raises 400 for a body that does not parse, 415 for a media type nobody here reads."""
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        if media_type in JSON_TYPES or media_type.endswith("+json"):
            return _json(body, find_duplicates)
        if media_type in YAML_TYPES:
            return _yaml(body)
        if media_type == protobuf.MEDIA_TYPE:
            return Parsed(protobuf.decode(body))
    except RecursionError:
        raise StatusError(400, "BadRequest", "the body is nested too deeply") from None
    raise StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        f"application/json, application/yaml, {protobuf.MEDIA_TYPE}",
    )


def _json(body: bytes, find_duplicates: bool) -> Parsed:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _unreadable("json parse error", str(error), body) from None
    return Parsed(value, _duplicates(body) if find_duplicates else [])


def _unreadable(what: str, detail: str, body: bytes) -> StatusError:
    return StatusError(400, "BadRequest", f"couldn't get version/kind; {what}: {detail} ({summary(body)})")


def summary(body: bytes) -> str:
    """The beginning of a body, as a kube-apiserver quotes it: text if it may be JSON, hexadecimal if not."""
    if not body:
        return "<empty>"
    shown = body[:30].decode("utf-8", "replace") if body.startswith(b"{") else body[:30].hex()
    return f"{shown} ..." if len(body) > 30 else shown


class _Pairs(list[tuple[str, Any]]):
    """An object that has a key twice, or holds one that has: kept as pairs so that the path can be told."""


def _duplicates(body: bytes) -> list[str]:
    def hook(pairs: list[tuple[str, Any]]) -> Any:
        unique = dict(pairs)
        if len(unique) < len(pairs):
            found.append(True)
        return _Pairs(pairs) if found else unique

    found: list[bool] = []
    value = json.loads(body, object_pairs_hook=hook)
    if not found:
        return []
    messages: list[str] = []
    _collect(value, "", messages)
    return messages


def _collect(value: Any, path: str, messages: list[str]) -> None:
    if isinstance(value, _Pairs | dict):
        seen: set[str] = set()
        for name, inner in value if isinstance(value, _Pairs) else value.items():
            here = child(path, name)
            if name in seen:
                messages.append(f"duplicate field {quote(here)}")
            seen.add(name)
            _collect(inner, here, messages)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _collect(inner, f"{path}[{index}]", messages)


_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_KEPT_AS_TEXT = frozenset({_STRING, "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"})
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _yaml(body: bytes) -> Parsed:
    try:
        root = _composed(body)
        if root is None:
            raise _unreadable("yaml: the document is empty", "expected an object", body)
        reader = _YamlReader()
        value = reader.read(root)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _unreadable("error converting YAML to JSON", " ".join(str(error).split()), body) from None
    if not reader.duplicates:
        return Parsed(value)
    return Parsed(value, ["yaml: unmarshal errors:" + "".join(f"\n  {line}" for line in reader.duplicates)])


def yaml_value(text: str) -> Any:
    """Of YAML that somebody has put into a field; None for an empty document. Raises ValueError."""
    try:
        root = _composed(text.encode())
        return None if root is None else _YamlReader().read(root)
    except (yaml.YAMLError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _composed(body: bytes) -> yaml.Node | None:
    if len(body) > _MAX_DEPTH:
        check_yaml(body)
    return yaml.compose(body, Loader=_Loader)


def check_yaml(body: bytes) -> None:
    """The composer calls itself for each level, in C: some ten thousand end the process without an exception. Raises
    ValueError for what is nested too deeply to be composed, YAMLError for what does not parse up to there: libyaml
    takes a minute over some hundred thousand levels."""
    depth = 0
    for event in yaml.parse(body, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise ValueError(f"yaml: exceeded max depth of {_MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _YamlReader:
    """Turns a composed YAML node graph into a JSON value. Raises ValueError for what JSON cannot say."""

    def __init__(self) -> None:
        self.duplicates: list[str] = []
        self._nodes = 0
        self._open: set[int] = set()
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, node: yaml.Node) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_YAML_NODES:
            raise ValueError("yaml: document contains excessive aliasing")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise ValueError("yaml: anchor contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item) for item in node.value]
            return self._mapping(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged.update(self._merge(value_node))
                continue
            name = self._key(key_node)
            if name in result:
                self.duplicates.append(f"line {key_node.start_mark.line + 1}: key {quote(name)} already set in map")
            result[name] = self.read(value_node)
        return merged | result if merged else result

    def _merge(self, node: yaml.Node) -> dict[str, Any]:
        value = self.read(node)
        parts = value if isinstance(value, list) else [value]
        merged: dict[str, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, dict):
                raise ValueError("yaml: map merge requires map or sequence of maps as the value")
            merged.update(part)
        return merged

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError("yaml: a key must be a scalar")
        value = self._scalar(node)
        if isinstance(value, str):
            return value
        return orjson.dumps(value).decode()

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        match node.tag.rpartition(":")[2]:
            case _ if node.tag in _KEPT_AS_TEXT:
                return str(node.value)
            case "null":
                return None
            case "bool":
                return self._scalars.construct_yaml_bool(node)
            case "int":
                return _number(self._scalars.construct_yaml_int(node))
            case "float":
                return _number(float(self._scalars.construct_yaml_float(node)))
            case "binary":
                return self._scalars.construct_yaml_binary(node).decode()
        raise ValueError(f"yaml: unknown tag {node.tag}")


def _number(value: Any) -> float:
    """A number that JSON can carry: integers past 64 bits become floats, as they do to a JSON parser."""
    number: float = value if isinstance(value, int) and abs(value) < 1 << 63 else float(value)
    if not math.isfinite(number):
        raise ValueError("json: unsupported value: not a finite number")
    return number
