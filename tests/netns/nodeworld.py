"""Runs one scenario in a node of its own: `nodeworld.py FILE FUNCTION USER [ARGUMENT]`.

Run as a program, because a node needs a process with one thread. USER "ordinary" drops root first; everything is
imported before, so that an interpreter in root's home directory still serves.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ambientlab.node.dns import DnsServer
from ambientlab.node.linux import capture, netlink
from ambientlab.node.linux.launch import Node, launch
from ambientlab.node.linux.runtime import LinuxRuntime
from ambientlab.node.network import NodeNetwork
from ambientlab.node.proxy import Proxy
from ambientlab.node.runtime import ContainerSpec, Mount, Process, Sandbox, SandboxSpec

NOBODY = 65534
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True)
class Pod:
    sandbox: Sandbox
    main: Process
    ip: str

    @property
    def netns(self) -> str:
        return self.sandbox.netns


class FakeClient:
    """Objects in a dict; handlers hear of changes as those of the API do."""

    def __init__(self) -> None:
        self.objects = {}
        self.handlers = []

    def watch(self, resource, handler):
        from ambientlab.api.client import Event

        for (kind, _), obj in self.objects.items():
            if kind == resource.kind:
                handler(Event("ADDED", obj))
        entry = (resource.kind, handler)
        self.handlers.append(entry)
        return lambda: self.handlers.remove(entry)

    def put(self, obj) -> None:
        from ambientlab.api.client import Event

        key = (obj["kind"], (obj["metadata"].get("namespace"), obj["metadata"]["name"]))
        old = self.objects.get(key)
        self.objects[key] = obj
        self._tell(obj["kind"], Event("MODIFIED" if old else "ADDED", obj, old))

    def remove(self, obj) -> None:
        from ambientlab.api.client import Event

        key = (obj["kind"], (obj["metadata"].get("namespace"), obj["metadata"]["name"]))
        del self.objects[key]
        self._tell(obj["kind"], Event("DELETED", obj, obj))

    def _tell(self, kind, event) -> None:
        for wanted, handler in list(self.handlers):
            if wanted == kind:
                handler(event)


def service(name, ip, *ports, **spec):
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ip, "ports": [dict(zip(("name", "protocol", "port"), p, strict=True)) for p in ports], **spec},
    }


def endpoints(name, addresses, *ports):
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
        "ports": [dict(zip(("name", "protocol", "port"), p, strict=True)) for p in ports],
    }


class World:
    """A running node, and short words for what scenarios do in it."""

    def __init__(self, node: Node, argument: str) -> None:
        self.node = node
        self.argument = argument
        self.network = NodeNetwork()
        self.runtime = LinuxRuntime(node.zygote, self.network)
        self.client = FakeClient()
        self.proxy = Proxy(self.client)
        self.dns = DnsServer(self.client)
        self.rules = capture.InPodRules()
        self.null = os.open("/dev/null", os.O_RDWR)

    async def start(self) -> None:
        self.network.start()
        self.runtime.start()
        self.proxy.start()
        self.rules.start()
        await self.dns.start()

    async def sandbox(self, name: str = "pod", ip: str | None = "") -> Sandbox:
        if ip == "":
            ip = self.network.addresses.allocate()
        return await self.runtime.create_sandbox(SandboxSpec(name, name, ip))

    async def pod(self, name: str = "pod", *argv: str, **spec) -> Pod:
        sandbox = await self.sandbox(name)
        container = ContainerSpec(name, argv or ("sleep", "1000"), {"PATH": PATH} | spec.pop("env", {}), **spec)
        main = await self.runtime.start_container(sandbox, container, (self.null, self.null, 2))
        return Pod(sandbox, main, sandbox.spec.ip or "")

    async def container(self, sandbox: Sandbox, *argv: str, **spec) -> tuple[int, str]:
        """Run a container to its end: exit code and output."""
        readable, writable = os.pipe()
        full = ContainerSpec("main", argv, {"PATH": PATH} | spec.pop("env", {}), **spec)
        try:
            process = await self.runtime.start_container(sandbox, full, (self.null, writable, writable))
        finally:
            os.close(writable)
        return await self._finish(process, readable)

    async def run(self, pod: Pod, *argv: str, cwd: str = "/", env=None) -> tuple[int, str]:
        """Exec in a pod's main container: exit code and output."""
        readable, writable = os.pipe()
        try:
            process, _ = await self.runtime.exec(
                pod.main, argv, {"PATH": PATH} | (env or {}), cwd, (self.null, writable, writable)
            )
        except OSError:
            os.close(readable)
            raise
        finally:
            os.close(writable)
        return await self._finish(process, readable)

    async def _finish(self, process: Process, readable: int) -> tuple[int, str]:
        code = await self.runtime.wait(process)
        return code, (await read_all(readable)).decode()

    async def inside(self, netns: str, work):
        return await netlink.visitor.run(netns, work)

    async def listen(self, netns: str, port: int, host: str = "0.0.0.0") -> socket.socket:
        return await self.inside(netns, lambda: nonblocking(socket.create_server((host, port), backlog=256)))

    async def connect(self, netns: str, host: str, port: int, prepare=None) -> socket.socket:
        """A connected socket of that network namespace; "" for the node's."""
        made = await netlink.socket_in(netns, socket.AF_INET, socket.SOCK_STREAM)
        try:
            if prepare:
                prepare(made)
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_connect(made, (host, port))
        except BaseException:
            made.close()
            raise
        return made

    async def greet(self, listener: socket.socket, word: str) -> None:
        """Say `word` and the peer's address to everybody who connects."""
        loop = asyncio.get_running_loop()
        while True:
            peer, address = await loop.sock_accept(listener)
            with contextlib.suppress(OSError):
                await loop.sock_sendall(peer, f"{word} {address[0]}".encode())
            peer.close()

    async def hear(self, netns: str, host: str, port: int, prepare=None) -> str:
        made = await self.connect(netns, host, port, prepare)
        with made:
            async with asyncio.timeout(5):
                return (await asyncio.get_running_loop().sock_recv(made, 1000)).decode()


def nonblocking(made: socket.socket) -> socket.socket:
    made.setblocking(False)
    return made


async def read_all(readable: int) -> bytes:
    loop = asyncio.get_running_loop()
    with os.fdopen(readable, "rb", closefd=True) as stream:
        return await loop.run_in_executor(None, stream.read)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def veths() -> set[str]:
    return {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines() if "veth" in line}


def load(path: str):
    spec = importlib.util.spec_from_file_location("scenario", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for value in (World, ContainerSpec, Mount, SandboxSpec, service, endpoints, open_descriptors, veths, read_all):
        setattr(module, value.__name__, value)
    spec.loader.exec_module(module)
    return module


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    # Changing ids makes a process undumpable: its /proc files belong to root then, uid_map among them.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def main(path: str, function: str, user: str, arguments: Sequence[str]) -> int:
    scenario = getattr(load(path), function)
    if user == "ordinary" and os.geteuid() == 0:
        become_nobody()
    keep = [int(argument) for argument in arguments if argument.isdigit()]

    def daemon(node: Node) -> int:
        async def run() -> None:
            world = World(node, arguments[0] if arguments else "")
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            world.stopped = stop
            await world.start()
            async with asyncio.timeout(100):
                await scenario(world)
            world.dns.close()
            world.runtime.close()

        asyncio.run(run())
        return 0

    return launch(daemon, keep=keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
