"""What the mesh has to say about objects, written into their status: only when it is news, and in the background."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ambientlab.api import objects
from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.flow.queue import Backoff, WorkQueue
from ambientlab.flow.reconcile import Controller, Stop
from ambientlab.mesh.ir import Key

Place = tuple[Resource, Key]


class StatusWriter:
    """`update` says what the statuses should be. Whatever else is in a status, of other writers, stays as it is."""

    name = "istiod status"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._wanted: dict[Place, Object] = {}
        self._queue: WorkQueue[Place] | None = None
        self._controller: Controller[Place] = Controller(
            self, quiet=lambda error: isinstance(error, StatusError), backoff=Backoff(initial=0.01, maximum=5.0)
        )

    def start(self) -> None:
        self._controller.start()

    async def stop(self) -> None:
        await self._controller.stop()

    def update(self, wanted: Mapping[Place, Object]) -> None:
        news = [place for place, status in wanted.items() if self._wanted.get(place) != status]
        self._wanted = dict(wanted)
        if self._queue is not None:
            for place in news:
                self._queue.add(place)

    def watch(self, queue: WorkQueue[Place]) -> Iterable[Stop]:
        self._queue = queue
        for place in self._wanted:
            queue.add(place)
        return []

    async def reconcile(self, key: Place) -> None:
        resource, place = key
        status = self._wanted.get(key)
        obj = self._client.get(resource, place.name, place.namespace)
        if status is None or obj is None or obj.get("status") == status:
            return
        changed = objects.copy(obj) | {"status": status}
        await self._client.update(resource, changed, subresource="status")
