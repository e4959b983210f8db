"""One container of a pod: from its image to its end, and again as the restart policy asks.

image -> configuration -> process (probes) -> end -> back-off -> image ...
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ambientlab.api import objects
from ambientlab.api.objects import Object
from ambientlab.cluster import RUNTIME
from ambientlab.flow.clock import sleep
from ambientlab.node.agent import actions, inside, launch, probes, stdio
from ambientlab.node.agent.backoff import Backoff
from ambientlab.node.agent.context import PodContext
from ambientlab.node.agent.environment import ConfigError
from ambientlab.node.agent.launch import ImageError
from ambientlab.node.agent.logs import LogFile
from ambientlab.node.agent.status import ContainerRecord, Role
from ambientlab.node.agent.waiting import to_completion, unless, wait_any, within
from ambientlab.node.runtime import ContainerSpec, Process

if TYPE_CHECKING:
    from ambientlab.images.program import Drain, MakeOutput, Program

_MIN_GRACE = 2.0  # seconds that there are for SIGTERM, also when preStop or other containers used up the grace period
_DRAIN = 5.0  # seconds a proxy has for what is under way (terminationDrainDuration of Istio's agent)
_AGAIN = 0.5  # seconds until a proxy is told again to end
_START_ERROR = 128  # the exit code runtimes report for a program that could not be started
_NOTICE = 1.0  # seconds in which ErrImagePull can be seen before it becomes ImagePullBackOff


class Container:
    """Runs one container of a pod. Also the listener of its own probes."""

    def __init__(self, context: PodContext, spec: Object, record: ContainerRecord) -> None:
        self.record = record
        self.spec = spec
        self.process: Process | None = None
        self.launched: ContainerSpec | None = None
        self.pipes: stdio.Pipes | None = None
        self.log: LogFile | None = None
        self.up = asyncio.Event()  # started, and past its startup probe: sidecars are waited for
        self.is_component = False
        self._context = context
        self._means = context.means
        self._ended = asyncio.Event()
        self._poked = asyncio.Event()
        self._starting = asyncio.Lock()
        self._run = record.restart_count
        self._started_at = self._means.clock.now()
        self._drain: stdio.Drain | None = None
        self._output: MakeOutput | None = None
        self._finish_work: Drain | None = None
        self._image_backoff = Backoff()
        self._crash_backoff = Backoff(at_once=True)
        self._config_backoff = Backoff(initial=2.0, maximum=60.0)
        self._killing: asyncio.Task[None] | None = None
        self._replaced = False

    # -- its life ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Returns when it has ended for good; runs until cancelled otherwise."""
        if self._begin_again():
            return
        try:
            while True:
                program = await self._image()
                self._finish_work, self._output = program.drain, program.output
                if program.component:
                    await self._be_component(program)
                spec = await self._configuration(program)
                self._replaced = False
                began = self._means.clock.time()
                code = await self._one_run(spec)
                if not self._goes_on(code):
                    return
                await self._back_off(self._means.clock.time() - began)
        finally:
            if self._killing is not None:
                self._killing.cancel()

    def runs_again(self) -> bool:
        """Whether there is something left to do: it has not run yet, or its end asks for another run."""
        code = self.record.exit_code
        return code is None or self._restarts(code)

    def _begin_again(self) -> bool:
        """Counts the run that a restart of the node has cut short, as the kubelet does; True if the container was done
        before (k8s.io/api/core/v1, ContainerStatus.restartCount: always incremented, unless state is lost)."""
        record = self.record
        if not record.container_id:
            return False
        if record.role in (Role.MAIN, Role.EPHEMERAL) and not self.runs_again():
            return True
        if record.exit_code is not None:
            record.last_state = record.state
        record.state = {"waiting": {"reason": "ContainerCreating"}}
        record.restart_count += 1
        self._run = record.restart_count
        return False

    def _goes_on(self, code: int) -> bool:
        return not self._context.stopping and (self._replaced or self._restarts(code))

    def _restarts(self, code: int) -> bool:
        if self.record.role is Role.SIDECAR:
            return True
        if self.record.role is Role.EPHEMERAL:
            return False
        policy = self._context.pod["spec"].get("restartPolicy", "Always")
        if self.record.role is Role.INIT:
            return code != 0 and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    async def _image(self) -> Program:
        while True:
            try:
                program = launch.find_image(self._means.images, self.spec)
            except ImageError as error:
                for notice in error.events:
                    self._event(*notice)
                self._wait_for(error.reason, error.message)
                if error.backs_off:
                    await wait_any(self._means.clock, _NOTICE, self._poked)
                    text = f'Back-off pulling image "{self.spec["image"]}"'
                    self._event("Normal", "BackOff", text)
                    self._event("Warning", "Failed", "Error: ImagePullBackOff")
                    self._wait_for("ImagePullBackOff", f"{text}: {error.reason}: {error.message}")
                await self._pause(self._image_backoff)
            else:
                image = self.spec["image"]
                self.record.image_id = f"{RUNTIME}{program.name}@{program.version}"
                if not program.component:
                    message = f'Container image "{image}" already present on machine and can be accessed by the pod'
                    self._event("Normal", "Pulled", message)
                return program

    async def _configuration(self, program: Program) -> ContainerSpec:
        while True:
            try:
                return launch.container_spec(self._context, self.spec, program, self._run)
            except (ConfigError, OSError) as error:
                self._event("Warning", "Failed", f"Error: {error}")
                self._wait_for("CreateContainerConfigError", str(error))
                await self._pause(self._config_backoff)

    async def _pause(self, backoff: Backoff) -> None:
        """Until it is worth trying again: after the back-off, or when the pod's surroundings have changed."""
        await wait_any(self._means.clock, backoff.next(), self._poked)
        self._poked.clear()

    def poke(self) -> None:
        """Something that this container waits for may be there now."""
        self._poked.set()

    async def _be_component(self, program: Program) -> None:
        """A container whose work is done by the daemon itself: it runs as long as the pod exists."""
        self.is_component = True
        self.log = self._means.components.get(program.component)
        self.record.container_id = self._container_id()
        self._running(self._means.clock.now())
        self.started()
        self.readiness(True)
        await asyncio.Event().wait()

    async def _one_run(self, spec: ContainerSpec) -> int:
        """Starts it and waits for its end. Returns the exit code."""
        async with self._starting:
            if self._context.stopping:
                return 0
            try:
                await to_completion(self._start(spec))
            except OSError as error:
                return self._start_failed(error)
        process = self.process
        if process is None:
            raise RuntimeError("a container has started without a process")
        end = asyncio.ensure_future(self._means.runtime.wait(process))
        watching = asyncio.create_task(self._watch())
        try:
            code = await asyncio.shield(end)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            if end.done():
                await to_completion(self._finished(end.result()))
            else:
                end.cancel()
        if not watching.cancelled():
            watching.result()
        return inside.exit_code(code)

    async def _start(self, spec: ContainerSpec) -> None:
        sandbox = self._context.sandbox
        if sandbox is None:
            raise RuntimeError("a container needs the sandbox of its pod")
        self.pipes = stdio.Terminal() if self.spec.get("tty") else stdio.Pipes(stdin=bool(self.spec.get("stdin")))
        self._started_at = self._means.clock.now()
        self.record.container_id = self._container_id()
        self.launched = spec
        try:
            self.log = self._means.logs.begin(self._context.pod, self.record.name, self._run)
            self._event("Normal", "Created", "Container created")
            self.process = await self._means.runtime.start_container(sandbox, spec, self.pipes.child)
            self._ended.clear()
        except BaseException:
            self.pipes.started()
            self.pipes.close()
            if self.log is not None:
                self.log.close()
            raise
        self.pipes.started()
        self._drain = stdio.Drain(self.pipes, self.log, self._output)
        self._event("Normal", "Started", "Container started")
        if self.record.role is not Role.MAIN or not (self.spec.get("lifecycle") or {}).get("postStart"):
            self._running(self._started_at)

    def _running(self, since: datetime) -> None:
        self.record.state = {"running": {"startedAt": objects.timestamp(since)}}
        self.record.ready = False
        self.record.started = False
        self._context.changed()

    async def _watch(self) -> None:
        """Runs the postStart hook, then the probes."""
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            outcome = await actions.act(hook, self._target(), self._means.clock, 3600.0)
            if not outcome.ok:
                self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {outcome.detail}")
                self._begin_kill("FailedPostStartHook")
                return
            self._running(self._started_at)
        if self.record.role in (Role.INIT, Role.EPHEMERAL):
            self.started()
            return
        target = self._target()

        async def attempt(probe: Object, timeout: float) -> actions.Outcome:
            return await actions.act(probe, target, self._means.clock, timeout)

        await probes.watch(self.spec, attempt, self, self._means.clock)

    async def _finished(self, code: int) -> None:
        if self.pipes is not None and self.log is not None and self._drain is not None:
            await self._drain.finish()
            self.pipes.close()
            self.log.close()
        now = self._means.clock.now()
        exit_code = inside.exit_code(code)
        ended: Object = {
            "exitCode": exit_code,
            "reason": "Completed" if exit_code == 0 else "Error",
            "startedAt": objects.timestamp(self._started_at),
            "finishedAt": objects.timestamp(now),
            "containerID": self.record.container_id,
        }
        with suppress(OSError):  # what cannot be read cannot be told
            if message := launch.termination_message(self._context, self.spec, self._run, exit_code):
                ended["message"] = message
        self._terminated(ended)

    def _terminated(self, ended: Object) -> None:
        self.process = None
        self.record.state = {"terminated": ended}
        # An init container that has done its work counts as ready (pkg/kubelet/prober).
        self.record.ready = self.record.role is Role.INIT and ended["exitCode"] == 0
        self.record.started = False
        self.up.clear()
        self._ended.set()
        self._context.changed()

    def _start_failed(self, error: OSError) -> int:
        text = error.strerror or str(error)
        message = f"failed to start container: {text}"
        self._event("Warning", "Failed", f"Error: {message}")
        now = objects.timestamp(self._means.clock.now())
        self._terminated(
            {
                "exitCode": _START_ERROR,
                "reason": "StartError",
                "message": message,
                "startedAt": "1970-01-01T00:00:00Z",
                "finishedAt": now,
                "containerID": self.record.container_id,
            }
        )
        return _START_ERROR

    async def _back_off(self, ran_for: float) -> None:
        delay = self._crash_backoff.next(ran_for)
        self.record.last_state = self.record.state
        if self._replaced:
            delay = 0.0
        if delay:
            pod = self._context.pod
            where = f"pod={objects.name(pod)}_{objects.namespace(pod)}({objects.uid(pod)})"
            seconds = f"{delay:.0f}s" if delay < 60 else f"{delay // 60:.0f}m{delay % 60:.0f}s"
            message = f"back-off {seconds} restarting failed container={self.record.name} {where}"
            event = f"Back-off restarting failed container {self.record.name} in pod {where.removeprefix('pod=')}"
            self._event("Warning", "BackOff", event)
            self.record.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            self.record.ready = False
            self._context.changed()
            await sleep(self._means.clock, delay)
        self.record.restart_count += 1
        self._run += 1

    # -- its end -----------------------------------------------------------------------------------------------

    async def kill(self, grace: float, message: str = "", after: Collection[asyncio.Future[None]] = ()) -> None:
        """Ends the process: preStop, SIGTERM, and SIGKILL after `grace` seconds or when the pod is in a hurry.

        SIGTERM waits for the end of what it comes `after`, as long as there is time, which is the same for all
        (pkg/kubelet/kuberuntime, killContainer). Returns when it has ended; at once when nothing runs.
        """
        async with self._starting:  # what is being started must not be missed
            process = self.process
        if process is None:
            return
        self._event("Normal", "Killing", message or f"Stopping container {self.record.name}")
        runtime, clock = self._means.runtime, self._means.clock
        deadline = clock.time() + grace
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            try:
                outcome = await within(clock, grace, self._pre_stop(hook, grace))
            except TimeoutError:
                outcome = actions.Outcome(False, f"still running after the grace period of {grace:g}s")
            if not outcome.ok:
                self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.detail}")
        if after and grace > 0:
            with suppress(TimeoutError):
                await within(clock, max(deadline - clock.time(), 0.0), unless(asyncio.wait(after), self._context.hurry))
        if grace > 0:
            deadline = max(deadline, clock.time() + _MIN_GRACE)
        await self._drained(process, min(grace, _DRAIN))
        while self.process is process and clock.time() < deadline and not self._context.hurry.is_set():
            runtime.signal(process, signal.SIGTERM)
            left = max(deadline - clock.time(), 0.0)
            # The first process of a container misses a signal that it does not handle yet. Istio's agent, which stands
            # before Envoy, does handle it.
            wait = left if self._finish_work is None else min(left, _AGAIN)
            await wait_any(clock, wait, self._ended, self._context.hurry)
        if self.process is process:
            runtime.signal(process, signal.SIGKILL)
            await self._ended.wait()

    async def _drained(self, process: Process, limit: float) -> None:
        if self._finish_work is None:
            return
        work = unless(self._finish_work(process.pid), self._ended, self._context.hurry)
        with suppress(TimeoutError):  # it has had its time
            await within(self._means.clock, limit, work)

    async def _pre_stop(self, hook: Object, grace: float) -> actions.Outcome:
        return await actions.act(hook, self._target(), self._means.clock, grace)

    def replace(self, spec: Object) -> None:
        """The pod now asks for another image: run that instead."""
        self.spec = spec
        self.record.image = spec["image"]
        self._replaced = True
        self.poke()
        if self.process is not None:
            self._begin_kill(f"Container {self.record.name} definition changed, will be restarted")

    def _begin_kill(self, message: str, grace: float | None = None) -> None:
        """Within `grace` seconds, or as many as the pod has for its end."""
        if self._killing is None or self._killing.done():
            usual = self._context.pod["spec"].get("terminationGracePeriodSeconds", 30)
            self._killing = asyncio.create_task(self.kill(float(usual if grace is None else grace), message))

    # -- what its probes report --------------------------------------------------------------------------------

    def started(self) -> None:
        self.record.started = True
        self.up.set()
        self._context.changed()

    def readiness(self, ready: bool) -> None:
        if self.record.ready != ready and self.record.running:
            self.record.ready = ready
            self._context.changed()

    def unhealthy(self, probe: str, detail: str) -> None:
        self._event("Warning", "Unhealthy", f"{probe} probe failed: {detail}")

    def condemned(self, probe: str) -> None:
        """A probe may have a grace period of its own (pkg/kubelet/kuberuntime, setTerminationGracePeriod)."""
        own = self.spec[f"{probe.lower()}Probe"].get("terminationGracePeriodSeconds")
        self._begin_kill(f"Container {self.record.name} failed {probe.lower()} probe, will be restarted", own)

    # -- means -------------------------------------------------------------------------------------------------

    def _target(self) -> actions.Target:
        ports = {port["name"]: port["containerPort"] for port in self.spec.get("ports") or () if port.get("name")}
        return actions.Target(self._context.ip, ports, self._run_command)

    async def _run_command(self, argv: Sequence[str]) -> tuple[int, bytes]:
        process, spec = self.process, self.launched
        if process is None or spec is None:
            return 1, b"container is not running"
        return await inside.run(self._means.runtime, process, spec, argv)

    def _wait_for(self, reason: str, message: str) -> None:
        self.record.state = {"waiting": {"reason": reason, "message": message}}
        self.record.ready = False
        self._context.changed()

    def _event(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        path = f"spec.{self.record.role.spec_field}{{{self.record.name}}}"
        self._means.recorder.record(self._context.pod, kind, reason, message, path)

    def _container_id(self) -> str:
        seed = f"{objects.uid(self._context.pod)}/{self.record.name}/{self._run}/{self._started_at}"
        return f"{RUNTIME}{hashlib.sha256(seed.encode()).hexdigest()}"
