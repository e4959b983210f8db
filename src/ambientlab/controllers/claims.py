"""Claims of storage: there is none here, so that they wait, as in a cluster without volumes and provisioners.

The words are those of Kubernetes' controller (pkg/controller/volume/persistentvolume, pv_controller.go), which repeats
them for as long as it is so.
"""

from __future__ import annotations

from collections.abc import Iterable

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import PERSISTENTVOLUMECLAIM
from ambientlab.controllers.base import Key, key_of
from ambientlab.controllers.events import Recorder
from ambientlab.controllers.owners import is_deleting
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

_COMPONENT = "persistentvolume-controller"
_NOTHING = "no persistent volumes available for this claim and no storage class is set"
_EVERY = 600.0
"""Seconds: an event is there for an hour."""


class ClaimController:
    name = "claims"

    def __init__(self, client: Client, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder
        self._queue: WorkQueue[Key] | None = None

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        self._queue = queue

        def claim(event: Event) -> None:
            if event.type == "ADDED":
                queue.add(key_of(event.object))

        return [self._client.watch(PERSISTENTVOLUMECLAIM, claim)]

    async def reconcile(self, key: Key) -> None:
        obj = self._client.get(PERSISTENTVOLUMECLAIM, key.name, key.namespace)
        if obj is None or is_deleting(obj):
            return
        wanted = obj["spec"].get("storageClassName")
        if wanted:
            message = f'storageclass.storage.k8s.io "{wanted}" not found'
            self._recorder.record(_COMPONENT, PERSISTENTVOLUMECLAIM, obj, "Warning", "ProvisioningFailed", message)
        else:
            self._recorder.record(_COMPONENT, PERSISTENTVOLUMECLAIM, obj, "Normal", "FailedBinding", _NOTHING)
        if self._queue is not None:
            self._queue.add_after(key, _EVERY)
