"""DaemonSets: one pod on every node that fits, replaced when the template changes.

Each template is kept as a ControllerRevision, from which `kubectl rollout history` and `undo` work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import CONTROLLERREVISION, DAEMONSET, NODE, POD
from ambientlab.api.objects import Object, annotations_of, has_ended, labels_of, name, namespace, uid
from ambientlab.controllers.base import Key, all_of, delete_quietly, key_of, write_status
from ambientlab.controllers.deployment.rollout import resolve
from ambientlab.controllers.events import Recorder
from ambientlab.controllers.fit import misfit, same_place
from ambientlab.controllers.names import content_hash
from ambientlab.controllers.owners import (
    claim,
    controller_of,
    controller_reference,
    enqueue_owners,
    is_deleting,
)
from ambientlab.controllers.podcontrol import PodControl
from ambientlab.controllers.pods import from_template, is_ready, seconds_to_available
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

COMPONENT = "daemonset-controller"
HASH_LABEL = "controller-revision-hash"

# What a node may be going through without losing its daemons: AddOrUpdateDaemonPodTolerations in
# kube-controller-manager's pkg/controller/daemon/util.
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", "NoSchedule")


class DaemonSetController:
    name = "daemonset"

    def __init__(self, client: Client, recorder: Recorder, clock: Clock) -> None:
        self._client = client
        self._pods = PodControl(client, recorder, COMPONENT, DAEMONSET)
        self._clock = clock

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        def node(event: Event) -> None:
            if event.type == "MODIFIED" and event.old is not None and same_place(event.old, event.object):
                return
            for ds in self._client.list(DAEMONSET):
                queue.add(key_of(ds))

        return [
            self._client.watch(DAEMONSET, lambda event: queue.add(key_of(event.object))),
            self._client.watch(POD, lambda event: enqueue_owners(queue, self._client, DAEMONSET, event)),
            self._client.watch(NODE, node),
        ]

    async def reconcile(self, key: Key) -> float | None:
        ds = self._client.get(DAEMONSET, key.name, key.namespace)
        if ds is None:
            return None
        hash_ = content_hash(ds["spec"]["template"])
        pods = await claim(self._client, DAEMONSET, ds, POD)
        if not is_deleting(ds):
            await self._record_revision(ds, hash_)
            await self._place(ds, hash_, pods)
            pods = await claim(self._client, DAEMONSET, ds, POD)
        await write_status(self._client, DAEMONSET, ds, self._status(ds, hash_, pods))
        now, min_ready = self._clock.now(), ds["spec"].get("minReadySeconds", 0)
        waits = (seconds_to_available(pod, min_ready, now) for pod in pods if not is_deleting(pod))
        return min((wait for wait in waits if wait), default=None)

    def _nodes(self, ds: Object) -> list[str]:
        spec = _pod_spec(ds["spec"]["template"]["spec"])
        return [name(node) for node in self._client.list(NODE) if misfit(spec, node) is None]

    async def _place(self, ds: Object, hash_: str, pods: Sequence[Object]) -> None:
        """Make up for missing pods, remove misplaced and finished ones, and move on with the update."""
        nodes = self._nodes(ds)
        strategy = ds["spec"].get("updateStrategy") or {}
        rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        parameters = strategy.get("rollingUpdate") or {}
        surge = resolve(parameters.get("maxSurge", 0), len(nodes), up=True) if rolling else 0
        budget = resolve(parameters.get("maxUnavailable", 1), len(nodes), up=True) if rolling else 0
        surging = surge > 0
        missing: list[str] = []
        doomed = [pod for pod in pods if node_of(pod) not in nodes or has_ended(pod)]
        outdated: list[tuple[str, Object]] = []
        for node in nodes:
            here = [pod for pod in pods if node_of(pod) == node and not has_ended(pod)]
            live = [pod for pod in here if not is_deleting(pod)]
            current = [pod for pod in live if labels_of(pod).get(HASH_LABEL) == hash_]
            old = [pod for pod in live if pod not in current]
            doomed += [*current[1:], *old[1:]]
            if not here:
                missing.append(node)
            elif current and any(self._available(ds, pod) for pod in current):
                doomed += old[:1]
            elif old and not current and surge > 0:
                missing.append(node)
                surge -= 1
            elif old and not current and rolling:
                outdated.append((node, old[0]))
            budget -= not any(self._available(ds, pod) for pod in live)
        # What does not work costs nothing to replace; the rest as fast as maxUnavailable lets it.
        broken = [pod for _, pod in outdated if not self._available(ds, pod)]
        working = [pod for _, pod in outdated if self._available(ds, pod)]
        if not surging:  # which adds before it takes away
            doomed += [*broken, *working[: max(0, budget)]]
        await all_of(
            [
                *[self._create(ds, hash_, node) for node in missing],
                *[self._pods.delete(ds, pod) for pod in doomed if not is_deleting(pod)],
            ]
        )

    def _available(self, ds: Object, pod: Object) -> bool:
        return seconds_to_available(pod, ds["spec"].get("minReadySeconds", 0), self._clock.now()) == 0

    async def _create(self, ds: Object, hash_: str, node: str) -> None:
        template = ds["spec"]["template"]
        pod = from_template(DAEMONSET, ds, {**template, "spec": _pod_spec(template["spec"], node)})
        generation = str(ds["metadata"].get("generation", 1))
        marks = {HASH_LABEL: hash_, "pod-template-generation": generation}
        pod["metadata"]["labels"] = {**labels_of(pod), **marks}
        await self._pods.create(ds, pod)

    async def _record_revision(self, ds: Object, hash_: str) -> None:
        """The template as a ControllerRevision; one that came back gets the newest number again."""
        history = sorted(
            (
                one
                for one in self._client.list(CONTROLLERREVISION, namespace(ds))
                if (controller_of(one) or {}).get("uid") == uid(ds)
            ),
            key=lambda one: int(one["revision"]),
        )
        current = next((one for one in history if labels_of(one).get(HASH_LABEL) == hash_), None)
        newest: int = history[-1]["revision"] if history else 0
        if current is None:
            await self._client.create(CONTROLLERREVISION, _revision(ds, hash_, newest + 1))
        elif current["revision"] < newest:
            patch = {"revision": newest + 1}
            await self._client.patch(CONTROLLERREVISION, name(current), namespace(ds), patch)
        limit = ds["spec"].get("revisionHistoryLimit", 10)
        used = {labels_of(pod).get(HASH_LABEL) for pod in self._client.list(POD, namespace(ds))} | {hash_}
        surplus = [one for one in history if labels_of(one).get(HASH_LABEL) not in used]
        for one in surplus[: max(0, len(surplus) - limit)]:
            await delete_quietly(self._client, CONTROLLERREVISION, one)

    def _status(self, ds: Object, hash_: str, pods: Sequence[Object]) -> Object:
        nodes = self._nodes(ds)
        live = [pod for pod in pods if not is_deleting(pod) and not has_ended(pod)]
        placed = {node_of(pod) for pod in live if node_of(pod) in nodes}
        updated = {node_of(pod) for pod in live if labels_of(pod).get(HASH_LABEL) == hash_} & placed
        available = {node_of(pod) for pod in live if self._available(ds, pod)} & placed
        optional = {
            "updatedNumberScheduled": len(updated),
            "numberAvailable": len(available),
            "numberUnavailable": len(nodes) - len(available),
        }
        return {
            "currentNumberScheduled": len(placed),
            "numberMisscheduled": len({node_of(pod) for pod in live} - set(nodes)),
            "desiredNumberScheduled": len(nodes),
            "numberReady": len({node_of(pod) for pod in live if is_ready(pod)} & placed),
            "observedGeneration": ds["metadata"].get("generation", 0),
            **{key: value for key, value in optional.items() if value},
        }


def node_of(pod: Object) -> str:
    """The node a daemon's pod is on, or is meant for while the scheduler has not got to it."""
    bound: str = pod["spec"].get("nodeName", "")
    if bound:
        return bound
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            if field["key"] == "metadata.name":
                value: str = field["values"][0]
                return value
    return ""


def _pod_spec(spec: Object, node: str = "") -> Object:
    """A daemon's pod: it stays through a node's troubles, and (given `node`) fits no other."""
    extra = [*_TOLERATED, *([_HOST_NETWORK_TOLERATED] if spec.get("hostNetwork") else [])]
    tolerations = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in extra]
    result = {**spec, "tolerations": [*(spec.get("tolerations") or []), *tolerations]}
    if node:
        affinity = spec.get("affinity") or {}
        here = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [here]}}
        result["affinity"] = {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), **required}}
    return result


def _revision(ds: Object, hash_: str, revision: int) -> Object:
    template = ds["spec"]["template"]
    labels = (template.get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{name(ds)}-{hash_}",
            "namespace": namespace(ds),
            "labels": {**labels, HASH_LABEL: hash_},
            "annotations": {
                key: value
                for key, value in annotations_of(ds).items()
                if key != "kubectl.kubernetes.io/last-applied-configuration"
            },
            "ownerReferences": [controller_reference(DAEMONSET, ds)],
        },
        # A strategic merge patch that puts this template back whole: what `kubectl rollout undo` applies.
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": revision,
    }
