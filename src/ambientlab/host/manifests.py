"""Manifests as objects: documents as kubectl takes them, admitted one by one as the API admits them.

What is wrong with one is told and leaves the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import yaml

from ambientlab.api import admit, crds, objects, parse
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import GATEWAY_GROUP
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.api.validation.istio import DeniedError
from ambientlab.mesh.index import RESOURCES
from ambientlab.mesh.ir import Key

_SEPARATOR = re.compile(r"^---[ \t]*(.*)$", re.MULTILINE)
_JSON, _YAML = "application/json", "application/yaml"
_DECODER = json.JSONDecoder()
_DEFAULT_NAMESPACE = "default"
_OTHER_CORE_KINDS = frozenset({"LimitRange", "PodTemplate", "ResourceQuota"})
_READ_AS: Mapping[tuple[str, str], Resource] = {(r.group, r.kind): r for r in RESOURCES}
"""The version of a kind that the mesh is made of, whichever it is stored in."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object is written: in a document of a file, which begins at `line` of it, counted from 1; `number` is
    the document's, and `item` the object's place in a List."""

    file: str
    number: int
    line: int
    text: str
    item: int | None = None

    def line_of(self, steps: Iterable[str] = ()) -> int:
        """Of a field, by the names and the indices that lead to it, or of what of it there is."""
        node = _composed(self.text)
        if node is None:
            return self.line
        line: int = node.start_mark.line
        for step in (*(() if self.item is None else ("items", str(self.item))), *steps):
            found = _below(node, step)
            if found is None:
                break
            line, node = found
        return self.line + line


@lru_cache(maxsize=1)
def _composed(document: str) -> Any:
    """Kept for the other objects of a List. None for what has no lines: JSON may have what YAML has not."""
    try:
        return yaml.compose(document, Loader=_Loader)
    except yaml.YAMLError:
        return None


def _below(node: Any, step: str) -> tuple[int, Any] | None:
    """The line of a step, and what is there."""
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and step.isdecimal() and int(step) < len(node.value):
        item = node.value[int(step)]
        return item.start_mark.line, item
    return None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a document, or with the object `named` in it, of a `namespace` if it is in one; `line` is
    where it begins. `errors` is it all by itself, where Istio finds several things wrong."""

    file: str
    number: int
    line: int
    message: str
    named: str = ""
    namespace: str = ""
    errors: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return f"{self.file}, document {self.number}{f', {self.named}' if self.named else ''}"


@dataclass(frozen=True, slots=True)
class Written:
    """What is to be an object."""

    origin: Origin
    value: Any

    def problem(self, message: str) -> Problem:
        return Problem(
            self.origin.file, self.origin.number, self.origin.line_of(), message, _named(self.value), _home(self.value)
        )


@dataclass(frozen=True, slots=True)
class Manifests:
    """`foreign` are objects of kinds that are not known here, and none of the mesh's."""

    objects: Mapping[Resource, Sequence[Object]]
    problems: tuple[Problem, ...]
    origins: Mapping[tuple[Resource, Key], Origin]
    foreign: tuple[Object, ...] = ()


class _ForeignError(Exception):
    pass


Text = tuple[str, str]
"""By the name of its file."""


def text(file: str, content: bytes) -> Text | Problem:
    """Whatever it was written with: the mark that some editors put first is none of it, as for kubectl."""
    try:
        return file, content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        return Problem(file, 1, line, f"it is no text: byte 0x{content[error.start]:02x} is no UTF-8")


def read(texts: Iterable[Text | Problem], namespace: str = _DEFAULT_NAMESPACE) -> Manifests:
    """Texts by the names of their files. Later objects replace earlier ones of the same name; those without a namespace
    are in the one given."""
    registry = shipped()
    found: dict[Resource, dict[Key, Object]] = {}
    origins: dict[tuple[Resource, Key], Origin] = {}
    problems: list[Problem] = []
    foreign: list[Object] = []
    for one in written(texts):
        if isinstance(one, Problem):
            problems.append(one)
            continue
        try:
            resource, obj = _admitted(registry, one.value, namespace)
        except StatusError as error:
            errors = error.errors if isinstance(error, DeniedError) else ()
            home = _home(one.value) or _default_home(registry, one.value, namespace)
            problems.append(replace(one.problem(error.message), namespace=home, errors=errors))
        except _ForeignError:
            foreign.append(_placed(one.value, namespace))
        else:
            key = Key(objects.namespace(obj), objects.name(obj))
            found.setdefault(resource, {})[key] = obj
            origins[(resource, key)] = one.origin
    return Manifests(
        {resource: list(some.values()) for resource, some in found.items()}, tuple(problems), origins, tuple(foreign)
    )


def shipped() -> Registry:
    """All kinds that a mesh of this program has."""
    registry = Registry()
    for crd in crds.shipped():
        registry.put_crd(crd)
    return registry


def written(texts: Iterable[Text | Problem]) -> Iterator[Written | Problem]:
    """The objects in texts, as they are written, and what is none."""
    for origin in _documents(texts):
        if isinstance(origin, Problem):
            yield origin
            continue
        try:
            values = list(_values(origin.text))
        except StatusError as error:
            yield _unreadable(origin, error)
            continue
        for item, value in values:
            yield Written(Origin(origin.file, origin.number, origin.line, origin.text, item), value)


