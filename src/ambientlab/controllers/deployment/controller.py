"""The Deployment control loop. One pass makes one step of a rollout; the change it causes brings the next pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ambientlab.api.client import Client, Event
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import DEPLOYMENT, POD, REPLICASET
from ambientlab.api.objects import Object, annotations_of, has_ended, name, namespace, uid
from ambientlab.controllers.base import Key, all_of, delete_quietly, key_of, write_status
from ambientlab.controllers.deployment import revisions, rollout, status
from ambientlab.controllers.events import Recorder
from ambientlab.controllers.owners import claim, controller_of, enqueue_owners, is_deleting
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop


class _Sets(NamedTuple):
    """The ReplicaSets of a Deployment. `created`: `new` came into being in this pass."""

    new: Object | None
    old: list[Object]
    created: bool = False

    @property
    def all(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new is not None else [])]


class DeploymentController:
    name = "deployment"

    def __init__(self, client: Client, recorder: Recorder, clock: Clock) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        def pod(event: Event) -> None:
            # Recreate waits for pods to be gone, which no status of a ReplicaSet tells.
            owner = controller_of(event.object)
            if event.type == "DELETED" and owner is not None and owner["kind"] == REPLICASET.kind:
                rs = self._client.get(REPLICASET, owner["name"], namespace(event.object))
                ref = controller_of(rs) if rs is not None else None
                if ref is not None:
                    queue.add(Key(namespace(event.object), ref["name"]))

        return [
            self._client.watch(DEPLOYMENT, lambda event: queue.add(key_of(event.object))),
            self._client.watch(REPLICASET, lambda event: enqueue_owners(queue, self._client, DEPLOYMENT, event)),
            self._client.watch(POD, pod),
        ]

    async def reconcile(self, key: Key) -> float | None:
        deployment = self._client.get(DEPLOYMENT, key.name, key.namespace)
        if deployment is None:
            return None
        sets = await self._sets(deployment)
        if is_deleting(deployment):
            return await self._finish(deployment, sets, estimate=False)
        if deployment["spec"].get("paused") or rollout.is_scaling(deployment, sets.all):
            sets = await self._sync_revision(deployment, sets)
            sets = await self._resize(deployment, sets, rollout.scale(deployment, sets.new, sets.old))
            return await self._finish(deployment, sets, estimate=False)
        if deployment["spec"].get("strategy", {}).get("type") == "Recreate":
            return await self._recreate(deployment, sets)
        return await self._roll(deployment, sets)

    async def _roll(self, deployment: Object, sets: _Sets) -> float | None:
        sets = await self._ensure_new(deployment, sets)
        new = sets.new
        if new is None:
            return await self._finish(deployment, sets, collided=True)
        wanted = rollout.new_replicas(deployment, sets.all, rollout.replicas_of(new))
        if rollout.replicas_of(new) > deployment["spec"]["replicas"]:
            wanted = deployment["spec"]["replicas"]
        plan = {name(new): wanted}
        if wanted == rollout.replicas_of(new):
            plan = rollout.shrink_old(deployment, new, sets.old)
        return await self._finish(deployment, await self._resize(deployment, sets, plan))

    async def _recreate(self, deployment: Object, sets: _Sets) -> float | None:
        going = {name(rs): 0 for rs in rollout.active(sets.old)}
        if going or self._old_pods_run(sets):
            return await self._finish(deployment, await self._resize(deployment, sets, going))
        sets = await self._ensure_new(deployment, sets)
        if sets.new is None:
            return await self._finish(deployment, sets, collided=True)
        plan = {name(sets.new): deployment["spec"]["replicas"]}
        return await self._finish(deployment, await self._resize(deployment, sets, plan))

    def _old_pods_run(self, sets: _Sets) -> bool:
        old = {uid(rs) for rs in sets.old}
        home = namespace(sets.old[0]) if sets.old else ""
        return bool(old) and any(
            (controller_of(pod) or {}).get("uid") in old and not has_ended(pod) for pod in self._client.list(POD, home)
        )

    async def _sets(self, deployment: Object) -> _Sets:
        mine = await claim(self._client, DEPLOYMENT, deployment, REPLICASET)
        new = revisions.find_new(deployment, mine)
        return _Sets(new, [rs for rs in mine if rs is not new])

    async def _ensure_new(self, deployment: Object, sets: _Sets) -> _Sets:
        """Create the ReplicaSet of the current template if there is none; `new` stays None when its name is taken by
        another template."""
        if sets.new is not None:
            return await self._sync_revision(deployment, sets)
        replicas = rollout.new_replicas(deployment, sets.old, 0)
        revision = max((revisions.revision_of(rs) for rs in sets.old), default=0) + 1
        draft = revisions.build(deployment, replicas, revision, self._maximum(deployment))
        try:
            created = await self._client.create(REPLICASET, draft)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return sets
            raise
        if replicas:
            self._report(deployment, created, 0, replicas)
        return _Sets(created, sets.old, created=True)

    async def _sync_revision(self, deployment: Object, sets: _Sets) -> _Sets:
        """The newest revision is the one in use, also when the template has gone back to an earlier one."""
        if sets.new is None:
            return sets
        new = sets.new
        revision = max((revisions.revision_of(rs) for rs in sets.old), default=0) + 1
        changes = revisions.annotation_changes(deployment, new, revision)
        patch: Object = {"metadata": {"annotations": changes}} if changes else {}
        min_ready = deployment["spec"].get("minReadySeconds", 0)
        if new["spec"].get("minReadySeconds", 0) != min_ready:
            patch["spec"] = {"minReadySeconds": min_ready}
        if patch:
            new = await self._client.patch(REPLICASET, name(new), namespace(new), patch)
        return sets._replace(new=new)

    async def _resize(self, deployment: Object, sets: _Sets, plan: rollout.Plan) -> _Sets:
        """Give ReplicaSets their new sizes, and every active one the annotations that scaling goes by. Returns them
        as they are then."""
        marks = {
            revisions.DESIRED: str(deployment["spec"]["replicas"]),
            revisions.MAXIMUM: str(self._maximum(deployment)),
        }
        writes = []
        for rs in sets.all:
            patch: Object = {}
            before, after = rollout.replicas_of(rs), plan.get(name(rs), rollout.replicas_of(rs))
            if after != before:
                patch["spec"] = {"replicas": after}
            if (after or before) and any(annotations_of(rs).get(key) != value for key, value in marks.items()):
                patch["metadata"] = {"annotations": marks}
            if patch:
                writes.append(self._client.patch(REPLICASET, name(rs), namespace(rs), patch))
            if after != before:
                self._report(deployment, rs, before, after)
        if not writes:
            return sets
        changed = {name(rs): rs for rs in await all_of(writes)}
        new = sets.new and changed.get(name(sets.new), sets.new)
        return sets._replace(new=new, old=[changed.get(name(rs), rs) for rs in sets.old])

    def _maximum(self, deployment: Object) -> int:
        wanted: int = deployment["spec"]["replicas"]
        return wanted + rollout.limits(deployment)[0]

    def _report(self, deployment: Object, rs: Object, before: int, after: int) -> None:
        verb = "up" if after > before else "down"
        message = f"Scaled {verb} replica set {name(rs)} from {before} to {after}"
        self._recorder.record("deployment-controller", DEPLOYMENT, deployment, "Normal", "ScalingReplicaSet", message)

    async def _finish(
        self, deployment: Object, sets: _Sets, *, estimate: bool = True, collided: bool = False
    ) -> float | None:
        """Status last, and the clean-up of history once there is nothing left to roll."""
        now = self._clock.now()
        new = status.compute(
            deployment, sets.new, sets.old, now, created=sets.created, estimate=estimate, collided=collided
        )
        revision = {revisions.REVISION: str(revisions.revision_of(sets.new))} if sets.new is not None else {}
        await write_status(self._client, DEPLOYMENT, deployment, new, revision)
        if status.is_complete(deployment, new) and not is_deleting(deployment):
            surplus = rollout.surplus_history(deployment, sets.old)
            if surplus:
                await all_of([delete_quietly(self._client, REPLICASET, rs) for rs in surplus])
        return status.seconds_to_deadline(deployment, new, now)
