"""`node.runtime.Runtime` over the zygote: the daemon's view of sandboxes, containers and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import signal
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ambientlab.node.linux import channel as messages
from ambientlab.node.linux.channel import Exited, Failed, Forked, NewContainer, NewExec, NewSandbox, Refused, Terminal
from ambientlab.node.network import NodeNetwork
from ambientlab.node.runtime import ContainerSpec, Process, Sandbox, SandboxSpec


@dataclass(frozen=True, slots=True)
class _Running(Process):
    """A process and its end. It carries its own exit, so that nobody has to remember what has been waited for.
    `sandbox` is the `start` of the pause process that it shares namespaces with, 0 for one of those."""

    sandbox: int = 0
    privileged: bool = False
    exit: asyncio.Future[int] = field(default_factory=asyncio.Future, compare=False, repr=False)


@dataclass(slots=True)
class _Fork:
    """A request on its way: what the process will be, and who waits for it."""

    sandbox: int
    privileged: bool
    done: asyncio.Future[_Running]


class LinuxRuntime:
    """Implements `Runtime`. Construct it, then `start` it on the running loop; `close` ends every process it started.

    `network` gives sandboxes their device; without one, only sandboxes that share the node's network can be made.
    """

    def __init__(self, zygote: socket.socket, network: NodeNetwork | None = None) -> None:
        self._zygote = zygote
        self._network = network
        self._ids = itertools.count(1)
        self._forks: dict[int, _Fork] = {}
        self._running: dict[int, _Running] = {}
        self._pauses: dict[Sandbox, _Running] = {}
        self._ending: set[int] = set()  # sandboxes being removed: what still starts in one is killed
        self._outbox: deque[tuple[messages.Request, list[int]]] = deque()

    def start(self) -> None:
        self._zygote.setblocking(False)
        asyncio.get_running_loop().add_reader(self._zygote, self._on_readable)

    def close(self) -> None:
        """The zygote ends with its channel, and node-init ends what it had started."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._zygote)
        loop.remove_writer(self._zygote)
        self._fail_forks()
        self._zygote.close()

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        if spec.ip is not None and self._network is None:
            raise OSError("this node has no pod network")
        request = NewSandbox(next(self._ids), spec.hostname, spec.ip is None)
        pause, _ = await self._spawn(request, (), 0, privileged=False)
        sandbox = Sandbox(spec, pause.pid, f"/proc/{pause.pid}/ns/net")
        self._pauses[sandbox] = pause
        if self._network is not None and spec.ip is not None:
            attached = False
            try:
                await self._network.attach(sandbox.netns, spec.ip)
                attached = True
            finally:
                if not attached:
                    del self._pauses[sandbox]
                    self._send(messages.Signal(pause.pid, signal.SIGKILL))
        return sandbox

    async def sandbox_ended(self, sandbox: Sandbox) -> None:
        if (pause := self._pauses.get(sandbox)) is not None:
            await self.wait(pause)

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        pause = self._pauses.pop(sandbox, None)
        if pause is None:
            return
        self._ending.add(pause.start)
        try:
            while doomed := [p for p in self._running.values() if p is pause or p.sandbox == pause.start]:
                for process in doomed:
                    self._send(messages.Signal(process.pid, signal.SIGKILL))
                await asyncio.wait([process.exit for process in doomed])
        finally:
            self._ending.discard(pause.start)
        if self._network is not None and sandbox.spec.ip is not None:
            await self._network.detach(sandbox.spec.ip)

    async def start_container(self, sandbox: Sandbox, spec: ContainerSpec, stdio: tuple[int, int, int]) -> Process:
        pause = self._pauses.get(sandbox)
        if pause is None:
            raise ProcessLookupError(errno.ESRCH, "the sandbox has ended")
        request = NewContainer(next(self._ids), sandbox.pid, spec)
        process, _ = await self._spawn(request, stdio, pause.start, privileged=spec.privileged)
        return process

    async def exec(
        self,
        container: Process,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        stdio: tuple[int, int, int] | None,
    ) -> tuple[Process, int | None]:
        main = self._alive(container)
        if main is None:
            raise ProcessLookupError(errno.ESRCH, "cannot exec in a stopped container")
        request = NewExec(next(self._ids), container.pid, list(argv), dict(env), cwd, stdio is None, main.privileged)
        return await self._spawn(request, stdio or (), main.sandbox, privileged=main.privileged)

    async def wait(self, process: Process) -> int:
        if not isinstance(process, _Running):
            raise ProcessLookupError(errno.ESRCH, f"process {process.pid} is not of this runtime")
        return await asyncio.shield(process.exit)

    def signal(self, process: Process, signum: int) -> None:
        """A process that has ended is left alone, whatever its pid means by now."""
        if self._alive(process) is not None:
            self._send(messages.Signal(process.pid, signum))

    def _alive(self, process: Process) -> _Running | None:
        running = self._running.get(process.pid)
        return running if running is not None and running.start == process.start else None

    async def _spawn(
        self,
        request: NewSandbox | NewContainer | NewExec,
        stdio: Sequence[int],
        sandbox: int,
        *,
        privileged: bool,
    ) -> tuple[_Running, int | None]:
        """Fork and wait until the child is what it was to become. Whoever stops waiting leaves no process behind."""
        fork = _Fork(sandbox, privileged, asyncio.get_running_loop().create_future())
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.setblocking(False)
        process: _Running | None = None
        succeeded = False
        try:
            with theirs:
                self._send(request, (theirs.fileno(), *stdio))
            self._forks[request.id] = fork
            process = await fork.done
            terminal = await _outcome(mine, isinstance(request, NewSandbox))
            succeeded = True
            return process, terminal
        finally:
            mine.close()
            if process is not None and not succeeded:
                self.signal(process, signal.SIGKILL)

    def _send(self, request: messages.Request, descriptors: Sequence[int] = ()) -> None:
        if not self._outbox:
            try:
                messages.send(self._zygote, request, descriptors)
            except BlockingIOError:
                asyncio.get_running_loop().add_writer(self._zygote, self._flush)
            else:
                return
        self._outbox.append((request, [os.dup(descriptor) for descriptor in descriptors]))

    def _flush(self) -> None:
        while self._outbox:
            request, descriptors = self._outbox[0]
            try:
                messages.send(self._zygote, request, descriptors)
            except BlockingIOError:
                return
            self._outbox.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
        asyncio.get_running_loop().remove_writer(self._zygote)

    def _on_readable(self) -> None:
        while True:
            try:
                body, _ = messages.receive(self._zygote)
            except BlockingIOError:
                return
            if not body:
                asyncio.get_running_loop().remove_reader(self._zygote)
                self._fail_forks()
                return
            self._on_reply(messages.decode_reply(body))

    def _on_reply(self, reply: messages.Reply) -> None:
        match reply:
            case Forked():
                fork = self._forks.pop(reply.id)
                process = _Running(reply.pid, reply.id, fork.sandbox, fork.privileged)
                self._running[reply.pid] = process
                if fork.done.cancelled() or fork.sandbox in self._ending:
                    self._send(messages.Signal(reply.pid, signal.SIGKILL))
                if not fork.done.cancelled():
                    fork.done.set_result(process)
            case Refused():
                fork = self._forks.pop(reply.id)
                if not fork.done.cancelled():
                    fork.done.set_exception(OSError(reply.errno, reply.message))
            case Exited():
                self._running.pop(reply.pid).exit.set_result(reply.code)

    def _fail_forks(self) -> None:
        for fork in self._forks.values():
            if not fork.done.done():
                fork.done.set_exception(ConnectionError("the node is stopping"))
        self._forks.clear()


async def _outcome(report: socket.socket, sandbox: bool) -> int | None:
    """The terminal's master end, if one was made. A program runs once the child's end of `report` has closed."""
    terminal: int | None = None
    try:
        while True:
            body, descriptors = await _receive(report)
            if not body:
                if sandbox:
                    raise OSError("the sandbox ended while it started")
                made, terminal = terminal, None
                return made
            match messages.decode_report(body):
                case Failed(number, message):
                    raise OSError(number, message)
                case Terminal():
                    (terminal,) = descriptors
                case _:
                    return None
    finally:
        if terminal is not None:
            os.close(terminal)


async def _receive(report: socket.socket) -> tuple[bytes, list[int]]:
    with contextlib.suppress(BlockingIOError):
        return messages.receive(report)
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(report, lambda: None if readable.done() else readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(report)
    return messages.receive(report)
