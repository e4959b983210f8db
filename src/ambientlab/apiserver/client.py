"""The API for the rooms of this process: the same verbs, without a wire."""

from __future__ import annotations

from collections.abc import Sequence

from ambientlab.api import admit
from ambientlab.api.client import Event, Handler, Propagation, Unsubscribe
from ambientlab.api.objects import Object, copy, name, namespace
from ambientlab.api.resources import Resource
from ambientlab.apiserver import deletion, refusals, subresources
from ambientlab.apiserver.options import DeleteOptions, WriteOptions
from ambientlab.apiserver.patching import MERGE_PATCH
from ambientlab.apiserver.verbs import Verbs
from ambientlab.store.entry import Change, Entry


class LocalClient:
    """Implements `ambientlab.api.client.Client` as a user of group system:masters."""

    def __init__(self, verbs: Verbs, *, manager: str = "ambientlab") -> None:
        self._verbs = verbs
        self._options = WriteOptions(manager=manager)

    def _served(self, resource: Resource) -> Resource:
        """The resource as it is served now: a CRD may say more of its names than the constant does."""
        found = self._find(resource)
        if found is None:
            raise refusals.no_such_path()
        return found

    def _find(self, resource: Resource) -> Resource | None:
        return self._verbs.registry.find(resource.group, resource.version, resource.plural)

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        served = self._find(resource)
        entry = None if served is None else self._verbs.find(served, namespace, name)
        return None if served is None or entry is None else self._verbs.represent(served, entry).object

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]:
        served = self._find(resource)
        if served is None:
            return []
        entries = self._verbs.store.list(self._verbs.collection(served), namespace)
        return [self._verbs.represent(served, entry).object for entry in entries]

    async def create(self, resource: Resource, obj: Object) -> Object:
        served = self._served(resource)
        decoded = self._conform(served, obj)
        return (await self._verbs.create(served, namespace(decoded), decoded, self._options)).object

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        served = self._served(resource)
        decoded = self._conform(served, obj)
        where = namespace(decoded), name(decoded)
        entry = await self._verbs.update(served, *where, decoded, self._options, subresource=subresource)
        return entry.object

    async def patch(
        self, resource: Resource, name: str, namespace: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        served = self._served(resource)
        if subresource == "scale":
            scaled = await subresources.patch_scale(
                self._verbs, served, namespace, name, MERGE_PATCH, patch, self._options
            )
            return scaled
        entry, _ = await self._verbs.patch(
            served, namespace, name, MERGE_PATCH, patch, self._options, subresource=subresource
        )
        return entry.object

    async def apply(self, resource: Resource, obj: Object, *, manager: str, subresource: str = "") -> Object:
        served = self._served(resource)
        decoded = self._conform(served, obj)
        options = WriteOptions(manager=manager, force=True)
        where = namespace(decoded), name(decoded)
        entry, _ = await self._verbs.apply(served, *where, decoded, options, subresource=subresource)
        return entry.object

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
        options = DeleteOptions(grace_seconds=grace_seconds, propagation=propagation, uid=uid)
        await deletion.delete(self._verbs, self._served(resource), namespace, name, options)

    def watch(self, resource: Resource, handler: Handler) -> Unsubscribe:
        served = self._served(resource)
        collection = self._verbs.collection(served)

        def shown(entry: Entry) -> Object:
            return self._verbs.represent(served, entry).object

        def tell(change: Change) -> None:
            handler(Event(change.type, shown(change.entry), shown(change.old) if change.old else None))

        unsubscribe = self._verbs.store.watch(collection, tell)
        for entry in self._verbs.store.list(collection):
            handler(Event("ADDED", shown(entry)))
        return unsubscribe

    def _conform(self, resource: Resource, obj: Object) -> Object:
        """A private copy that is what decoding it from a request would give."""
        decoded, _ = admit.conform(self._verbs.registry, resource, copy(obj), "Strict")
        return decoded
