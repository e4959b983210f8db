"""Runs one scenario in a node of its own: `node_world.py FILE FUNCTION USER [DESCRIPTOR]`.

Run as a program, because a node needs a process with one thread. USER "ordinary" drops root first; everything is
imported before, so that an interpreter in root's home directory still serves. Every process of the node holds
DESCRIPTOR open.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ambientlab.api.kinds import ENDPOINTSLICE, SERVICE
from ambientlab.api.objects import Object, name, namespace
from ambientlab.node.dns import DnsServer
from ambientlab.node.linux import links, netlink
from ambientlab.node.linux.capture import InPodRules
from ambientlab.node.linux.launch import Node, launch
from ambientlab.node.linux.runtime import LinuxRuntime
from ambientlab.node.network import NodeNetwork
from ambientlab.node.proxy import Proxy
from ambientlab.node.runtime import ContainerSpec, Process, Sandbox, SandboxSpec
from support.memory_client import MemoryClient

NOBODY = 65534
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
PATIENCE = 5
TIMEOUT = 60
"""Seconds for a scenario: one that hangs raises TimeoutError where it does."""
_PR_SET_DUMPABLE = 4
_RESOURCES = {resource.kind: resource for resource in (SERVICE, ENDPOINTSLICE)}

T = TypeVar("T")
Port = tuple[str, str, int]


@dataclass(frozen=True)
class Pod:
    sandbox: Sandbox
    main: Process

    @property
    def netns(self) -> str:
        return self.sandbox.netns

    @property
    def ip(self) -> str:
        return self.sandbox.spec.ip or ""


def service(name: str, ip: str, *ports: Port, **spec: Any) -> Object:
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ip, "ports": [_port(port) for port in ports], **spec},
    }


def endpoints(name: str, addresses: list[str], *ports: Port) -> Object:
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv6" if ":" in "".join(addresses) else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [_port(port) for port in ports],
    }


def _port(port: Port) -> Object:
    return dict(zip(("name", "protocol", "port"), port, strict=True))


class World:
    """A running node, and short words for what scenarios do in it."""

    def __init__(self, node: Node, held: int) -> None:
        self.held = held
        self.network = NodeNetwork()
        self.runtime = LinuxRuntime(node.zygote, self.network)
        self.client = MemoryClient()
        self.proxy = Proxy(self.client)
        self.dns = DnsServer(self.client)
        self.rules = InPodRules()
        self.stopped = asyncio.Event()
        self.null = os.open("/dev/null", os.O_RDWR)

    async def start(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopped.set)
        self.network.start()
        self.runtime.start()
        self.proxy.start(ipv6=self.network.ipv6)
        self.rules.start(ipv6=self.network.ipv6)
        await self.dns.start()

    def close(self) -> None:
        self.dns.close()
        self.proxy.close()
        self.rules.close()
        self.network.close()
        self.runtime.close()

    async def put(self, *objects: Object) -> None:
        """Write objects; what follows them has acted when this returns."""
        for obj in objects:
            self.client.put(_RESOURCES[obj["kind"]], obj)
        await asyncio.sleep(0)

    async def drop(self, *objects: Object) -> None:
        for obj in objects:
            self.client.drop(_RESOURCES[obj["kind"]], name(obj), namespace(obj))
        await asyncio.sleep(0)

    async def sandbox(self, name: str = "pod", ip: str | None = "") -> Sandbox:
        """`ip` None is hostNetwork."""
        address = self.network.addresses.allocate() if ip == "" else ip
        return await self.runtime.create_sandbox(SandboxSpec(name, name, address))

    async def pod(self, name: str = "pod", *argv: str, env: Mapping[str, str] | None = None, **spec: Any) -> Pod:
        """A sandbox and its container, which sleeps unless told otherwise."""
        sandbox = await self.sandbox(name)
        container = ContainerSpec(name, argv or ("sleep", "1000"), {"PATH": PATH} | dict(env or {}), **spec)
        return Pod(sandbox, await self.runtime.start_container(sandbox, container, (self.null, self.null, 2)))

    async def container(
        self, sandbox: Sandbox, *argv: str, env: Mapping[str, str] | None = None, **spec: Any
    ) -> tuple[int, str]:
        """Run a container to its end: exit code and output."""
        container = ContainerSpec("main", argv, {"PATH": PATH} | dict(env or {}), **spec)
        return await self._output(lambda out: self.runtime.start_container(sandbox, container, (self.null, out, out)))

    async def run(self, pod: Pod, *argv: str, cwd: str = "/", env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Exec in a pod's main container: exit code and output."""

        async def start(out: int) -> Process:
            whole = {"PATH": PATH} | dict(env or {})
            process, _ = await self.runtime.exec(pod.main, argv, whole, cwd, (self.null, out, out))
            return process

        return await self._output(start)

    async def _output(self, start: Callable[[int], Awaitable[Process]]) -> tuple[int, str]:
        readable, writable = os.pipe()
        with os.fdopen(readable, "rb") as stream:
            try:
                process = await start(writable)
            finally:
                os.close(writable)
            code = await self.runtime.wait(process)
            return code, (await asyncio.to_thread(stream.read)).decode()

    async def inside(self, netns: str, work: Callable[[], T]) -> T:
        return await netlink.visitor.run(netns, work)

    async def listen(self, netns: str, port: int, host: str = "0.0.0.0") -> socket.socket:
        def make() -> socket.socket:
            made = socket.create_server((host, port), family=links.family_of(host), backlog=256)
            made.setblocking(False)
            return made

        return await self.inside(netns, make)

    async def datagrams(self, netns: str, host: str, port: int = 0) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(links.family_of(host), socket.SOCK_DGRAM)
            made.bind((host, port))
            made.setblocking(False)
            return made

        return await self.inside(netns, make)

    async def connect(
        self, netns: str, host: str, port: int, prepare: Callable[[socket.socket], None] | None = None
    ) -> socket.socket:
        """A connected socket of that network namespace; "" for the node's."""
        made = await netlink.socket_in(netns, links.family_of(host), socket.SOCK_STREAM)
        connected = False
        try:
            if prepare:
                prepare(made)
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_connect(made, (host, port))
            connected = True
        finally:
            if not connected:
                made.close()
        return made

    async def hear(
        self, netns: str, host: str, port: int, prepare: Callable[[socket.socket], None] | None = None
    ) -> str:
        """Connect and return what is said first."""
        with await self.connect(netns, host, port, prepare) as made:
            async with asyncio.timeout(PATIENCE):
                return (await asyncio.get_running_loop().sock_recv(made, 1000)).decode()

    @contextlib.asynccontextmanager
    async def greeting(self, netns: str, port: int, word: str, host: str = "0.0.0.0") -> AsyncIterator[None]:
        """A server that says `word` and the peer's address to everybody who connects."""
        with await self.listen(netns, port, host) as listener:
            task = asyncio.create_task(_greet(listener, word))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _greet(listener: socket.socket, word: str) -> None:
    loop = asyncio.get_running_loop()
    while True:
        peer, address = await loop.sock_accept(listener)
        with peer, contextlib.suppress(OSError):
            await loop.sock_sendall(peer, f"{word} {address[0]}".encode())


