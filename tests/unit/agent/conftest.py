"""A node agent over a client in memory, processes without namespaces, and a clock that tests move."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ambientlab.api import kinds, objects
from ambientlab.api.client import Event, Handler
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.apiserver.patch.merge import merge_patch
from ambientlab.images.program import Launch
from ambientlab.images.registry import Images
from ambientlab.node.agent.agent import NodeAgent
from ambientlab.node.agent.logs import LogFile
from ambientlab.node.agent.streams import AgentKubelet
from ambientlab.node.runtime import ContainerSpec, Process, Sandbox, SandboxSpec
from support.manual_clock import ManualClock


class MemoryClient:
    """The API over a dict: graceful deletion of pods, merge patches, watches, and every write in `writes`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.handlers: list[tuple[str, Handler]] = []
        self.writes: list[tuple[str, str, Object]] = []
        self.changed = asyncio.Event()
        self._versions = count(1)

    def get(self, resource: Any, name: str, namespace: str = "") -> Object | None:
        return self.objects.get((resource.kind, namespace, name))

    def list(self, resource: Any, namespace: str | None = None) -> Sequence[Object]:
        return [o for (k, ns, _), o in self.objects.items() if k == resource.kind and namespace in (None, ns)]

    async def create(self, resource: Any, obj: Object) -> Object:
        obj = objects.copy(obj)
        key = (resource.kind, objects.namespace(obj), objects.name(obj))
        if key in self.objects:
            raise StatusError(409, "AlreadyExists", f"{key} already exists")
        obj["metadata"].setdefault("uid", str(uuid.uuid4()))
        self.writes.append(("create", resource.kind, obj))
        self._commit("ADDED", key, obj)
        return obj

    async def update(self, resource: Any, obj: Object, *, subresource: str = "") -> Object:
        key = (resource.kind, objects.namespace(obj), objects.name(obj))
        self._commit("MODIFIED", key, objects.copy(obj))
        return obj

    async def patch(self, resource: Any, name: str, namespace: str, patch: Object, *, subresource: str = "") -> Object:
        key = (resource.kind, namespace, name)
        old = self.objects.get(key)
        if old is None:
            raise StatusError(404, "NotFound", f"{key} not found")
        if patch.get("metadata", {}).get("uid", objects.uid(old)) != objects.uid(old):
            raise StatusError(409, "Conflict", "another uid")
        await asyncio.sleep(0)
        self.writes.append((f"patch {subresource}".strip(), resource.kind, objects.copy(patch)))
        new = merge_patch(self.objects.get(key, old), objects.copy(patch))
        self._commit("MODIFIED", key, new)
        return new

    async def apply(self, resource: Any, obj: Object, *, manager: str, subresource: str = "") -> Object:
        raise NotImplementedError

    async def delete(
        self,
        resource: Any,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> None:
        key = (resource.kind, namespace, name)
        old = self.objects.get(key)
        if old is None or uid not in ("", objects.uid(old)):
            raise StatusError(404, "NotFound", f"{key} not found")
        if resource.kind == "Pod" and grace_seconds != 0:
            grace = old["spec"].get("terminationGracePeriodSeconds", 30) if grace_seconds is None else grace_seconds
            new = objects.copy(old)
            new["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
            self._commit("MODIFIED", key, new)
            return
        del self.objects[key]
        self._tell(Event("DELETED", old, old), resource.kind)

    def watch(self, resource: Any, handler: Handler) -> Callable[[], None]:
        entry = (resource.kind, handler)
        self.handlers.append(entry)
        for obj in self.list(resource):
            handler(Event("ADDED", obj))
        return lambda: self.handlers.remove(entry)

    def _commit(self, kind: Any, key: tuple[str, str, str], obj: Object) -> None:
        old = self.objects.get(key)
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = obj
        self._tell(Event(kind, obj, old), key[0])

    def _tell(self, event: Event, kind: str) -> None:
        for watched, handler in tuple(self.handlers):
            if watched == kind:
                handler(event)
        self.changed.set()


def _default_signals() -> None:
    """As in a container, whatever the tests' own parent ignores (nohup: SIGHUP)."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass
class LocalRuntime:
    """Processes of this machine, in no namespace. `failures` are raised by the next sandboxes."""

    failures: list[OSError] = field(default_factory=list)
    sandboxes: list[Sandbox] = field(default_factory=list)
    specs: list[ContainerSpec] = field(default_factory=list)
    live: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to end the sandbox there is: nobody else tells the next one's waiters before it is cleared."""

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        if self.failures:
            raise self.failures.pop(0)
        self.calls.append("create_sandbox")
        sandbox = Sandbox(spec, os.getpid(), "/proc/self/ns/net")
        self.sandboxes.append(sandbox)
        return sandbox

    async def sandbox_ended(self, sandbox: Sandbox) -> None:
        await self.lost.wait()
        self.lost.clear()

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        self.calls.append("remove_sandbox")
        if sandbox in self.sandboxes:
            self.sandboxes.remove(sandbox)

    async def start_container(self, sandbox: Sandbox, spec: ContainerSpec, stdio: tuple[int, int, int]) -> Process:
        self.calls.append(f"start {spec.name}")
        self.specs.append(spec)
        return self._spawn(spec.argv, spec.env, stdio)

    async def exec(
        self,
        container: Process,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        stdio: tuple[int, int, int] | None,
    ) -> tuple[Process, int | None]:
        if stdio is not None:
            return self._spawn(argv, env, stdio), None
        master, slave = os.openpty()
        try:
            return self._spawn(argv, env, (slave, slave, slave)), master
        finally:
            os.close(slave)

    def _spawn(self, argv: Sequence[str], env: Mapping[str, str], stdio: tuple[int, int, int]) -> Process:
        if shutil.which(argv[0], path=env.get("PATH")) is None:
            raise OSError(errno.ENOENT, f'exec: "{argv[0]}": executable file not found in $PATH')
        process = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            start_new_session=True,
            preexec_fn=_default_signals,
        )
        self.live[process.pid] = process
        return Process(process.pid)

    async def wait(self, process: Process) -> int:
        loop = asyncio.get_running_loop()
        fd = os.pidfd_open(process.pid)
        ended = loop.create_future()
        loop.add_reader(fd, lambda: None if ended.done() else ended.set_result(None))
        try:
            await ended
        finally:
            loop.remove_reader(fd)
            os.close(fd)
        return self.live.pop(process.pid).wait()

    def signal(self, process: Process, signum: int) -> None:
        self.calls.append(f"signal {signum}")
        if process.pid in self.live:
            self.live[process.pid].send_signal(signum)


class CountingAddresses:
    def __init__(self) -> None:
        self.free = [f"127.1.0.{n}" for n in range(250, 1, -1)]  # of the loopback device: probes can reach them

    def all_of(self, address: str) -> tuple[str, ...]:
        return (address,)

    def allocate(self) -> str:
        return self.free.pop()

    def release(self, address: str) -> None:
        self.free.append(address)


@dataclass
class Hook:
    """Records its calls; `refuses` makes it fail that often."""

    calls: list[str] = field(default_factory=list)
    refuses: int = 0

    async def sandbox_ready(self, pod: Object, sandbox: Sandbox) -> None:
        self.calls.append(f"ready {objects.name(pod)} {sandbox.spec.ip}")
        if self.refuses:
            self.refuses -= 1
            raise ConnectionError("no node proxy")

    async def sandbox_removing(self, pod: Object, sandbox: Sandbox) -> None:
        self.calls.append(f"removing {objects.name(pod)}")


class AgentWorld:
    """One node, its API and its clock."""

    kinds = kinds

    def __init__(self, path: Path) -> None:
        self.path = path
        self.client = MemoryClient()
        self.runtime = LocalRuntime()
        self.clock = ManualClock()
        self.hook = Hook()
        self.addresses = CountingAddresses()
        self.tokens: list[Object] = []
        self.component = LogFile(path / "istiod.log", self.clock)
        self.idle = asyncio.Event()
        self.draining = 0
        self.images = Images({"proxyv2": lambda pod, container: Launch(("sleep", "1000"))}, {"proxyv2": self._drain})
        self._running: asyncio.Task[None] | None = None
        self.agent = self._agent()
        self.kubelet = AgentKubelet(self.agent, self.local_socket)

    def _agent(self) -> NodeAgent:
        return NodeAgent(
            self.client,
            self.runtime,
            self.images,
            [self.hook],
            self.addresses,
            state_dir=self.path / "state",
            run_dir=self.path / "run",
            token_issuer=self.issue,
            components={"istiod": self.component},
            clock=self.clock,
        )

    async def issue(self, namespace: str, account: str, request: Object) -> Object:
        self.tokens.append({"account": f"{namespace}/{account}", **request["spec"]})
        seconds = request["spec"]["expirationSeconds"]
        expires = objects.timestamp(self.clock.now() + timedelta(seconds=seconds))
        return {**request, "status": {"token": f"token-{len(self.tokens)}", "expirationTimestamp": expires}}

    async def local_socket(self, netns: str, family: int, kind: int) -> Any:
        import socket

        made = socket.socket(family, kind)
        made.setblocking(False)
        return made

    async def start(self) -> None:
        for name in ("default", "kube-node-lease"):
            if self.client.get(kinds.NAMESPACE, name) is None:
                await self.client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
        self._running = asyncio.create_task(self.agent.run())
        await self.until(lambda: self.client.get(kinds.LEASE, "ambientlab", "kube-node-lease") is not None)

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
            if not self._running.cancelled():
                self._running.result()
            self._running = None
        processes = list(self.runtime.live.values())
        for process in processes:
            process.kill()
            process.wait()
        self.runtime.live.clear()

    async def restart(self) -> None:
        """The node goes down with everything in it, and comes up again."""
        await self.stop()
        self.renew()
        await self.start()

    def renew(self) -> None:
        """An agent that knows nothing of the one before."""
        self.runtime.sandboxes.clear()
        self.agent = self._agent()
        self.kubelet = AgentKubelet(self.agent, self.local_socket)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """The first true value of `condition`, looked at whenever something may have changed."""
        async with asyncio.timeout(10):
            while not (value := condition()):
                self.client.changed.clear()
                waiter = asyncio.ensure_future(self.client.changed.wait())
                await asyncio.wait({waiter}, timeout=0.01)
                waiter.cancel()
            return value

    async def elapse(self, seconds: float) -> None:
        """Lets time pass once somebody waits for it."""
        await self.until(lambda: self.clock.due_within(seconds))
        self.clock.advance(seconds)

    async def elapse_until(self, condition: Callable[[], Any]) -> None:
        """Lets time pass in small steps until `condition` holds."""
        async with asyncio.timeout(10):
            while not condition():
                self.clock.advance(0.25)
                await asyncio.sleep(0.005)

    async def create(self, name: str, *containers: Object, namespace: str = "default", **spec: Any) -> Object:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"nodeName": "ambientlab", "containers": list(containers), **spec},
        }
        return await self.client.create(kinds.POD, pod)

    async def _drain(self, pid: int) -> None:
        assert pid in self.runtime.live, "asked about a process that is not there"
        self.draining += 1
        await self.idle.wait()

    def pod(self, name: str) -> Object | None:
        return self.client.get(kinds.POD, name, "default")

    def status(self, name: str) -> Object:
        pod = self.pod(name)
        return (pod or {}).get("status") or {}

    def condition(self, name: str, kind: str) -> str:
        return next((c["status"] for c in self.status(name).get("conditions", ()) if c["type"] == kind), "")

    def container(self, pod: str, index: int = 0, field: str = "containerStatuses") -> Object:
        statuses = self.status(pod).get(field) or []
        return statuses[index] if len(statuses) > index else {"state": {}, "lastState": {}}

    def events(self, reason: str = "") -> list[str]:
        found = sorted(self.client.list(kinds.EVENT), key=lambda e: int(e["metadata"]["resourceVersion"]))
        return [e["message"] for e in found if reason in ("", e["reason"])]

    async def ready(self, name: str) -> Object:
        await self.until(lambda: self.condition(name, "Ready") == "True")
        pod = self.pod(name)
        assert pod is not None
        return pod

    async def said(self, pod: Object, text: bytes, container: str = "main") -> None:
        """Waits until the container has written `text`."""
        await self.until(lambda: text in self.agent.logs.last(pod, container, 1000))

    async def output(self, pod: Object, *argv: str, tty: bool = False) -> tuple[int, bytes, bytes]:
        session = await self.kubelet.exec(pod, "", argv, stdin=False, tty=tty)
        out = b"".join([chunk async for chunk in session.stdout()])
        err = b"".join([chunk async for chunk in session.stderr()])
        code = await session.wait()
        session.close()
        return code, out, err


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[AgentWorld]:
    made = AgentWorld(tmp_path)
    await made.start()
    yield made
    await made.stop()
    made.component.close()
