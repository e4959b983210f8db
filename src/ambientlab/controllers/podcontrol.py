"""Pods made and deleted for an owner, with the events that say so (kube-controller-manager, RealPodControl in
pkg/controller/controller_utils.go)."""

from __future__ import annotations

from typing import Literal

from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import POD
from ambientlab.api.objects import Object, name
from ambientlab.api.resources import Resource
from ambientlab.controllers.base import delete_quietly, lost_race
from ambientlab.controllers.events import Recorder


class PodControl:
    """For owners of one kind. `component` is whose events they are."""

    def __init__(self, client: Client, recorder: Recorder, component: str, resource: Resource) -> None:
        self._client = client
        self._recorder = recorder
        self._component = component
        self._resource = resource

    async def create(self, owner: Object, pod: Object) -> None:
        """Raises StatusError."""
        try:
            created = await self._client.create(POD, pod)
        except StatusError as error:
            if not lost_race(error):
                self._record(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self._record(owner, "Normal", "SuccessfulCreate", f"Created pod: {name(created)}")

    async def delete(self, owner: Object, pod: Object) -> None:
        await delete_quietly(self._client, POD, pod)
        self._record(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name(pod)}")

    def _record(self, owner: Object, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._recorder.record(self._component, self._resource, owner, kind, reason, message)