def open_descriptors(pid: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def processes() -> dict[int, str]:
    """Every process of the node and what it is called."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry)] = name_of(int(entry))
    return found


def name_of(pid: int) -> str:
    """What a process is called; a sandbox's names itself, and is a program of another name."""
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    return "pause" if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"pause\0") else name


def veths() -> set[str]:
    return {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines() if "veth" in line}


def _load(path: str, function: str) -> Callable[[World], Coroutine[Any, Any, None]]:
    spec = importlib.util.spec_from_file_location("scenario", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scenario: Callable[[World], Coroutine[Any, Any, None]] = getattr(module, function)
    return scenario


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    # Changing ids makes a process undumpable: its /proc files belong to root then, uid_map among them.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def main(path: str, function: str, user: str, *descriptors: str) -> int:
    scenario = _load(path, function)
    if user == "ordinary" and os.geteuid() == 0:
        _become_nobody()
    keep = [int(descriptor) for descriptor in descriptors]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as when a mesh is started by nohup

    async def run(node: Node) -> None:
        world = World(node, keep[0] if keep else -1)
        await world.start()
        async with asyncio.timeout(TIMEOUT):
            await scenario(world)
        world.close()

    def daemon(node: Node) -> int:
        asyncio.run(run(node))
        return 0

    return launch(daemon, keep=keep)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