def _documents(texts: Iterable[Text | Problem]) -> Iterator[Origin | Problem]:
    for given in texts:
        if isinstance(given, Problem):
            yield given
        else:
            yield from _of_json(*given) or _of_yaml(*given)


def _of_json(file: str, text: str) -> list[Origin]:
    """Objects one behind the other, as kubectl takes them and jq writes them; none of a text that is anything else."""
    found: list[Origin] = []
    begin = _past_blanks(text, 0)
    line = 1 + text.count("\n", 0, begin)
    while text.startswith("{", begin):
        try:
            _, end = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            return []
        found.append(Origin(file, len(found) + 1, line, text[begin:end]))
        end = _past_blanks(text, end)
        line += text.count("\n", begin, end)
        begin = end
    return found if begin == len(text) else []


def _past_blanks(text: str, begin: int) -> int:
    while begin < len(text) and text[begin].isspace():
        begin += 1
    return begin


def _of_yaml(file: str, text: str) -> Iterator[Origin | Problem]:
    """What stands behind a separator is no part of any document, unless it is a comment (k8s.io/apimachinery,
    pkg/util/yaml, YAMLReader)."""
    begin, line = 0, 1
    marks = [*_SEPARATOR.finditer(text), None]
    for number, mark in enumerate(marks, 1):
        yield Origin(file, number, line, text[begin : None if mark is None else mark.start()])
        if mark is not None:
            line += text.count("\n", begin, mark.end())
            begin = mark.end()
            if mark[1] and not mark[1].startswith("#"):
                yield Problem(file, number + 1, line, f"invalid Yaml document separator: {mark[1].rstrip()}")


def _values(document: str) -> Iterator[tuple[int | None, object]]:
    """The objects of a document, of which a List has several, with their places in it."""
    written = any(not line.lstrip().startswith("#") for line in document.splitlines() if line.strip())
    value = _value(document) if written else None
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        yield from enumerate(value["items"])
    elif value is not None:
        yield None, value


def _value(document: str) -> Any:
    """JSON is read as such: not all of it is YAML."""
    if document.startswith("{"):
        with suppress(StatusError):
            return parse.parse(document.encode(), _JSON, find_duplicates=False).value
    return parse.parse(document.encode(), _YAML).value


def _unreadable(origin: Origin, error: StatusError) -> Problem:
    """With the line of the file where YAML ends to be YAML, if that is what is wrong."""
    try:
        parse.check_yaml(origin.text.encode())
    except ValueError:
        pass
    except yaml.MarkedYAMLError as found:
        line = origin.line + (found.problem_mark.line if found.problem_mark is not None else 0)
        return Problem(origin.file, origin.number, line, f"it is no YAML: {found.problem or found.context}")
    except yaml.YAMLError as other:
        return Problem(origin.file, origin.number, origin.line, f"it is no YAML: {other}")
    return Problem(origin.file, origin.number, origin.line, error.message)


def _named(value: object) -> str:
    """What says no kind is no object that could be named."""
    if not isinstance(value, dict) or not value.get("kind"):
        return ""
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{value['kind']} {name or 'without a name'}"


def _home(value: object) -> str:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    return str(metadata.get("namespace") or "") if isinstance(metadata, dict) else ""


def _default_home(registry: Registry, value: object, namespace: str) -> str:
    """Of an object that names none."""
    named = value if isinstance(value, dict) else {}
    resource = registry.find_kind(str(named.get("apiVersion")), str(named.get("kind")))
    return namespace if resource is None or resource.namespaced else ""


def _admitted(registry: Registry, value: object, namespace: str) -> tuple[Resource, Object]:
    """The object as it would be stored, under the resource that it is read as. Raises StatusError."""
    if not isinstance(value, dict):
        raise StatusError(400, "BadRequest", "it is no object")
    api_version, kind = value.get("apiVersion"), value.get("kind")
    if absent := [name for name in ("apiVersion", "kind") if not value.get(name)]:
        raise StatusError(400, "BadRequest", ", ".join(f"{name} not set" for name in absent))
    resource = registry.find_kind(str(api_version), str(kind))
    if resource is None:
        ours = _of_the_mesh(str(api_version)) or _of_the_core(str(api_version), str(kind))
        if not ours and isinstance(value.get("metadata"), dict):
            raise _ForeignError
        raise StatusError(404, "NotFound", f'no matches for kind "{kind}" in version "{api_version}"')
    obj, _ = admit.conform(registry, resource, value)
    if resource.namespaced:
        _placed(obj, namespace)
    admit.default(registry, resource, obj)
    admit.validate_create(registry, resource, obj)
    stored = registry.storage(resource)
    return _READ_AS.get((stored.group, stored.kind), stored), obj


def _placed(obj: Any, namespace: str) -> Object:
    obj.setdefault("metadata", {}).setdefault("namespace", namespace)
    placed: Object = obj
    return placed


def _of_the_mesh(api_version: str) -> bool:
    """Whether a kind of this group would be known here if there were one."""
    group = api_version.rpartition("/")[0]
    return group == GATEWAY_GROUP or group.endswith(".istio.io")


def _of_the_core(api_version: str, kind: str) -> bool:
    """Whether a core kind would be known here if there were one: all are but these."""
    return api_version == "v1" and kind not in _OTHER_CORE_KINDS
