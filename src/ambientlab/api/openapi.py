"""OpenAPI v3 as kubectl reads it: an index, and one document for each group and version.

kubectl explain finds a kind by the `paths` of its resource; apply and patch find it by
`x-kubernetes-group-version-kind`, and ask whether PATCH takes `fieldValidation`. Without these it falls back to the
older OpenAPI, which this server does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from ambientlab.api import definitions
from ambientlab.api.objects import Object
from ambientlab.api.registry import Entry, Registry

_COMPONENTS = "#/components/schemas/"
_PATCH = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
_ALWAYS = (definitions.DELETE_OPTIONS, _PATCH, definitions.OBJECT_META, definitions.LIST_META)
_FORMAT = 1
"""Raise it when documents change for the same kinds: kubectl keeps a document for as long as its hash stays."""

GroupVersion = tuple[str, str]


class _Cache:
    """The documents of one registry at one generation; those whose kinds did not change outlive it."""

    def __init__(self) -> None:
        self.generation = 0
        self.hashes: dict[GroupVersion, str] = {}
        self.documents: dict[str, bytes] = {}


_caches: WeakKeyDictionary[Registry, _Cache] = WeakKeyDictionary()


def _cache(registry: Registry) -> _Cache:
    cache = _caches.setdefault(registry, _Cache())
    if cache.generation != registry.generation:
        cache.hashes = {pair: _hash(entries) for pair, entries in _by_group_version(registry).items()}
        cache.documents = {key: cache.documents[key] for key in cache.hashes.values() if key in cache.documents}
        cache.generation = registry.generation
    return cache


def _by_group_version(registry: Registry) -> dict[GroupVersion, list[Entry]]:
    found: dict[GroupVersion, list[Entry]] = {}
    for resource in registry.resources():
        found.setdefault((resource.group, resource.version), []).append(registry.entry(resource))
    return found


def _hash(entries: Iterable[Entry]) -> str:
    digest = hashlib.sha256(str(_FORMAT).encode())
    for entry in entries:
        digest.update(repr(entry.resource).encode())
        if entry.raw_schema is not None:
            digest.update(orjson.dumps(entry.raw_schema))
    return digest.hexdigest()[:32].upper()


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def index(registry: Registry) -> Object:
    """`/openapi/v3`: the path of each group-version's document, with a hash that changes with it."""
    return {
        "paths": {
            _path(*pair): {"serverRelativeURL": f"/openapi/v3/{_path(*pair)}?hash={value}"}
            for pair, value in _cache(registry).hashes.items()
        }
    }


def etag(registry: Registry, group: str, version: str) -> str | None:
    """The hash of a document, as the index has it."""
    return _cache(registry).hashes.get((group, version))


def document(registry: Registry, group: str, version: str) -> bytes | None:
    """`/openapi/v3/apis/{group}/{version}` (`api/v1` for the core group) as JSON; None if nothing is served there."""
    cache = _cache(registry)
    key = cache.hashes.get((group, version))
    if key is None:
        return None
    if key not in cache.documents:
        entries = _by_group_version(registry)[group, version]
        cache.documents[key] = orjson.dumps(_document(entries, group, version))
    return cache.documents[key]


def _document(entries: list[Entry], group: str, version: str) -> Object:
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for entry in entries:
        name = _schema_name(entry)
        if entry.raw_schema is None:
            _collect(name, schemas)
        else:
            schemas[name] = _custom(entry)
        schemas[f"{name}List"] = _list(entry, name)
        paths.update(_paths(entry, name))
    for name in _ALWAYS:
        _collect(name, schemas)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": {f"/{_path(group, version)}/": {}} | paths,
        "components": {"schemas": schemas},
    }


def _schema_name(entry: Entry) -> str:
    resource = entry.resource
    if entry.raw_schema is None:
        return definitions.name_of(resource.group, resource.version, resource.kind)
    reverse = ".".join(reversed(resource.group.split(".")))
    return f"{reverse}.{resource.version}.{resource.kind}"


def _gvk(entry: Entry, kind: str) -> Object:
    return {"group": entry.resource.group, "version": entry.resource.version, "kind": kind}


def _collect(name: str, schemas: dict[str, Any]) -> None:
    """A core definition and all that it refers to."""
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in schemas:
            schemas[current] = _clean(definitions.definition(current), waiting)


