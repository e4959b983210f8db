"""Binding pods to nodes: to the first that fits, since there is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import NODE, PERSISTENTVOLUMECLAIM, POD
from ambientlab.api.objects import Object, has_ended, name, namespace, timestamp, uid
from ambientlab.controllers import conditions
from ambientlab.controllers.base import Key, all_of, key_of
from ambientlab.controllers.events import Recorder
from ambientlab.controllers.fit import TOO_MANY, claims, crowding, misfit, same_place
from ambientlab.controllers.owners import is_deleting
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

SCHEDULER = "default-scheduler"


class Scheduler:
    name = "scheduler"

    def __init__(self, client: Client, recorder: Recorder, clock: Clock) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._placed: dict[str, str] = {}
        """Nodes by the pods that take a place on them."""
        self._left_out: set[Key] = set()
        """Pods for which there was none."""

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        self._queue = queue

        def pod(event: Event) -> None:
            obj, gone = event.object, event.type == "DELETED"
            if not gone and _waits(obj):
                queue.add(key_of(obj))
            elif not gone and not has_ended(obj) and obj["spec"].get("nodeName"):
                self._placed[uid(obj)] = obj["spec"]["nodeName"]
            else:
                self._leave(obj)

        def node(event: Event) -> None:
            if event.type == "DELETED" or (event.old is not None and same_place(event.old, event.object)):
                return
            for pod in self._client.list(POD):
                if _waits(pod):
                    queue.add(key_of(pod))

        def claim(event: Event) -> None:
            for pod in self._client.list(POD, namespace(event.object)):
                if _waits(pod) and name(event.object) in claims(pod["spec"]):
                    queue.add(key_of(pod))

        return [
            self._client.watch(POD, pod),
            self._client.watch(NODE, node),
            self._client.watch(PERSISTENTVOLUMECLAIM, claim),
        ]

    async def reconcile(self, key: Key) -> None:
        pod = self._client.get(POD, key.name, key.namespace)
        if pod is None or not _waits(pod):
            return
        wanted = pod["spec"].get("schedulerName", SCHEDULER)
        if wanted != SCHEDULER:
            message = f'no scheduler named "{wanted}" runs here; leave schedulerName out, or set it to {SCHEDULER}'
            await self._refuse(pod, message)
            return
        nodes = self._client.list(NODE)
        if nodes and (unbound := self._unbound(pod)):
            await self._refuse(pod, f"0/{len(nodes)} nodes are available: {unbound}.")
            return
        pods = Counter(self._placed.values())
        reasons = {name(node): misfit(pod["spec"], node) or crowding(node, pods[name(node)]) for node in nodes}
        chosen = next((node for node, reason in reasons.items() if reason is None), None)
        if chosen is None:
            if TOO_MANY in reasons.values():
                self._left_out.add(key)
            await self._refuse(pod, _explain([reason for reason in reasons.values() if reason]))
            return
        self._placed[uid(pod)] = chosen
        try:
            await self._bind(pod, chosen)
        except BaseException:
            self._leave(pod)
            raise

    def _leave(self, pod: Object) -> None:
        """Its place is another's, if it had one."""
        if self._placed.pop(uid(pod), None):
            while self._left_out:
                self._queue.add(self._left_out.pop())

    def _unbound(self, pod: Object) -> str:
        """Why no node will do for a pod that wants storage, of which there is none: in the words of the scheduler's
        plugin VolumeBinding."""
        wanted = claims(pod["spec"])
        for claim in wanted:
            if self._client.get(PERSISTENTVOLUMECLAIM, claim, namespace(pod)) is None:
                return f'persistentvolumeclaim "{claim}" not found'
        return "pod has unbound immediate PersistentVolumeClaims" if wanted else ""

    async def _bind(self, pod: Object, node: str) -> None:
        """What POST pods/NAME/binding does at once is two writes here. They are staged together, the condition first:
        from the second on, the status is the node's to write."""
        where = name(pod), namespace(pod)
        begun = self._clock.now()  # the kubelet may be done before the writes here are answered
        meta = {"uid": uid(pod)}
        conditions_now = self._with_scheduled(pod, {"status": "True"})
        await all_of(
            [
                self._client.patch(
                    POD, *where, {"metadata": meta, "status": {"conditions": conditions_now}}, subresource="status"
                ),
                self._client.patch(POD, *where, {"metadata": meta, "spec": {"nodeName": node}}),
            ]
        )
        message = f"Successfully assigned {namespace(pod)}/{name(pod)} to {node}"
        self._recorder.record(SCHEDULER, POD, pod, "Normal", "Scheduled", message, at=begun)

    async def _refuse(self, pod: Object, message: str) -> None:
        found = (pod.get("status") or {}).get("conditions") or []
        old = conditions.find(found, "PodScheduled")
        if old is not None and old.get("message") == message:
            return
        refused = {"status": "False", "reason": "Unschedulable", "message": message}
        patch = {"status": {"conditions": self._with_scheduled(pod, refused)}}
        await self._client.patch(POD, name(pod), namespace(pod), patch, subresource="status")
        self._recorder.record(SCHEDULER, POD, pod, "Warning", "FailedScheduling", message)

    def _with_scheduled(self, pod: Object, verdict: dict[str, str]) -> list[conditions.Condition]:
        found = (pod.get("status") or {}).get("conditions") or []
        new = {"type": "PodScheduled", "lastTransitionTime": timestamp(self._clock.now()), **verdict}
        return [*conditions.without(found, "PodScheduled"), new]


def _waits(pod: Object) -> bool:
    return not pod["spec"].get("nodeName") and not is_deleting(pod) and not has_ended(pod)


def _explain(reasons: list[str]) -> str:
    if not reasons:
        return "no nodes available to schedule pods"
    counted = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(reasons).items()))
    return f"0/{len(reasons)} nodes are available: {counted}."
