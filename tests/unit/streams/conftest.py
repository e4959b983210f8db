"""A TLS server as kubectl expects one, with one pod whose processes are local ones."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import os
import pty
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
import yaml
from aiohttp import web
from cryptography import x509

from ambientlab.api.errors import StatusError
from ambientlab.api.kubelet import LogOptions
from ambientlab.api.objects import Object
from ambientlab.apiserver.streams import handle_attach, handle_exec, handle_log, handle_portforward
from support.certificates import self_signed


class LocalSession:
    """A local process as an exec session. `closed` tells that its caller gave it up."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int | None) -> None:
        self.process = process
        self._terminal = terminal
        self.closed = threading.Event()
        self.exited = threading.Event()

    async def stdout(self) -> AsyncIterator[bytes]:
        if self._terminal is not None:
            async for chunk in self._read_terminal(self._terminal):
                yield chunk
            return
        assert self.process.stdout
        while chunk := await self.process.stdout.read(65536):
            yield chunk

    async def _read_terminal(self, terminal: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(terminal, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                try:
                    chunk = os.read(terminal, 65536)
                except BlockingIOError:
                    continue
                except OSError:  # EIO: the last process let go of the terminal
                    return
                yield chunk
        finally:
            loop.remove_reader(terminal)

    async def stderr(self) -> AsyncIterator[bytes]:
        if self.process.stderr is None:
            return
        while chunk := await self.process.stderr.read(65536):
            yield chunk

    async def write_stdin(self, data: bytes) -> None:
        if self._terminal is not None:
            os.write(self._terminal, data)
        elif self.process.stdin is not None:
            try:
                self.process.stdin.write(data)
                await self.process.stdin.drain()
            except (ConnectionError, RuntimeError):  # uvloop raises the latter for a pipe that broke
                return

    def close_stdin(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def resize(self, columns: int, rows: int) -> None:
        assert self._terminal is not None
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    async def wait(self) -> int:
        code = await self.process.wait()
        self.exited.set()
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        self.closed.set()
        if self.process.returncode is None:
            self.process.kill()
            self._reaper = asyncio.ensure_future(self.wait())
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None


@dataclass
class LocalKubelet:
    sessions: list[LocalSession] = field(default_factory=list)
    log: list[bytes] = field(default_factory=list)
    log_options: list[LogOptions] = field(default_factory=list)
    log_grows: asyncio.Event = field(default_factory=asyncio.Event)
    followers: int = 0
    attach_to: Sequence[str] = ()

    async def exec(self, pod: Object, container: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> LocalSession:
        if argv[0] == "refused":
            raise StatusError(500, "InternalError", "container is not running")
        environment = dict(os.environ, CONTAINER=container)
        if tty:
            terminal, slave = pty.openpty()
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment
            )
            os.close(slave)
            os.set_blocking(terminal, False)
            session = LocalSession(process, terminal)
        else:
            pipe = asyncio.subprocess.PIPE
            source = pipe if stdin else asyncio.subprocess.DEVNULL
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=source, stdout=pipe, stderr=pipe, start_new_session=True, env=environment
            )
            session = LocalSession(process, None)
        self.sessions.append(session)
        return session

    async def attach(self, pod: Object, container: str, *, stdin: bool, tty: bool) -> LocalSession:
        return await self.exec(pod, container, self.attach_to, stdin=stdin, tty=tty)

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        self.log_options.append(options)
        if options.previous:
            raise StatusError(400, "BadRequest", 'previous terminated container "app" in pod "pod" not found')
        self.followers += 1
        try:
            sent = max(0, len(self.log) - options.tail_lines) if options.tail_lines is not None else 0
            while True:
                while sent < len(self.log):
                    sent += 1
                    yield self.log[sent - 1]
                if not options.follow or (self.log and self.log[-1] == b"last\n"):
                    return
                self.log_grows.clear()
                await self.log_grows.wait()
        finally:
            self.followers -= 1

    async def connect(self, pod: Object, port: int) -> socket.socket:
        connected = socket.socket()
        connected.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
        except OSError:
            connected.close()
            raise
        return connected


def stream_pod(*containers: str, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": "default", "uid": "1-2-3"},
        "spec": {"nodeName": "node", "containers": [{"name": name} for name in containers or ("app",)], **spec},
        "status": {"phase": "Running"},
    }


def _application(kubelet: LocalKubelet, pods: dict[str, Object]) -> web.Application:
    @web.middleware
    async def statuses(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except StatusError as error:
            return web.json_response(error.to_status(), status=error.code)
        return response

    def streaming(handler: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse = await handler(request, kubelet, pods[request.match_info["name"]])
            return response

        return handle

    async def discovery(request: web.Request) -> web.Response:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def groups(request: web.Request) -> web.Response:
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})

    async def resources(request: web.Request) -> web.Response:
        pod = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "create"]}
        return web.json_response({"kind": "APIResourceList", "groupVersion": "v1", "resources": [pod]})

    async def get(request: web.Request) -> web.Response:
        return web.json_response(pods[request.match_info["name"]])

    application = web.Application(middlewares=[statuses])
    application.router.add_get("/api", discovery)
    application.router.add_get("/apis", groups)
    application.router.add_get("/api/v1", resources)
    base = "/api/v1/namespaces/default/pods/{name}"
    application.router.add_get(base, get)
    for name, handler in (("exec", handle_exec), ("attach", handle_attach), ("portforward", handle_portforward)):
        application.router.add_route("*", f"{base}/{name}", streaming(handler))
    application.router.add_get(f"{base}/log", streaming(handle_log))
    return application


class StreamServer:
    """The server in a thread with a loop of its own, so that tests may block on kubectl."""

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.kubelet = LocalKubelet()
        self.pods = {"pod": stream_pod()}
        self.directory = directory
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self) -> None:
        self._thread.start()
        self.call(self._start())

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _start(self) -> None:
        cert_file, key_file = self.directory / "tls.crt", self.directory / "tls.key"
        certificate, key = self_signed(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        cert_file.write_bytes(certificate)
        key_file.write_bytes(key)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert_file, key_file)
        self._runner = web.AppRunner(
            _application(self.kubelet, self.pods), handler_cancellation=True, shutdown_timeout=1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": f"https://127.0.0.1:{self.port}",
                        "certificate-authority": str(cert_file),
                    },
                }
            ],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        (self.directory / "config").write_text(yaml.safe_dump(config))

    def stop(self) -> None:
        assert self._runner is not None
        self.call(self._runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def append_log(self, line: bytes) -> None:
        def append() -> None:
            self.kubelet.log.append(line)
            self.kubelet.log_grows.set()

        self.loop.call_soon_threadsafe(append)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def stream_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    server = StreamServer(tmp_path_factory.mktemp("streams"), loop)
    server.start()
    yield server
    server.stop()


@dataclass
class Kubectl:
    """The real kubectl, made to speak one transport."""

    server: StreamServer
    websockets: bool

    def environment(self) -> dict[str, str]:
        answer = "true" if self.websockets else "false"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.server.directory),
            "KUBECONFIG": str(self.server.directory / "config"),
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": answer,
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": answer,
        }

    def command(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).parent / "kubectl"), *arguments]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, env=self.environment(), timeout=60, check=False
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(*arguments), env=self.environment(), **options)


@pytest.fixture(params=["websocket", "spdy"])
def kubectl(request: pytest.FixtureRequest, stream_server: StreamServer) -> Kubectl:
    return Kubectl(stream_server, request.param == "websocket")


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "condition not met in 20 s"
            time.sleep(0.01)

    return wait
