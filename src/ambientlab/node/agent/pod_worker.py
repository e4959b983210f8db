"""One pod from the moment it is bound to this node until its object is gone.

volumes -> sandbox -> hooks -> init containers -> containers -> (all ended) -> removal
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from ambientlab.api import kinds, objects
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.flow.clock import sleep
from ambientlab.node.agent.backoff import Backoff
from ambientlab.node.agent.container import Container
from ambientlab.node.agent.context import NodeMeans, PodContext
from ambientlab.node.agent.publisher import StatusPublisher
from ambientlab.node.agent.status import ContainerRecord, PodFacts, Role
from ambientlab.node.agent.volumes import MountError, PodVolumes
from ambientlab.node.agent.waiting import to_completion, wait_any
from ambientlab.node.hooks import SandboxHook
from ambientlab.node.runtime import SandboxSpec

log = logging.getLogger(__name__)

_LOST = 255  # the exit code runtimes report for containers that a restart of the node has ended

_SANDBOX_CHANGED = "Pod sandbox changed, it will be killed and re-created."


class AddressPool(Protocol):
    """Pod addresses (`node.network.Addresses`)."""

    def allocate(self) -> str:
        """Raises OSError when none is left."""
        ...

    def release(self, address: str) -> None: ...

    def all_of(self, address: str) -> tuple[str, ...]:
        """An allocated address, or the node's, and that of IPv6 that goes with it where the node has that."""
        ...


