"""Manifests as objects: documents as kubectl takes them, admitted one by one as the API admits them.

What is wrong with one is told and leaves the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ambientlab.api import admit, crds, objects, parse
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource

_DOCUMENT = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_YAML = "application/yaml"
_DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a document: `where` is its file and number, and its object if that can be told."""

    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Manifests:
    objects: Mapping[Resource, Sequence[Object]]
    problems: tuple[Problem, ...]


def read(texts: Iterable[tuple[str, str]]) -> Manifests:
    """Texts by the names of their files. Later objects replace earlier ones of the same name."""
    registry = Registry()
    for crd in crds.shipped():
        registry.put_crd(crd)
    found: dict[Resource, dict[tuple[str, str], Object]] = {}
    problems: list[Problem] = []
    for file, text in texts:
        for number, document in enumerate(_DOCUMENT.split(text), 1):
            where = f"{file}, document {number}"
            try:
                values = list(_values(document))
            except StatusError as error:
                problems.append(Problem(where, error.message))
                continue
            for value in values:
                try:
                    resource, obj = _admitted(registry, value)
                except StatusError as error:
                    problems.append(Problem(f"{where}, {_named(value)}", error.message))
                else:
                    found.setdefault(resource, {})[(objects.namespace(obj), objects.name(obj))] = obj
    return Manifests({resource: list(some.values()) for resource, some in found.items()}, tuple(problems))


def _values(document: str) -> Iterator[object]:
    """The objects of a document, of which a List has several."""
    value = parse.parse(document.encode(), _YAML).value if document.strip() else None
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        yield from value["items"]
    elif value is not None:
        yield value


def _named(value: object) -> str:
    if not isinstance(value, dict):
        return "no object"
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{value.get('kind', 'no kind')} {name or 'without a name'}"


def _admitted(registry: Registry, value: object) -> tuple[Resource, Object]:
    """The object as it would be stored, under the resource that it would be stored as. Raises StatusError."""
    if not isinstance(value, dict):
        raise StatusError(400, "BadRequest", "it is no object")
    api_version, kind = value.get("apiVersion"), value.get("kind")
    resource = registry.find_kind(str(api_version), str(kind))
    if resource is None:
        raise StatusError(404, "NotFound", f'no matches for kind "{kind}" in version "{api_version}"')
    obj, _ = admit.conform(registry, resource, value)
    if resource.namespaced:
        obj.setdefault("metadata", {}).setdefault("namespace", _DEFAULT_NAMESPACE)
    admit.default(registry, resource, obj)
    admit.validate_create(registry, resource, obj)
    return registry.storage(resource), obj