def _clean(schema: Any, referred: list[str]) -> Any:
    """A definition as OpenAPI v3 has it; names it refers to are added to `referred`."""
    if isinstance(schema, list):
        return [_clean(one, referred) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result: Object = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, list):
            result["type"] = next(one for one in value if one != "null")
        elif key == "properties":
            result["properties"] = {name: _clean(one, referred) for name, one in value.items()}
        elif key == "enum":
            result["enum"] = [one for one in value if one is not None]
        elif key != "$ref":
            result[key] = _clean(value, referred)
    if target := definitions.reference(schema):
        referred.append(target)
        reference = {"$ref": _COMPONENTS + target}
        return {"allOf": [reference]} | result if result else reference
    return result


def _custom(entry: Entry) -> Object:
    schema: Object = dict(entry.raw_schema or {})
    properties = dict(schema.get("properties") or {})
    properties.setdefault("apiVersion", {"type": "string", "description": "Version of the schema of this object."})
    properties.setdefault("kind", {"type": "string", "description": "Kind of this object."})
    properties["metadata"] = {
        "allOf": [{"$ref": _COMPONENTS + definitions.OBJECT_META}],
        "description": "Standard metadata of the object.",
    }
    return (
        {"type": "object"}
        | schema
        | {
            "properties": properties,
            "x-kubernetes-group-version-kind": [_gvk(entry, entry.resource.kind)],
        }
    )


def _list(entry: Entry, item: str) -> Object:
    return {
        "type": "object",
        "description": f"A list of {entry.resource.kind} objects.",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": _COMPONENTS + definitions.LIST_META},
            "items": {"type": "array", "items": {"$ref": _COMPONENTS + item}},
        },
        "x-kubernetes-group-version-kind": [_gvk(entry, entry.resource.list_kind)],
    }


def _parameter(name: str, place: str = "query", kind: str = "string") -> Object:
    parameter: Object = {"name": name, "in": place, "schema": {"type": kind, "uniqueItems": True}}
    return parameter | {"required": True} if place == "path" else parameter


_WRITE = [_parameter("dryRun"), _parameter("fieldManager"), _parameter("fieldValidation")]
_LIST = [_parameter("labelSelector"), _parameter("fieldSelector"), _parameter("watch", kind="boolean")]
_PATCH_TYPES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"


def _paths(entry: Entry, schema: str) -> Object:
    resource = entry.resource
    namespace = [_parameter("namespace", "path")] if resource.namespaced else []
    base = f"{resource.path}/namespaces/{{namespace}}" if resource.namespaced else resource.path
    collection, item = f"{base}/{resource.plural}", f"{base}/{resource.plural}/{{name}}"

    def operation(action: str, parameters: list[Object], answer: str = schema, body: Object | None = None) -> Object:
        result: Object = {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(entry, resource.kind),
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": _content(answer, ("application/json",))}},
        }
        return result | {"requestBody": {"content": body, "required": True}} if body else result

    def writing(action: str) -> Object:
        return operation(action, _WRITE, body=_content(schema, ("application/json", "application/yaml")))

    # kubectl sends a strategic merge patch to whatever says it takes one; custom resources do not.
    patches = _PATCH_TYPES if entry.raw_schema is not None else (*_PATCH_TYPES, _STRATEGIC)
    status = {
        "get": operation("get", []),
        "put": writing("put"),
        "patch": operation("patch", [*_WRITE, _parameter("force", kind="boolean")], body=_content(_PATCH, patches)),
    }
    paths = {
        collection: {
            "parameters": namespace,
            "get": operation("list", _LIST, f"{schema}List"),
            "post": writing("post"),
            "delete": operation("deletecollection", _LIST),
        },
        item: {
            "parameters": [_parameter("name", "path"), *namespace],
            "delete": operation("delete", [_parameter("dryRun"), _parameter("propagationPolicy")]),
            **status,
        },
    }
    if "status" in resource.subresources:
        paths[f"{item}/status"] = {"parameters": [_parameter("name", "path"), *namespace], **status}
    if resource.namespaced:
        paths[f"{resource.path}/{resource.plural}"] = {"get": operation("list", _LIST, f"{schema}List")}
    return paths


def _content(schema: str, media_types: Iterable[str]) -> Object:
    return {one: {"schema": {"$ref": _COMPONENTS + schema}} for one in media_types}
