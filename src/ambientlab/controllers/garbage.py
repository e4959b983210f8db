"""Garbage collection by owner references: what nobody owns any more goes, in the order its owner was deleted in.

    background   the owner is gone; dependents without another living owner are deleted
    foreground   the owner waits (finalizer foregroundDeletion) until the dependents that block it are gone
    orphan       the owner waits (finalizer orphan) until its dependents no longer name it

The rules are those of kube-controller-manager (pkg/controller/garbagecollector). Reads are from memory and current, so
an owner that is not found does not exist; an owner of a kind that is not served proves nothing and keeps what it owns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ambientlab.api.client import Client, Event, Propagation
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import EVENT
from ambientlab.api.objects import Object, name, namespace, uid
from ambientlab.api.resources import Resource
from ambientlab.controllers.base import all_of, lost_race
from ambientlab.controllers.owners import is_deleting, owner_references
from ambientlab.controllers.world import World
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Item(NamedTuple):
    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource.group_resource} {self.namespace}/{self.name}"


class GarbageCollector:
    name = "garbage-collector"

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world
        self._owners: dict[Item, frozenset[str]] = {}
        self._dependents: dict[str, set[Item]] = {}

    def watch(self, queue: WorkQueue[Item]) -> Iterable[Stop]:
        def changed(resource: Resource, event: Event) -> None:
            if resource != EVENT:  # many, short-lived, and owned by nobody
                self._changed(queue, resource, event)

        def appeared(resource: Resource) -> None:
            for item in self._owners:  # owners that proved nothing may do so now
                queue.add(item)

        return [self._world.watch(changed, appeared)]

    def _changed(self, queue: WorkQueue[Item], resource: Resource, event: Event) -> None:
        obj = event.object
        item = Item(resource, namespace(obj), name(obj))
        if event.type == "DELETED":
            self._link(item, frozenset())
            for dependent in self._dependents.get(uid(obj), ()):
                queue.add(dependent)
            self._enqueue_waiting_owners(queue, obj)
            return
        owners = frozenset(ref["uid"] for ref in owner_references(obj))
        if self._link(item, owners) and owners:
            queue.add(item)
        if is_deleting(obj) and _finalizers(obj) & {FOREGROUND, ORPHAN}:
            queue.add(item)
        if event.old is not None and owner_references(event.old) != owner_references(obj):
            self._enqueue_waiting_owners(queue, event.old)  # one blocking dependent less

    def _link(self, item: Item, owners: frozenset[str]) -> bool:
        """Keep the graph; True if the owners of `item` are not what they were."""
        old = self._owners.get(item, frozenset())
        if old == owners:
            return False
        for gone in old - owners:
            self._dependents[gone].discard(item)
            if not self._dependents[gone]:
                del self._dependents[gone]
        for new in owners - old:
            self._dependents.setdefault(new, set()).add(item)
        if owners:
            self._owners[item] = owners
        else:
            self._owners.pop(item, None)
        return True

    def _enqueue_waiting_owners(self, queue: WorkQueue[Item], dependent: Object) -> None:
        for ref in owner_references(dependent):
            resource = self._world.find(ref["apiVersion"], ref["kind"])
            if resource is not None:
                owner = self._client.get(resource, ref["name"], namespace(dependent) if resource.namespaced else "")
                if owner is not None and is_deleting(owner) and FOREGROUND in _finalizers(owner):
                    queue.add(Item(resource, namespace(owner), name(owner)))

    async def reconcile(self, item: Item) -> None:
        obj = self._client.get(item.resource, item.name, item.namespace)
        if obj is None:
            return
        if not is_deleting(obj):
            await self._collect(item, obj)
        elif ORPHAN in _finalizers(obj):
            await self._orphan_dependents(obj)
            await self._finalize(item, obj, ORPHAN)
        elif FOREGROUND in _finalizers(obj):
            await self._delete_dependents(item, obj)

    async def _collect(self, item: Item, obj: Object) -> None:
        """Delete `obj` if none of its owners lives, or make it forget those that do not."""
        references = owner_references(obj)
        kept, waiting = [], False
        for ref in references:
            owner, found = self._owner(ref, item)
            if not found:
                continue
            if owner is not None and is_deleting(owner) and FOREGROUND in _finalizers(owner):
                waiting = True
            else:
                kept.append(ref)
        if not references or len(kept) == len(references):
            return
        if kept:
            await self._set_owners(item.resource, obj, kept)
            return
        finalizers = _finalizers(obj)
        policy: Propagation = "Background"
        if ORPHAN in finalizers:
            policy = "Orphan"
        elif FOREGROUND in finalizers or (waiting and self._dependents.get(uid(obj))):
            policy = "Foreground"
        try:
            await self._client.delete(item.resource, item.name, item.namespace, uid=uid(obj), propagation=policy)
        except StatusError as error:
            if not lost_race(error):
                raise

    def _owner(self, ref: dict[str, Any], item: Item) -> tuple[Object | None, bool]:
        """The owner, and whether it has to be taken to exist (which is so, unseen, for a kind that is not served)."""
        resource = self._world.find(ref["apiVersion"], ref["kind"])
        if resource is None or (resource.namespaced and not item.namespace):
            return None, True
        owner = self._client.get(resource, ref["name"], item.namespace if resource.namespaced else "")
        exists = owner is not None and uid(owner) == ref["uid"]
        return (owner, True) if exists else (None, False)

    async def _delete_dependents(self, item: Item, owner: Object) -> None:
        """Only the dependents that block it hold a foreground deletion up; the others follow when it is done."""
        blocking = [
            (dependent, obj)
            for dependent, obj in self._dependents_of(owner)
            if any(ref["uid"] == uid(owner) and ref.get("blockOwnerDeletion") for ref in owner_references(obj))
        ]
        if not blocking:
            await self._finalize(item, owner, FOREGROUND)
            return
        await all_of([self._collect(dependent, obj) for dependent, obj in blocking if not is_deleting(obj)])

    async def _orphan_dependents(self, owner: Object) -> None:
        await all_of(
            [
                self._set_owners(
                    dependent.resource, obj, [ref for ref in owner_references(obj) if ref["uid"] != uid(owner)]
                )
                for dependent, obj in self._dependents_of(owner)
            ]
        )

    def _dependents_of(self, owner: Object) -> list[tuple[Item, Object]]:
        found = []
        for item in self._dependents.get(uid(owner), ()):
            obj = self._client.get(item.resource, item.name, item.namespace)
            if obj is not None:
                found.append((item, obj))
        return found

    async def _set_owners(self, resource: Resource, obj: Object, references: list[dict[str, Any]]) -> None:
        metadata = {**obj["metadata"], "ownerReferences": references}
        await self._client.update(resource, {**obj, "metadata": metadata})

    async def _finalize(self, item: Item, obj: Object, finalizer: str) -> None:
        finalizers = [one for one in obj["metadata"]["finalizers"] if one != finalizer]
        await self._client.update(item.resource, {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}})


def _finalizers(obj: Object) -> set[str]:
    return set(obj["metadata"].get("finalizers") or ())
