"""The GatewayClasses an ambient installation brings, and the word that they are handled.

As istiod's class controller: a class that is missing is created, one that is there belongs to its users; and every
class of our controllers, whoever made it, is Accepted.
"""

from __future__ import annotations

from collections.abc import Iterable

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import CUSTOMRESOURCEDEFINITION, GATEWAYCLASS
from ambientlab.api.objects import name, timestamp
from ambientlab.cluster import GATEWAY_CONTROLLER, MESH_CONTROLLER, WAYPOINT_CLASS
from ambientlab.controllers import conditions
from ambientlab.controllers.base import write_status
from ambientlab.controllers.owners import is_deleting
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

BUILTIN = {"istio": GATEWAY_CONTROLLER, WAYPOINT_CLASS: MESH_CONTROLLER}

_DESCRIPTIONS = {  # at most 64 characters
    "istio": "Istio gateways for traffic entering or leaving the mesh",
    WAYPOINT_CLASS: "Istio waypoints for the HTTP traffic of ambient workloads",
}


class GatewayClassController:
    name = "gatewayclass"

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def watch(self, queue: WorkQueue[str]) -> Iterable[Stop]:
        def enqueue_builtin() -> None:
            for builtin in BUILTIN:
                queue.add(builtin)

        def crd(event: Event) -> None:
            if name(event.object) == GATEWAYCLASS.group_resource and event.type != "DELETED":
                enqueue_builtin()

        enqueue_builtin()
        return [
            self._client.watch(GATEWAYCLASS, lambda event: queue.add(name(event.object))),
            self._client.watch(CUSTOMRESOURCEDEFINITION, crd),
        ]

    async def reconcile(self, key: str) -> None:
        found = self._client.get(GATEWAYCLASS, key)
        if found is None and key in BUILTIN:
            draft = {
                "apiVersion": GATEWAYCLASS.api_version,
                "kind": GATEWAYCLASS.kind,
                "metadata": {"name": key},
                "spec": {"controllerName": BUILTIN[key], "description": _DESCRIPTIONS[key]},
            }
            found = await self._client.create(GATEWAYCLASS, draft)
        if found is None or is_deleting(found) or found["spec"]["controllerName"] not in BUILTIN.values():
            return
        status = found.get("status") or {}
        present = status.get("conditions") or []
        generation = found["metadata"].get("generation", 0)
        old = conditions.find(present, "Accepted")
        if old is not None and old["status"] == "True" and old.get("observedGeneration") == generation:
            return
        accepted = {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "Handled by Istio controller",
            "observedGeneration": generation,
            "lastTransitionTime": (
                old["lastTransitionTime"]
                if old is not None and old["status"] == "True"
                else timestamp(self._clock.now())
            ),
        }
        everything = [*conditions.without(present, "Accepted"), accepted]
        await write_status(self._client, GATEWAYCLASS, found, {**status, "conditions": everything})
