"""The status of a pod on its way to the API: written in the background, whatever has changed since in one patch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ambientlab.api import kinds, objects
from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.flow.clock import Clock, sleep
from ambientlab.node.agent import status
from ambientlab.node.agent.status import ContainerRecord, PodFacts

log = logging.getLogger(__name__)

_RETRY = 1.0  # seconds

Known = Callable[[], tuple[Object, Sequence[ContainerRecord], PodFacts]]
"""The pod, and what is known of it."""


class StatusPublisher:
    """`mark` never waits and never fails; `run` writes what was marked. `reported` is set once the API no longer shows
    what a former life of this node has left of the pod."""

    def __init__(self, client: Client, clock: Clock, known: Known) -> None:
        self.reported = asyncio.Event()
        self._client = client
        self._clock = clock
        self._known = known
        self._dirty = asyncio.Event()

    def mark(self) -> None:
        self._dirty.set()

    async def run(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(0)
            if await self.write():
                self.reported.set()
            else:
                await sleep(self._clock, _RETRY)
                self.mark()

    async def write(self) -> bool:
        """One patch, none if nothing differs. False: try again."""
        self._dirty.clear()
        pod, records, facts = self._known()
        name, namespace, uid = objects.name(pod), objects.namespace(pod), objects.uid(pod)
        current = self._client.get(kinds.POD, name, namespace)
        if current is None or objects.uid(current) != uid:
            return True
        patch = status.merge_patch(current.get("status") or {}, status.pod_status(current, records, facts))
        if not patch:
            return True
        try:
            await self._client.patch(
                kinds.POD, name, namespace, {"metadata": {"uid": uid}, "status": patch}, subresource="status"
            )
        except StatusError as error:
            if error.code not in (404, 409):  # gone, or another pod of this name
                log.error("status of pod %s/%s not written: %s", namespace, name, error.message)
                return False
        return True
