"""ReplicaSets: as many pods as wanted, no more and no fewer, whoever made them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import POD, REPLICASET
from ambientlab.api.objects import Object, labels_of
from ambientlab.controllers import conditions
from ambientlab.controllers.base import Key, all_of, key_of, lost_race, write_status
from ambientlab.controllers.events import Recorder
from ambientlab.controllers.owners import claim, enqueue_owners, is_deleting
from ambientlab.controllers.podcontrol import PodControl
from ambientlab.controllers.pods import deletion_rank, from_template, is_active, is_ready, seconds_to_available
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

COMPONENT = "replicaset-controller"


class ReplicaSetController:
    name = "replicaset"

    def __init__(self, client: Client, recorder: Recorder, clock: Clock) -> None:
        self._client = client
        self._pods = PodControl(client, recorder, COMPONENT, REPLICASET)
        self._clock = clock

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        return [
            self._client.watch(REPLICASET, lambda event: queue.add(key_of(event.object))),
            self._client.watch(POD, lambda event: enqueue_owners(queue, self._client, REPLICASET, event)),
        ]

    async def reconcile(self, key: Key) -> float | None:
        rs = self._client.get(REPLICASET, key.name, key.namespace)
        if rs is None:
            return None
        pods = await claim(self._client, REPLICASET, rs, POD)
        failure: StatusError | None = None
        if not is_deleting(rs):
            try:
                if await self._size(rs, [pod for pod in pods if is_active(pod)]):
                    pods = await claim(self._client, REPLICASET, rs, POD)
            except StatusError as error:
                if lost_race(error):
                    raise
                failure = error
                pods = await claim(self._client, REPLICASET, rs, POD)
        await write_status(self._client, REPLICASET, rs, self._status(rs, pods, failure))
        if failure is not None:
            raise failure
        return self._next_available(rs, pods)

    async def _size(self, rs: Object, pods: Sequence[Object]) -> bool:
        """Create what is missing or delete what is too much, all at once. True if there was anything to do."""
        excess: int = len(pods) - rs["spec"].get("replicas", 1)
        if excess < 0:
            template = rs["spec"]["template"]
            await all_of([self._pods.create(rs, from_template(REPLICASET, rs, template)) for _ in range(-excess)])
        elif excess > 0:
            await all_of([self._pods.delete(rs, pod) for pod in sorted(pods, key=deletion_rank)[:excess]])
        return excess != 0

    def _status(self, rs: Object, pods: Sequence[Object], failure: StatusError | None) -> Object:
        now = self._clock.now()
        min_ready = rs["spec"].get("minReadySeconds", 0)
        active = [pod for pod in pods if is_active(pod)]
        wanted = (rs["spec"]["template"].get("metadata") or {}).get("labels") or {}
        counts = {
            "fullyLabeledReplicas": sum(wanted.items() <= labels_of(pod).items() for pod in active),
            "readyReplicas": sum(is_ready(pod) for pod in active),
            "availableReplicas": sum(seconds_to_available(pod, min_ready, now) == 0 for pod in active),
        }
        found = (rs.get("status") or {}).get("conditions") or []
        if failure is not None:
            failed = conditions.condition("ReplicaFailure", "True", "FailedCreate", failure.message, now)
            found = conditions.put(found, failed)
        else:
            found = conditions.without(found, "ReplicaFailure")
        return {
            "replicas": len(active),
            **{key: value for key, value in counts.items() if value},
            "observedGeneration": rs["metadata"].get("generation", 0),
            **({"conditions": found} if found else {}),
        }

    def _next_available(self, rs: Object, pods: Sequence[Object]) -> float | None:
        """When the next ready pod has been so for long enough."""
        now = self._clock.now()
        min_ready = rs["spec"].get("minReadySeconds", 0)
        waits = (seconds_to_available(pod, min_ready, now) for pod in pods if is_active(pod))
        return min((wait for wait in waits if wait), default=None)
