"""The verbs of the API on stored objects: what every write goes through, whoever sends it.

    decoded object -> place, identity -> strategy (whose fields) -> default -> managedFields
                   -> admission (namespace, service account, addresses) -> validate -> store

All of it runs without an await between reading the latest state and staging the write (see `store`), so that a
resourceVersion checked is still current when the write takes its place.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import orjson

from ambientlab.api import admit
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object, copy, name, timestamp
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.apiserver import admission, metadata, patching, refusals, strategy
from ambientlab.apiserver.admission import Admission
from ambientlab.apiserver.families import IPV4
from ambientlab.apiserver.options import WriteOptions
from ambientlab.apiserver.patch import apply as server_side
from ambientlab.apiserver.patch import fields, managed
from ambientlab.apiserver.patch.managed import Manager, Owned
from ambientlab.store.entry import Entry
from ambientlab.store.log import StoreError
from ambientlab.store.store import Store

_NAME_ATTEMPTS = 8
_T = TypeVar("_T")


def utc_now() -> datetime:
    return datetime.now(UTC)


class Verbs:
    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        clock: Callable[[], datetime] = utc_now,
        chooser: random.Random | None = None,
        families: Sequence[str] = (IPV4,),
    ) -> None:
        """`families` of IP are those that Services can have, the default one first."""
        self.store = store
        self.registry = registry
        self.clock = clock
        self._chooser = chooser or random.SystemRandom()
        self.admission = Admission(store, registry, self._chooser, families)

    def choose(self, some: Sequence[_T]) -> _T:
        """One of them at random."""
        return self._chooser.choice(some)

    def now(self) -> str:
        return timestamp(self.clock())

    # Reading

    def collection(self, resource: Resource) -> str:
        return admission.collection(self.registry.storage(resource))

    def find(self, resource: Resource, namespace: str, object_name: str) -> Entry | None:
        return self.store.get(self.collection(resource), admission.key(namespace, object_name))

    def get(self, resource: Resource, namespace: str, object_name: str) -> Entry:
        entry = self.find(resource, namespace, object_name)
        if entry is None:
            raise refusals.not_found(resource, object_name)
        return self.represent(resource, entry)

    def latest(self, resource: Resource, namespace: str, object_name: str) -> Entry:
        """As `get`, with writes that are on their way: what a write is checked against."""
        entry = self.store.latest(self.collection(resource), admission.key(namespace, object_name))
        if entry is None:
            raise refusals.not_found(resource, object_name)
        return self.represent(resource, entry)

    def represent(self, resource: Resource, entry: Entry) -> Entry:
        """`entry` in the version of `resource`: the versions of a CRD differ in apiVersion alone (strategy None)."""
        if entry.object.get("apiVersion") == resource.api_version:
            return entry
        obj = {**entry.object, "apiVersion": resource.api_version}
        return Entry(entry.collection, entry.key, entry.revision, obj, orjson.dumps(obj))

    # Writing

    async def create(self, resource: Resource, namespace: str, obj: Object, options: WriteOptions) -> Entry:
        """Store a decoded object, which becomes the server's. Raises `StatusError`."""
        metadata.place(resource, obj, namespace)
        generate = obj["metadata"].get("generateName")
        if obj["metadata"].get("name") or not generate:
            return await self._create(resource, namespace, obj, options)
        for attempt in range(_NAME_ATTEMPTS):
            candidate = copy(obj)
            candidate["metadata"]["name"] = metadata.generated_name(generate, self._chooser)
            try:
                return await self._create(resource, namespace, candidate, options)
            except StatusError as error:
                if error.reason != "AlreadyExists" or attempt == _NAME_ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _create(
        self,
        resource: Resource,
        namespace: str,
        obj: Object,
        options: WriteOptions,
        managers: dict[Manager, Owned] | None = None,
    ) -> Entry:
        self.admission.check_namespace(resource, namespace, obj)
        now = self.now()
        metadata.begin(obj, now)
        strategy.on_create(resource, obj)
        admit.default(self.registry, resource, obj)
        if managers is None:
            manager = Manager("Update", options.manager, resource.api_version)
            mine = _without_status(obj) if strategy.has_status(resource) else obj
            managers = managed.update(None, mine, self.registry.schema(resource), {}, manager, now)
        managed.write(obj, managers)
        self.admission.on_create(resource, obj, now)
        admit.validate_create(self.registry, resource, obj)
        self.admission.allocate(resource, obj, None)
        key = admission.key(namespace, name(obj))
        if self.store.latest(self.collection(resource), key) is not None:
            raise refusals.already_exists(resource, name(obj))
        return await self.commit(resource, key, obj, None, options)

    async def update(
        self,
        resource: Resource,
        namespace: str,
        object_name: str,
        obj: Object,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Entry:
        """Replace a stored object (or the part of it that `subresource` writes) by a decoded one."""
        metadata.place(resource, obj, namespace)
        given = obj["metadata"].get("name") or object_name
        if given != object_name:
            raise refusals.wrong_name(given, object_name)
        obj["metadata"]["name"] = object_name
        current = self.latest(resource, namespace, object_name)
        return await self._replace(resource, current, obj, options, subresource)

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        object_name: str,
        media_type: str,
        patch: object,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> tuple[Entry, list[str]]:
        """Apply a JSON, merge or strategic merge patch; returns warnings about fields it dropped, too."""
        current = self.latest(resource, namespace, object_name)
        node = self.registry.schema(resource)
        wanted = patching.patched(resource, media_type, current.object, patch, node)
        obj, warnings = admit.conform(self.registry, resource, wanted, options.field_validation)
        obj = copy(obj)
        metadata.place(resource, obj, namespace)
        if obj["metadata"].get("name") != object_name:
            raise refusals.wrong_name(obj["metadata"].get("name", ""), object_name)
        return await self._replace(resource, current, obj, options, subresource), warnings

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        object_name: str,
        config: Object,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> tuple[Entry, bool]:
        """Server-side apply of a decoded configuration; the flag says whether that created the object."""
        metadata.place(resource, config, namespace)
        if config["metadata"].setdefault("name", object_name) != object_name:
            raise refusals.wrong_name(config["metadata"]["name"], object_name)
        if config["metadata"].get("managedFields"):
            raise refusals.bad_request("metadata.managedFields must be nil")
        node = self.registry.schema(resource)
        manager = Manager("Apply", options.manager, resource.api_version, subresource)
        stored = self.store.latest(self.collection(resource), admission.key(namespace, object_name))
        now = self.now()
        if stored is None:
            if subresource:
                raise refusals.not_found(resource, object_name)
            if config["metadata"].get("uid"):
                raise refusals.conflict(resource, object_name, "uid mismatch: the provided object specified a uid")
            claimed = patching.owned_here(resource, fields.applied(config, node), "")
            managers = {manager: Owned(claimed, now)}
            return await self._create(resource, namespace, copy(config), options, managers), True
        current = self.represent(resource, stored)
        live = _manageable(current.object)
        managers = managed.read(current.object)
        if not managers:
            first = Manager("Update", "before-first-apply", resource.api_version)
            managers = {first: Owned(fields.every(live, node), now)}
        applied = server_side.apply(live, config, node, managers, manager)
        claimed = patching.owned_here(resource, applied.claimed, subresource)
        try:
            managers = server_side.settle(
                live, applied.object, claimed, node, managers, manager, now, force=options.force
            )
        except server_side.Conflicts as conflicts:
            raise refusals.apply_conflict(conflicts) from conflicts
        entry = await self._replace(resource, current, copy(applied.object), options, subresource, managers)
        return entry, False

    async def _replace(
        self,
        resource: Resource,
        current: Entry,
        obj: Object,
        options: WriteOptions,
        subresource: str,
        managers: dict[Manager, Owned] | None = None,
    ) -> Entry:
        old = current.object
        self._check_identity(resource, obj, old)
        metadata.carry_over(obj, old)
        obj = strategy.on_update(resource, obj, old, subresource)
        if subresource in ("", "ephemeralcontainers"):
            admit.default(self.registry, resource, obj)
        now = self.now()
        if managers is None:
            managers = self._updated_managers(resource, obj, old, options.manager, subresource, now)
        if not subresource:
            self.admission.on_update(resource, obj, old, now)
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        before = managed.read(old)
        if _manageable(obj) == _manageable(old) and patching.without_time(managers) == patching.without_time(before):
            return current
        managed.write(obj, managers)
        if strategy.wants_something_else(resource, obj, old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        validated_as = "" if subresource == "scale" else subresource
        admit.validate_update(self.registry, resource, obj, old, subresource=validated_as)
        if not subresource:
            self.admission.allocate(resource, obj, old)
        return await self.commit(resource, current.key, obj, old, options)

    def _check_identity(self, resource: Resource, obj: Object, old: Object) -> None:
        given, stored = obj["metadata"], old["metadata"]
        if given.get("uid") and given["uid"] != stored["uid"]:
            raise refusals.conflict(
                resource,
                stored["name"],
                f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {stored['uid']}",
            )
        if not given.get("resourceVersion"):
            if strategy.is_custom(resource):
                raise refusals.version_required(resource, stored["name"])
        elif given["resourceVersion"] != stored["resourceVersion"]:
            raise refusals.conflict(resource, stored["name"])

    def _updated_managers(
        self, resource: Resource, obj: Object, old: Object, manager: str, subresource: str, now: str
    ) -> dict[Manager, Owned]:
        node = self.registry.schema(resource)
        writer = Manager("Update", manager, resource.api_version, subresource)
        known = managed.read(old) if subresource else managed.given(obj, old)
        before, after = _manageable(old), _manageable(obj)
        if not subresource and strategy.has_status(resource):
            before, after = _without_status(before), _without_status(after)
        return managed.update(before, after, node, known, writer, now)

    async def commit(
        self, resource: Resource, key: str, obj: Object, old: Object | None, options: WriteOptions
    ) -> Entry:
        """Store what has passed every check; an object that is deleted and waits for nothing goes. No await before."""
        obj["apiVersion"] = self.registry.storage(resource).api_version
        collection = self.collection(resource)
        if options.dry_run:
            obj["apiVersion"] = resource.api_version
            return Entry(collection, key, self.store.revision, obj, orjson.dumps(obj))
        try:
            if old is not None and deletable(resource, obj):
                self.admission.released(resource, obj)
                entry = await self.store.delete(collection, key, obj)
                assert entry is not None
            else:
                self.admission.staged(resource, obj, old)
                entry = await self.store.put(collection, key, obj)
        except StoreError as error:
            self.admission.rebuild()
            raise StatusError(500, "InternalError", f"Internal error occurred: {error}") from error
        return self.represent(resource, entry)


def deletable(resource: Resource, obj: Object) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return resource.group != "" or resource.kind != "Namespace" or not (obj.get("spec") or {}).get("finalizers")


def _manageable(obj: Object) -> Object:
    """`obj` without managedFields, which is not to be compared with itself."""
    meta = obj["metadata"]
    if "managedFields" not in meta:
        return obj
    return {**obj, "metadata": {name: value for name, value in meta.items() if name != "managedFields"}}


def _without_status(obj: Object) -> Object:
    """The main endpoint writes no status, so that nobody comes to own it there."""
    return {name: value for name, value in obj.items() if name != "status"}
