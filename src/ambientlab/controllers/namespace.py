"""Deleting a namespace: everything in it goes first, then the namespace itself.

`kubectl delete namespace` sets the phase Terminating; the finalizer "kubernetes" in `spec.finalizers` keeps the object
until this loop has found the namespace empty. What holds it up is written into its conditions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import NAMESPACE
from ambientlab.api.objects import Object, name, namespace
from ambientlab.api.resources import Resource
from ambientlab.controllers import conditions
from ambientlab.controllers.base import all_of, delete_quietly, write_status
from ambientlab.controllers.conditions import Condition
from ambientlab.controllers.owners import is_deleting
from ambientlab.controllers.world import World
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

FINALIZER = "kubernetes"


class NamespaceController:
    name = "namespace"

    def __init__(self, client: Client, world: World, clock: Clock) -> None:
        self._client = client
        self._world = world
        self._clock = clock

    def watch(self, queue: WorkQueue[str]) -> Iterable[Stop]:
        def content(resource: Resource, event: Event) -> None:
            home = self._client.get(NAMESPACE, namespace(event.object)) if resource.namespaced else None
            if home is not None and is_deleting(home):
                queue.add(name(home))

        return [
            self._client.watch(NAMESPACE, lambda event: queue.add(name(event.object))),
            self._world.watch(content),
        ]

    async def reconcile(self, key: str) -> None:
        home = self._client.get(NAMESPACE, key)
        if home is None or not is_deleting(home) or FINALIZER not in (home.get("spec") or {}).get("finalizers", ()):
            return
        doomed = [(resource, obj) for resource, obj in self._content(key) if not is_deleting(obj)]
        if doomed:
            await all_of([delete_quietly(self._client, resource, obj) for resource, obj in doomed])
        left = self._content(key)
        if left:
            await self._report(home, left)
            return
        finalizers = [one for one in home["spec"]["finalizers"] if one != FINALIZER]
        finalized = {**home, "spec": {**home["spec"], "finalizers": finalizers}}
        await self._client.update(NAMESPACE, finalized, subresource="finalize")

    def _content(self, key: str) -> list[tuple[Resource, Object]]:
        return [
            (resource, obj)
            for resource in self._world.resources()
            if resource.namespaced
            for obj in self._client.list(resource, key)
        ]

    async def _report(self, home: Object, left: list[tuple[Resource, Object]]) -> None:
        now = self._clock.now()
        found: list[Condition] = (home.get("status") or {}).get("conditions") or []
        kinds = Counter(resource.group_resource for resource, _ in left)
        finalizers = Counter(one for _, obj in left for one in obj["metadata"].get("finalizers") or ())
        remaining = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
        message = f"Some resources are remaining: {remaining}"
        found = _replace(
            found, conditions.condition("NamespaceContentRemaining", "True", "SomeResourcesRemain", message, now)
        )
        if finalizers:
            waiting = ", ".join(f"{one} in {count} resource instances" for one, count in sorted(finalizers.items()))
            message = f"Some content in the namespace has finalizers remaining: {waiting}"
            found = _replace(
                found,
                conditions.condition("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message, now),
            )
        await write_status(self._client, NAMESPACE, home, {**(home.get("status") or {}), "conditions": found})


def _replace(found: list[Condition], new: Condition) -> list[Condition]:
    """As `conditions.put`, but the message counts: what remains changes while the reason does not."""
    old = conditions.find(found, new["type"])
    if old is not None and old["message"] == new["message"]:
        return found
    return conditions.put(conditions.without(found, new["type"]), new)
