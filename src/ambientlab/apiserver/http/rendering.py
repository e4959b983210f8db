"""Objects and lists as the client wants to see them."""

from __future__ import annotations

from typing import Any

import orjson

from ambientlab.api import tables
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.apiserver.http.negotiation import JSON, Form, dump
from ambientlab.apiserver.http.selection import Page
from ambientlab.apiserver.refusals import bad_request
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.entry import Entry

_META = "meta.k8s.io/v1"


def include_object(text: str) -> tables.IncludeObject:
    """The query parameter `includeObject`."""
    match text:
        case "" | "Metadata":
            return "Metadata"
        case "Object":
            return "Object"
        case "None":
            return "None"
    raise bad_request(f"unrecognized includeObject value: {text!r}, supported: None, Metadata, Object")


class Renderer:
    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def one(self, resource: Resource, entry: Entry, form: Form, include: str = "") -> bytes:
        if not form.view and form.media_type == JSON:
            return entry.encoded
        if form.view == "Table":
            metadata = {"resourceVersion": entry.object["metadata"].get("resourceVersion", "")}
            return dump(self.table(resource, [entry.object], include, metadata), form)
        if form.view == "PartialObjectMetadata":
            return dump(partial(entry.object), form)
        return dump(orjson.Fragment(entry.encoded), form)

    def many(self, resource: Resource, page: Page, form: Form, include: str = "") -> bytes:
        if form.view == "Table":
            return dump(self.table(resource, [e.object for e in page.entries], include, page.metadata), form)
        if form.view == "PartialObjectMetadata":
            items: list[Any] = [partial(entry.object) for entry in page.entries]
            kind, version = "PartialObjectMetadataList", _META
        else:
            items = [orjson.Fragment(entry.encoded) for entry in page.entries]
            kind, version = resource.list_kind, resource.api_version
        return dump({"kind": kind, "apiVersion": version, "metadata": page.metadata, "items": items}, form)

    def table(
        self, resource: Resource, objects: list[Object], include: str, metadata: Object | None, *, columns: bool = True
    ) -> Object:
        verbs = self._verbs
        return tables.table(
            verbs.registry,
            resource,
            objects,
            verbs.clock(),
            include_object=include_object(include),
            list_metadata=metadata,
            columns=columns,
        )


def partial(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": obj["metadata"]}
