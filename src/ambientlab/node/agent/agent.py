"""The node agent: a worker for each pod bound to this node, told of changes by watches, never by polling."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ambientlab.api import kinds, objects
from ambientlab.api.client import Client, Event, Unsubscribe
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.cluster import NODE_IP, NODE_NAME
from ambientlab.flow.clock import Clock, LoopClock
from ambientlab.node.agent.context import NodeMeans
from ambientlab.node.agent.events import EventRecorder
from ambientlab.node.agent.logs import LogFile, LogStore
from ambientlab.node.agent.node_status import NodeStatus
from ambientlab.node.agent.pod_worker import AddressPool, PodWorker
from ambientlab.node.agent.volumes import PodVolumes, TokenIssuer, references
from ambientlab.node.hooks import SandboxHook
from ambientlab.node.runtime import Runtime

if TYPE_CHECKING:
    from ambientlab.images.registry import Images

log = logging.getLogger(__name__)


class NodeAgent:
    """Runs what the API says this node should run.

    `state_dir` keeps logs and emptyDirs over restarts. `run_dir` holds the content of Secrets and tokens: best in
    memory, private to the user. `components` are logs of parts of the daemon, by the component name of their image.
    """

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        images: Images,
        hooks: Sequence[SandboxHook],
        addresses: AddressPool,
        *,
        state_dir: Path,
        run_dir: Path,
        token_issuer: TokenIssuer,
        components: Mapping[str, LogFile] | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or LoopClock()
        self._client = client
        self._hooks = hooks
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._issue = token_issuer
        self._recorder = EventRecorder(client, clock)
        self.logs = LogStore(state_dir / "logs", clock)
        self.runtime = runtime
        ips = addresses.all_of(NODE_IP)
        self._means = NodeMeans(client, runtime, images, self._recorder, self.logs, clock, dict(components or {}), ips)
        self._node_status = NodeStatus(client, clock, state_dir, ips)
        self._addresses = addresses
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._dependents: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._named: dict[str, set[tuple[str, str, str]]] = {}
        self._unsubscribe: list[Unsubscribe] = []

    def worker(self, pod: Object) -> PodWorker | None:
        """The worker of a pod, None for one that is not (or no longer) on this node."""
        return self._workers.get(objects.uid(pod))

    async def start(self) -> None:
        """Registers the node and takes up its pods. When this returns, no status tells of a former life of the node.

        Called once, or else by `run`. Raises StatusError or OSError.
        """
        for directory in (self._state_dir, self._run_dir):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget_leftovers()
        await self._node_status.register()
        self._unsubscribe = [
            self._client.watch(kinds.CONFIGMAP, lambda event: self._on_content("ConfigMap", event)),
            self._client.watch(kinds.SECRET, lambda event: self._on_content("Secret", event)),
            self._client.watch(kinds.POD, self._on_pod),
        ]
        await asyncio.gather(*(worker.reported() for worker in self._workers.values()))

    async def run(self) -> None:
        """Runs the pods of this node until cancelled. What runs then ends with the node itself."""
        try:
            if not self._unsubscribe:
                await self.start()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._recorder.run())
                tasks.create_task(self._node_status.run())
        finally:
            for stop in self._unsubscribe:
                stop()
            pods = list(self._tasks.values())
            for task in pods:
                task.cancel()
            if pods:
                await asyncio.wait(pods)

    # -- changes -----------------------------------------------------------------------------------------------

    def _on_pod(self, event: Event) -> None:
        pod = event.object
        if pod["spec"].get("nodeName") != NODE_NAME:
            return
        worker = self._workers.get(objects.uid(pod))
        if event.type == "DELETED":
            if worker is not None:
                worker.removed()
        elif worker is not None:
            worker.update(pod)
            self._index(pod)
        else:
            self._start(pod)

    def _on_content(self, kind: str, event: Event) -> None:
        key = (kind, objects.namespace(event.object), objects.name(event.object))
        for uid in self._dependents.get(key, ()):
            self._workers[uid].poke()

    def _start(self, pod: Object) -> None:
        uid = objects.uid(pod)
        volumes = PodVolumes(
            self._run_dir / uid,
            self._state_dir / "volumes" / uid,
            self._issue,
            lambda kind, name: worker.context.lookup(kind, name),
        )
        worker = PodWorker(self._means, pod, volumes, self._hooks, self._addresses)
        self._workers[uid] = worker
        self._index(pod)
        self._tasks[uid] = asyncio.create_task(self._work(uid, worker), name=f"pod {objects.name(pod)}")

    async def _work(self, uid: str, worker: PodWorker) -> None:
        try:
            if self._client.get(kinds.NAMESPACE, objects.namespace(worker.pod)) is None:
                await self._delete_orphan(worker.pod)
                return
            await worker.run()
        finally:
            worker.finished()
            self._tasks.pop(uid, None)
            self._workers.pop(uid, None)
            for key in self._named.pop(uid, ()):
                self._dependents[key].discard(uid)
                if not self._dependents[key]:
                    del self._dependents[key]

    async def _delete_orphan(self, pod: Object) -> None:
        """A pod that outlived its namespace, because the node was killed between the two deletions."""
        try:
            await self._client.delete(
                kinds.POD, objects.name(pod), objects.namespace(pod), uid=objects.uid(pod), grace_seconds=0
            )
        except StatusError as error:
            log.warning("pod %s/%s has no namespace: %s", objects.namespace(pod), objects.name(pod), error.message)

    def _index(self, pod: Object) -> None:
        """Remembers which ConfigMaps and Secrets the pod waits for or shows."""
        uid, namespace = objects.uid(pod), objects.namespace(pod)
        if uid in self._named and "ephemeralContainers" not in pod["spec"]:
            return  # nothing else of what is referred to can change
        keys = {(kind, namespace, name) for kind, name in references(pod)}
        self._named[uid] = keys
        for key in keys:
            self._dependents[key].add(uid)

    def _forget_leftovers(self) -> None:
        """Deletes what pods that are gone have left on disk."""
        pods = [pod for pod in self._client.list(kinds.POD) if pod["spec"].get("nodeName") == NODE_NAME]
        self.logs.keep_only(pods)
        wanted = {objects.uid(pod) for pod in pods}
        for root in (self._state_dir / "volumes", self._run_dir):
            if root.is_dir():
                for entry in root.iterdir():
                    if entry.name not in wanted:
                        shutil.rmtree(entry, ignore_errors=True)
