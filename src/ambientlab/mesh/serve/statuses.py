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
    """A status is computed from one version of its object and written onto that version or not at all: what another
    writer put there meanwhile leads to a status computed anew, and is never lost."""

    name = "istiod status"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._news: dict[Place, tuple[Object, Object]] = {}
        self._queue: WorkQueue[Place] | None = None
        self._controller: Controller[Place] = Controller(
            self, quiet=lambda error: isinstance(error, StatusError), backoff=Backoff(initial=0.01, maximum=5.0)
        )

    def start(self) -> None:
        self._controller.start()

    async def stop(self) -> None:
        await self._controller.stop()

    def update(self, news: Mapping[Place, tuple[Object, Object] | None]) -> None:
        """Objects, and what their statuses should be; None for what is gone."""
        for place, one in news.items():
            if one is None or (one[0].get("status") or {}) == one[1]:
                self._news.pop(place, None)
                continue
            self._news[place] = one
            if self._queue is not None:
                self._queue.add(place)

    def watch(self, queue: WorkQueue[Place]) -> Iterable[Stop]:
        self._queue = queue
        for place in self._news:
            queue.add(place)
        return []

    async def reconcile(self, key: Place) -> None:
        resource, _ = key
        news = self._news.get(key)
        if news is None:
            return
        obj, status = news
        try:
            await self._client.update(resource, objects.copy(obj) | {"status": status}, subresource="status")
        except StatusError as error:
            if error.reason != "NotFound":
                raise  # tried again, after a conflict with what the event of the other change made of it
        if self._news.get(key) is news:
            del self._news[key]
