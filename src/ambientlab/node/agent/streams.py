"""Exec, attach, logs and port-forward: the node's side of `api.kubelet.Kubelet`."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from ambientlab.api import objects
from ambientlab.api.errors import StatusError
from ambientlab.api.kubelet import ExecSession, LogOptions
from ambientlab.api.objects import Object
from ambientlab.node.agent import inside, logread, stdio
from ambientlab.node.agent.agent import NodeAgent
from ambientlab.node.agent.container import Container
from ambientlab.node.agent.logs import LogFile
from ambientlab.node.runtime import Process, Runtime

SocketIn = Callable[[str, int, int], Awaitable[socket.socket]]
"""(path of a network namespace, family, kind) -> a non-blocking socket that lives there. Raises OSError."""

_HANG_UP_GRACE = 2.0  # seconds between SIGHUP and SIGKILL for the process of a caller that is gone
_ATTACH_BACKLOG = 4 * 1024 * 1024  # bytes an attached reader may lag behind before it loses the connection


class AgentKubelet:
    """Implements `Kubelet` over a `NodeAgent`."""

    def __init__(self, agent: NodeAgent, socket_in: SocketIn) -> None:
        self._agent = agent
        self._socket_in = socket_in

    async def exec(self, pod: Object, container: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> ExecSession:
        found = self._container(pod, container)
        process, launched = found.process, found.launched
        if process is None or launched is None:
            raise _not_running(pod, found)
        runtime = self._agent.runtime
        env = {**launched.env, "TERM": "xterm"} if tty else launched.env
        pipes = None if tty else stdio.Pipes(stdin=stdin)
        try:
            child, terminal = await runtime.exec(process, argv, env, launched.cwd, pipes.child if pipes else None)
        except BaseException as error:
            if pipes is not None:
                pipes.close()
            if not isinstance(error, OSError):
                raise
            text = error.strerror or str(error)
            raise _internal(f"error executing command in container: failed to start exec: {text}") from error
        finally:
            if pipes is not None:
                pipes.started()
        if pipes is None:
            if terminal is None:
                raise _internal("error executing command in container: no terminal could be made")
            pipes = stdio.Terminal(terminal)
        return _Exec(runtime, child, pipes)

    async def attach(self, pod: Object, container: str, *, stdin: bool, tty: bool) -> ExecSession:
        found = self._container(pod, container)
        if found.process is None or found.log is None or found.pipes is None:
            raise _not_running(pod, found)
        if stdin and found.pipes.stdin is None:
            raise _bad_request(f"container {found.record.name} has no standard input: set stdin: true in its spec")
        return _Attachment(found, found.pipes, found.log, stdin)

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """Raises StatusError with the first item asked for, if there is no log."""
        path, writer = self._log(pod, options)
        async for chunk in logread.read(path, writer, options):
            yield chunk

    async def connect(self, pod: Object, port: int) -> socket.socket:
        worker = self._agent.worker(pod)
        sandbox = worker.context.sandbox if worker is not None else None
        played = worker is not None and worker.played_by_daemon
        if sandbox is None and not played:
            raise _internal(f"pod {objects.name(pod)} has no network to forward to: it does not run")
        try:
            if sandbox is None:
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)  # where the daemon is, its parts are
                sock.setblocking(False)
            else:
                sock = await self._socket_in(sandbox.netns, socket.AF_INET, socket.SOCK_STREAM)
            try:
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            except BaseException:
                sock.close()
                raise
            return sock
        except OSError as error:
            text = error.strerror or str(error)
            name = f"{objects.namespace(pod)}/{objects.name(pod)}"
            raise _internal(f"failed to connect to localhost:{port} inside pod {name}: {text}") from error

    def _container(self, pod: Object, name: str) -> Container:
        name = name or default_container(pod)
        worker = self._agent.worker(pod)
        container = worker.container(name) if worker is not None else None
        if container is None:
            if name not in container_names(pod):
                raise _bad_request(f"container {name} is not valid for pod {objects.name(pod)}")
            raise _internal(f'unable to upgrade connection: container not found ("{name}")')
        if container.is_component:
            raise _bad_request(
                f"container {name} of pod {objects.name(pod)} is a part of the ambientlab daemon and has no process "
                f"to enter: see kubectl logs -n {objects.namespace(pod)} {objects.name(pod)}"
            )
        return container

    def _log(self, pod: Object, options: LogOptions) -> tuple[Path, LogFile | None]:
        """The file to read, and its writer while it is still written. Raises StatusError."""
        name = options.container or default_container(pod)
        where = f'container "{name}" in pod "{objects.name(pod)}"'
        if name not in container_names(pod):
            raise _bad_request(f"container {name} is not valid for pod {objects.name(pod)}")
        worker = self._agent.worker(pod)
        container = worker.container(name) if worker is not None else None
        if container is not None and container.is_component:
            if options.previous:
                raise _bad_request(f"previous terminated {where} not found")
            if container.log is None:
                raise _internal(f"{where} is a part of the ambientlab daemon that writes no log")
            return container.log.path, container.log
        found = self._agent.logs.find(pod, name, previous=options.previous)
        if found is not None:
            return found
        if options.previous:
            raise _bad_request(f"previous terminated {where} not found")
        waiting = container.record.state.get("waiting") if container is not None else None
        if waiting is None:
            raise _bad_request(f"{where} is terminated")
        trouble = waiting["reason"] in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
        text = f"trying and failing to pull image: {waiting.get('message', '')}" if trouble else waiting["reason"]
        raise _bad_request(f"{where} is waiting to start: {text}")


def container_names(pod: Object) -> list[str]:
    fields = ("containers", "initContainers", "ephemeralContainers")
    return [container["name"] for field in fields for container in pod["spec"].get(field) or ()]


def default_container(pod: Object) -> str:
    name: str = pod["spec"]["containers"][0]["name"]
    return name


def _bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def _internal(message: str) -> StatusError:
    return StatusError(500, "InternalError", message)


def _not_running(pod: Object, container: Container) -> StatusError:
    phase = (pod.get("status") or {}).get("phase", "Pending")
    if phase in ("Succeeded", "Failed"):
        return _bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
    return _internal(f'unable to upgrade connection: container not found ("{container.record.name}")')


class _Exec:
    """A process of its own inside a container."""

    def __init__(self, runtime: Runtime, process: Process, pipes: stdio.Pipes) -> None:
        self._runtime = runtime
        self._process = process
        self._pipes = pipes
        self._end = asyncio.ensure_future(runtime.wait(process))
        self._closing: asyncio.Task[None] | None = None

    def stdout(self) -> AsyncIterator[bytes]:
        return self._read(self._pipes.stdout)

    def stderr(self) -> AsyncIterator[bytes]:
        return self._read(self._pipes.stderr)

    async def _read(self, stream: stdio.Stream | None) -> AsyncIterator[bytes]:
        if stream is not None:
            async for data in stream.chunks():
                yield data

    async def write_stdin(self, data: bytes) -> None:
        if self._pipes.stdin is not None:
            await self._pipes.stdin.write(data)

    def close_stdin(self) -> None:
        self._pipes.close_stdin()

    def resize(self, columns: int, rows: int) -> None:
        if self._pipes.terminal is not None:
            self._pipes.terminal.resize(columns, rows)

    async def wait(self) -> int:
        return inside.exit_code(await asyncio.shield(self._end))

    def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._hang_up())

    async def _hang_up(self) -> None:
        self._pipes.close()
        for number in (signal.SIGHUP, signal.SIGKILL):
            if self._end.done():
                return
            self._runtime.signal(self._process, number)
            await asyncio.wait({self._end}, timeout=_HANG_UP_GRACE)


class _Attachment:
    """The output of a container's main process from now on, and its input."""

    def __init__(self, container: Container, pipes: stdio.Pipes, log: LogFile, stdin: bool) -> None:
        self._container = container
        self._pipes = pipes
        self._stdin = stdin
        self._queues: dict[str, asyncio.Queue[bytes]] = {"stdout": asyncio.Queue(), "stderr": asyncio.Queue()}
        self._backlog = 0
        self._ended = asyncio.Event()
        self._stop = log.subscribe(self._on_output)

    def _on_output(self, stream: str, data: bytes) -> None:
        if data:
            self._backlog += len(data)
            self._queues[stream].put_nowait(data)
        if not data or self._backlog > _ATTACH_BACKLOG:
            self.close()

    def stdout(self) -> AsyncIterator[bytes]:
        return self._read(self._queues["stdout"])

    def stderr(self) -> AsyncIterator[bytes]:
        return self._read(self._queues["stderr"])

    async def _read(self, queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
        while data := await queue.get():
            self._backlog -= len(data)
            yield data

    async def write_stdin(self, data: bytes) -> None:
        if self._stdin and self._pipes.stdin is not None:
            await self._pipes.stdin.write(data)

    def close_stdin(self) -> None:
        if self._stdin and self._container.spec.get("stdinOnce"):
            self._pipes.close_stdin()

    def resize(self, columns: int, rows: int) -> None:
        if self._pipes.terminal is not None:
            self._pipes.terminal.resize(columns, rows)

    async def wait(self) -> int:
        await self._ended.wait()
        return self._container.record.exit_code or 0

    def close(self) -> None:
        self._stop()
        for queue in self._queues.values():
            queue.put_nowait(b"")
        self._ended.set()