class PodWorker:
    """Runs one pod. `update` and `removed` tell it what happens to its object; `run` does the work."""

    def __init__(
        self,
        means: NodeMeans,
        pod: Object,
        volumes: PodVolumes,
        hooks: Sequence[SandboxHook],
        addresses: AddressPool,
    ) -> None:
        self._means = means
        self._hooks = hooks
        self._addresses = addresses
        self._status = StatusPublisher(means.client, means.clock, self._known)
        self._context = PodContext(means, pod, volumes, self._status.mark)
        self._containers: dict[str, Container] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._start_time = means.clock.now()
        self._failure = ("", "")
        self._stop = asyncio.Event()
        self._object_gone = False
        self._changed = asyncio.Event()
        self._hooked: list[SandboxHook] = []
        for role, spec in _containers_of(pod):
            self._add(role, spec)

    @property
    def pod(self) -> Object:
        return self._context.pod

    @property
    def context(self) -> PodContext:
        return self._context

    def container(self, name: str) -> Container | None:
        return self._containers.get(name)

    async def reported(self) -> None:
        """Returns when the API no longer shows what a former life of this node has left of the pod."""
        await self._status.reported.wait()

    def finished(self) -> None:
        """Nothing more will be reported."""
        self._status.reported.set()

    # -- what happens to its object ----------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        """The object has changed: other images, ephemeral containers, conditions of readiness gates, deletion."""
        old, self._context.pod = self._context.pod, pod
        for role, spec in _containers_of(pod):
            container = self._containers.get(spec["name"])
            if container is None:
                self._add(role, spec)
                self._changed.set()
            elif container.spec["image"] != spec["image"]:
                container.replace(spec)
        if pod["metadata"].get("deletionTimestamp"):
            grace = pod["metadata"].get("deletionGracePeriodSeconds")
            before = old["metadata"].get("deletionGracePeriodSeconds")
            if grace == 0 or (self._stop.is_set() and before is not None and (grace or 0) < before):
                self._context.hurry.set()
            self._end()
        if pod["spec"].get("readinessGates"):
            self._status.mark()

    def removed(self) -> None:
        """The object is gone: nothing is left to report, and nothing to wait for."""
        self._object_gone = True
        self._context.hurry.set()
        self._end()

    def poke(self) -> None:
        """A ConfigMap or Secret that the pod names has changed."""
        self._changed.set()
        for container in self._containers.values():
            container.poke()

    def _end(self) -> None:
        self._context.stopping = True
        self._stop.set()

    # -- its life ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Returns when the pod's object may be forgotten. Cancelling it leaves the pod as it is, for a node that goes
        down with everything in it."""
        publisher = asyncio.create_task(self._status.run())
        living = asyncio.create_task(self._live())
        for task in (publisher, living):
            task.add_done_callback(self._over)
        try:
            if self.pod["metadata"].get("deletionTimestamp"):
                self.update(self.pod)
            await self._stop.wait()
            await _cancelled(living)
            await self._terminate()
        finally:
            await _cancelled(living, publisher, *self._tasks.values())
        await self._report_end()

    def _over(self, task: asyncio.Task[None]) -> None:
        """What it failed with is a fault of this program: nobody waits for its word any more."""
        if not task.cancelled() and (error := task.exception()):
            log.error("pod %s/%s: %s", objects.namespace(self.pod), objects.name(self.pod), error, exc_info=error)
            self._means.recorder.record(self.pod, "Warning", "FailedSync", f"error syncing pod: {error}")
            self.finished()

    async def _live(self) -> None:
        self._adopt()
        self._status.mark()
        if not await self._may_start():
            return
        if any(container.record.container_id for container in self._containers.values()):
            self._means.recorder.record(self.pod, "Normal", "SandboxChanged", _SANDBOX_CHANGED)
        due = 0.0
        if self.played_by_daemon:
            self._context.ips = self._means.ips
        else:
            due = await self._set_up_volumes()
            await self._set_up_sandbox()
        self._status.mark()
        timer = None if (left := self._left()) is None else asyncio.create_task(sleep(self._means.clock, left))
        refresh = asyncio.create_task(self._follow_changes(due))
        try:
            while await self._loses_sandbox(timer):
                await self._give_up_sandbox()
                if not await self._may_start():
                    break
                await self._set_up_sandbox()
                self._changed.set()
                self._status.mark()
        finally:
            await _cancelled(refresh, *([] if timer is None else [timer]))
        await to_completion(self._remove_sandbox())
        self._status.mark()

    async def _loses_sandbox(self, timer: asyncio.Task[None] | None) -> bool:
        """Runs the containers. Whether their sandbox has ended before they had done their work or their time was up."""
        work = asyncio.create_task(self._run_containers())
        sandbox = self._context.sandbox
        lost = None if sandbox is None else asyncio.create_task(self._means.runtime.sandbox_ended(sandbox))
        try:
            await asyncio.wait([task for task in (work, lost, timer) if task], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                return False
            if timer is not None and timer.done():
                await self._exceeded()
                return False
            return True
        finally:
            await _cancelled(*(task for task in (work, lost) if task))

    async def _give_up_sandbox(self) -> None:
        """All of the pod begins again in another one, as a kubelet has it (pkg/kubelet/kuberuntime,
        computePodActions)."""
        self._means.recorder.record(self.pod, "Normal", "SandboxChanged", _SANDBOX_CHANGED)
        self._context.stopping = True
        await self._end_containers()
        await to_completion(self._remove_sandbox())
        self._context.stopping = self._stop.is_set()

    def _adopt(self) -> None:
        """Goes on from the status a former life of this node has left: its processes are gone."""
        old: Object = self.pod.get("status") or {}
        if "startTime" in old:
            self._start_time = objects.parse_timestamp(old["startTime"])
        former = {
            each["name"]: each
            for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
            for each in old.get(field) or ()
        }
        for name, container in self._containers.items():
            if before := former.get(name):
                container.record.resume(before, _LOST, self._means.clock.now())

    async def _may_start(self) -> bool:
        """Whether there is something to run: a pod that must not be restarted and has run is over."""
        if self.pod["spec"].get("restartPolicy", "Always") == "Always":
            return True
        main = [c for c in self._containers.values() if c.record.role is Role.MAIN]
        return any(c.runs_again() for c in main)

    @property
    def played_by_daemon(self) -> bool:
        """Whether every container is a part of this process, which has no sandbox."""
        programs = [self._means.images.resolve(c.spec["image"]) for c in self._containers.values()]
        return all(program is not None and program.component for program in programs)

    async def _set_up_volumes(self) -> float:
        """Returns when they must be looked after again, as `PodVolumes.set_up` does."""
        backoff = Backoff(initial=0.5, maximum=122.0)
        while True:
            self._changed.clear()
            try:
                return await self._context.volumes.set_up(self.pod, self._means.clock.now().timestamp())
            except MountError as error:
                self._means.recorder.record(self.pod, "Warning", "FailedMount", str(error))
            except StatusError as error:
                text = f"MountVolume.SetUp failed: failed to fetch token: {error.message}"
                self._means.recorder.record(self.pod, "Warning", "FailedMount", text)
            await wait_any(self._means.clock, backoff.next(), self._changed)

    async def _follow_changes(self, due: float) -> None:
        """Brings changed objects and fresh tokens into the mounted volumes, and starts ephemeral containers."""
        clock = self._means.clock
        while True:
            self._start_ephemeral()
            if due:
                await wait_any(clock, max(due - clock.now().timestamp(), 1.0), self._changed)
            else:
                await self._changed.wait()
            self._changed.clear()
            if self._context.sandbox is None:
                continue
            now = clock.now().timestamp()
            try:
                due = await self._context.volumes.set_up(self.pod, now)
            except (MountError, StatusError) as error:
                log.warning("pod %s/%s: volumes: %s", objects.namespace(self.pod), objects.name(self.pod), error)
                due = now + 60.0

    async def _set_up_sandbox(self) -> None:
        backoff = Backoff(initial=1.0, maximum=60.0)
        while True:
            try:
                await to_completion(self._create_sandbox())
                return
            except (OSError, StatusError) as error:
                text = error.message if isinstance(error, StatusError) else str(error)
                message = f"Failed to create pod sandbox: {text}"
                self._means.recorder.record(self.pod, "Warning", "FailedCreatePodSandBox", message)
                await to_completion(self._remove_sandbox())
            await sleep(self._means.clock, backoff.next())

    async def _create_sandbox(self) -> None:
        context = self._context
        ip = None if self.pod["spec"].get("hostNetwork") else self._addresses.allocate()
        ips = () if ip is None else self._addresses.all_of(ip)
        spec = SandboxSpec(objects.uid(self.pod), context.hostname, ip, *ips[1:])
        try:
            context.sandbox = await self._means.runtime.create_sandbox(spec)
        except BaseException:
            self._release(ip)
            raise
        context.ips = ips or self._means.ips
        for hook in self._hooks:
            self._hooked.append(hook)
            await hook.sandbox_ready(self.pod, context.sandbox)

    def _release(self, ip: str | None) -> None:
        if ip is not None:
            self._addresses.release(ip)

    async def _remove_sandbox(self) -> None:
        sandbox = self._context.sandbox
        if sandbox is None:
            return
        while self._hooked:
            hook = self._hooked.pop()
            try:
                await hook.sandbox_removing(self.pod, sandbox)
            except (OSError, StatusError) as error:  # the sandbox goes whatever a hook says
                log.error("pod %s/%s: %s", objects.namespace(self.pod), objects.name(self.pod), error)
        try:
            await self._means.runtime.remove_sandbox(sandbox)
        except OSError as error:  # the pod goes whatever is left of it, which keeps the address
            log.error("pod %s/%s: %s", objects.namespace(self.pod), objects.name(self.pod), error)
        else:
            self._release(sandbox.spec.ip)
        self._context.sandbox = None

    async def _run_containers(self) -> None:
        """Returns when the pod has done its work."""
        by_role = {role: [c for c in self._containers.values() if c.record.role is role] for role in Role}
        for container in [c for c in self._containers.values() if c.record.role in (Role.INIT, Role.SIDECAR)]:
            task = self._start(container)
            if container.record.role is Role.SIDECAR:
                await container.up.wait()
            else:
                await asyncio.wait({task})
                task.result()
                if container.record.exit_code != 0:
                    return
        # Not awaited as such: cancelling this must not cancel them, they end by `_terminate`.
        tasks = {self._start(container) for container in by_role[Role.MAIN]}
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()
        self._context.stopping = True
        await self._kill(self._grace())

    def _start(self, container: Container) -> asyncio.Task[None]:
        task = self._tasks[container.record.name] = asyncio.create_task(container.run())
        if container.record.role in (Role.SIDECAR, Role.EPHEMERAL):  # for whose end nobody waits
            task.add_done_callback(self._over)
        return task

    def _start_ephemeral(self) -> None:
        for name, container in self._containers.items():
            if (
                container.record.role is Role.EPHEMERAL
                and name not in self._tasks
                and self._context.sandbox is not None
            ):
                self._start(container)

    def _left(self) -> float | None:
        """Seconds for which it may be active, which count from its start whoever ran it then
        (pkg/kubelet/active_deadline.go); None for any number of them."""
        deadline: int | None = self.pod["spec"].get("activeDeadlineSeconds")
        if deadline is None:
            return None
        return max(0.0, deadline - (self._means.clock.now() - self._start_time).total_seconds())

    async def _exceeded(self) -> None:
        message = "Pod was active on the node longer than the specified deadline"
        self._failure = ("DeadlineExceeded", message)
        self._means.recorder.record(self.pod, "Normal", "DeadlineExceeded", message)
        self._context.stopping = True
        await self._kill(self._grace())

    # -- its end -----------------------------------------------------------------------------------------------

    async def _terminate(self) -> None:
        await self._end_containers()
        await self._remove_sandbox()
        self._context.volumes.tear_down()

    async def _end_containers(self) -> None:
        await self._kill(0.0 if self._context.hurry.is_set() else self._grace())
        await _cancelled(*self._tasks.values())

    async def _kill(self, grace: float) -> None:
        """Sidecars after all others, those that began last first (pkg/kubelet/kuberuntime, terminationOrdering)."""
        containers = self._containers.values()
        others = [c for c in containers if c.record.role is not Role.SIDECAR]
        sidecars = [c for c in containers if c.record.role is Role.SIDECAR]
        ends = [asyncio.ensure_future(container.kill(grace)) for container in others]
        for sidecar in reversed(sidecars):
            ends.append(asyncio.ensure_future(sidecar.kill(grace, after=tuple(ends))))
        await asyncio.gather(*ends)

    def _grace(self) -> float:
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        return float(metadata.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30)))

    async def _report_end(self) -> None:
        if self._object_gone:
            self._means.logs.delete(self.pod)
            return
        await self._status.write()
        with suppress(StatusError):  # gone already, or replaced by another pod of this name
            await self._means.client.delete(
                kinds.POD,
                objects.name(self.pod),
                objects.namespace(self.pod),
                uid=objects.uid(self.pod),
                grace_seconds=0,
            )
        self._means.logs.delete(self.pod)

    # -- what is known of it -----------------------------------------------------------------------------------

    def _known(self) -> tuple[Object, list[ContainerRecord], PodFacts]:
        facts = PodFacts(
            now=self._means.clock.now(),
            start_time=self._start_time,
            host_ips=self._means.ips,
            pod_ips=self._context.ips,
            sandbox_ready=self._context.sandbox is not None or any(c.is_component for c in self._containers.values()),
            failure=self._failure,
        )
        return self.pod, [container.record for container in self._containers.values()], facts

    def _add(self, role: Role, spec: Object) -> None:
        record = ContainerRecord(spec["name"], spec["image"], role)
        waits = role is Role.MAIN and any(c.record.role in (Role.INIT, Role.SIDECAR) for c in self._containers.values())
        record.state = {"waiting": {"reason": "PodInitializing" if waits else "ContainerCreating"}}
        self._containers[spec["name"]] = Container(self._context, spec, record)


def _containers_of(pod: Object) -> list[tuple[Role, Object]]:
    spec = pod["spec"]
    found = [
        (Role.SIDECAR if c.get("restartPolicy") == "Always" else Role.INIT, c) for c in spec.get("initContainers") or ()
    ]
    found += [(Role.MAIN, c) for c in spec["containers"]]
    return found + [(Role.EPHEMERAL, c) for c in spec.get("ephemeralContainers") or ()]


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancels the tasks and waits until they have ended, whatever their outcome."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()
