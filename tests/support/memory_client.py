"""The API contract over a dict: what rooms that only use `api.client.Client` are tested with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ambientlab.api import objects
from ambientlab.api.client import Event, EventType, Handler, Propagation, Unsubscribe
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.apiserver.patch.merge import merge_patch

Place = tuple[str, str]


class MemoryClient:
    """Commits at once and tells watchers before a write returns. `put` and `drop` are writes for tests, not async."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[Place, Object]] = {}
        self._handlers: dict[Resource, list[Handler]] = {}
        self._numbers = itertools.count(1)
        self.writes: list[tuple[str, Resource, str]] = []
        self.failures: list[Exception] = []
        """Raised by the next writes, one each."""

    def put(self, resource: Resource, obj: Object) -> Object:
        obj = objects.copy(obj)
        place = (objects.namespace(obj), objects.name(obj))
        old = self._objects.setdefault(resource, {}).get(place)
        number = str(next(self._numbers))
        obj["metadata"]["resourceVersion"] = number
        obj["metadata"].setdefault("uid", old["metadata"]["uid"] if old else f"uid-{number}")
        obj["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self._objects[resource][place] = obj
        self._tell(resource, "MODIFIED" if old else "ADDED", obj, old)
        return obj

    def drop(self, resource: Resource, name: str, namespace: str = "") -> None:
        gone = self._objects[resource].pop((namespace, name))
        self._tell(resource, "DELETED", gone, gone)

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        return self._objects.get(resource, {}).get((namespace, name))

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]:
        return [o for (ns, _), o in self._objects.get(resource, {}).items() if namespace in (None, ns)]

    async def create(self, resource: Resource, obj: Object) -> Object:
        return self._write("create", resource, obj)

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        current = self._must(resource, objects.name(obj), objects.namespace(obj))
        if (
            obj["metadata"].get("resourceVersion", current["metadata"]["resourceVersion"])
            != (current["metadata"]["resourceVersion"])
        ):
            raise StatusError(409, "Conflict", "the object has been modified", name=objects.name(obj))
        if subresource == "status":
            obj = {**current, "status": obj.get("status", {})}
        return self._write(f"update {subresource}".strip(), resource, obj)

    async def patch(
        self, resource: Resource, name: str, namespace: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        merged = merge_patch(objects.copy(self._must(resource, name, namespace)), patch)
        return self._write(f"patch {subresource}".strip(), resource, merged)

    async def apply(self, resource: Resource, obj: Object, *, manager: str, subresource: str = "") -> Object:
        current = self.get(resource, objects.name(obj), objects.namespace(obj)) or {}
        return self._write("apply", resource, merge_patch(objects.copy(current), obj))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        propagation: Propagation = "Background",
    ) -> None:
        self._must(resource, name, namespace)
        self.drop(resource, name, namespace)

    def watch(self, resource: Resource, handler: Handler) -> Unsubscribe:
        handlers = self._handlers.setdefault(resource, [])
        handlers.append(handler)
        for obj in self.list(resource):
            handler(Event("ADDED", obj))
        return lambda: handlers.remove(handler)

    def _must(self, resource: Resource, name: str, namespace: str) -> Object:
        found = self.get(resource, name, namespace)
        if found is None:
            raise StatusError(404, "NotFound", f'{resource.group_resource} "{name}" not found', name=name)
        return found

    def _write(self, verb: str, resource: Resource, obj: Object) -> Object:
        if self.failures:
            raise self.failures.pop(0)
        self.writes.append((verb, resource, objects.name(obj)))
        return self.put(resource, obj)

    def _tell(self, resource: Resource, type_: EventType, obj: Object, old: Object | None) -> None:
        for handler in list(self._handlers.get(resource, ())):
            handler(Event(type_, obj, old))
