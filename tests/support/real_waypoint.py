"""A real Envoy in a waypoint's part, fed by the real index, `mesh.xds` and ADS server, with everything on loopback.

Pods are addresses of 127.0.0.0/8, chosen at random so that runs side by side do not meet, on which one server each
answers with its address and what it saw of the request. Clients come in through a listener in place of the tunnel's
end, which hands on to the internal listener the same filter state: the address that was asked for, and who asks.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from ambientlab.api.kinds import CORE, SHIPPED_CRDS
from ambientlab.api.objects import Object
from ambientlab.mesh.decide import Request
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key, Mesh
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.serve.connection import Connection
from ambientlab.mesh.serve.identity import Identity
from ambientlab.mesh.serve.secrets import Secrets
from ambientlab.mesh.serve.server import AdsServer
from ambientlab.mesh.xds.messages import (
    HASHABLE,
    ORIGINAL_LOCAL,
    ORIGINAL_REMOTE,
    PEER_PRINCIPAL,
    filter_state,
    packed,
    socket_address,
)
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import LISTENER, Resources
from ambientlab.mesh.xds.waypoint_backends import inbound_names
from support.envoy import free_port, ready, running_envoy
from support.told import tell

KINDS = {(r.api_version, r.kind): r for r in (*CORE, *SHIPPED_CRDS)}
Served = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Application = Callable[[str, int], Served]

ANSWER = {"x-from": "backend", "x-answer": "yes"}
"""Headers of every backend's response."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client got. `backend` is the address that answered and `request` what reached it; both are empty where the
    proxy answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str
    seconds: float
    backend: str = ""
    request: Request | None = None

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return ",".join(values) if values else None


@dataclass
class RealWaypoint:
    directory: Path
    waypoint: Key
    client: str
    """The SPIFFE ID of whoever sends."""
    index: MeshIndex = field(default_factory=MeshIndex)
    application: Application = field(default_factory=lambda: _telling)
    """What listens at the addresses and ports of endpoints."""

    def __post_init__(self) -> None:
        self.proxies = Proxies(self.index.graph, self.index.mesh)
        self.proxies.waypoints.served.set(self.waypoint, self.waypoint)
        self.identity = Identity(self.waypoint.namespace, self.waypoint.name, f"{self.waypoint.name}-1")
        self.secrets = Secrets(CertificateAuthority.create(), lambda proxy, identity: False, lambda proxy, name: None)
        self._resources: Resources = {}
        self._fronts: dict[str, int] = {}
        self._stack = AsyncExitStack()
        self._connections: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    @property
    def mesh(self) -> Mesh:
        return self.index.mesh

    async def start(self) -> None:
        socket = self.directory / "xds.sock"
        self.server = AdsServer(socket, lambda token: self.identity, self._admit, lambda connection: None)
        await self.server.start()
        self._stack.push_async_callback(self.server.stop)
        for address, port in sorted(
            {(e.address, target) for s in self.mesh.services.values() for e in s.endpoints for _, target in e.ports}
        ):
            if address.startswith("127."):
                await self.listen(address, port)
        self.admin = await self._stack.enter_async_context(running_envoy(self.directory, socket, "token"))
        await ready(self.admin)

    async def listen(self, address: str, port: int) -> None:
        server = await asyncio.start_server(self.application(address, port), address, port)
        self._stack.callback(server.close)

    async def stop(self) -> None:
        for _, writer in self._connections.values():
            writer.close()
        await self._stack.aclose()

    @property
    def connection(self) -> Connection:
        return self.server.connections[-1]

    def _admit(self, proxy: Identity) -> Connection:
        connection = Connection(proxy, self.secrets)
        self._resources = self._generated()
        tell(connection, self._resources, {})
        return connection

    def _generated(self) -> Resources:
        """A waypoint's resources, with its doors replaced by ours."""
        self.index.settle()
        result = self.proxies.told(self.waypoint)
        for door in ("connect_terminate", "health"):
            result[LISTENER].pop(door)
        served = (each for each in self.mesh.services.values() if self.waypoint in dict(each.waypoints))
        for service in served:
            for port in service.ports:
                target = f"{service.vips[0]}:{port.number}"
                front = self._fronts.setdefault(target, free_port())
                names = set(inbound_names(service, port).values())
                [inner] = [
                    name
                    for name, listener in result[LISTENER].items()
                    if isinstance(listener, Listener) and names & {chain.name for chain in listener.filter_chains}
                ]
                result[LISTENER][f"front|{target}"] = _front(front, target, self.client, inner)
        return result

    def put(self, objects: Iterable[Object]) -> None:
        for obj in objects:
            self.index.put(KINDS[(obj["apiVersion"], obj["kind"])], obj)
        self.index.settle()

    def remove(self, objects: Iterable[Object]) -> None:
        for obj in objects:
            self.index.remove(KINDS[(obj["apiVersion"], obj["kind"])], obj)

    async def apply(self) -> None:
        """Returns when Envoy runs what the objects ask for; raises OSError with its words if it refuses."""
        before, self._resources = self._resources, self._generated()
        for kind, names in tell(self.connection, self._resources, before).items():
            await self.connection.in_force(kind, names, 10)
        # It acknowledges when its worker has been told; an answer of the worker shows that it has listened.
        vip, _, port = next(iter(self._fronts)).rpartition(":")
        await self.send(vip, Request("", int(port)))

    async def connect(self, vip: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As who comes through a tunnel to a service's port."""
        return await asyncio.open_connection("127.0.0.1", self._fronts[f"{vip}:{port}"])

    async def send(self, vip: str, request: Request) -> Seen:
        """One request, on a connection that those before it to the same address used as well."""
        port = self._fronts[f"{vip}:{request.port}"]
        if port not in self._connections:
            self._connections[port] = await self.connect(vip, request.port)
        reader, writer = self._connections[port]
        lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {request.authority}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        started = time.monotonic()
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(10):
            status, headers = await _head(reader)
            length = next((int(value) for name, value in headers if name == "content-length"), 0)
            body = (await reader.readexactly(0 if request.method == "HEAD" else length)).decode()
        seconds = time.monotonic() - started
        if ("connection", "close") in headers:
            writer.close()
            del self._connections[port]
        told = next((value for name, value in headers if name == "x-seen"), None)
        plain = tuple((name, value) for name, value in headers if name != "x-seen")
        if told is None:
            return Seen(status, plain, body, seconds)
        saw = json.loads(told)
        reached = Request(
            request.host, request.port, saw["method"], saw["path"], tuple(map(tuple, saw["headers"])), saw["authority"]
        )
        return Seen(status, plain, body, seconds, saw["address"], reached)


def loopback_network(random_: random.Random | None = None) -> str:
    """The first three numbers of a network nobody else uses just now."""
    pick = random_ or random.SystemRandom()
    return f"127.{pick.randrange(1, 255)}.{pick.randrange(1, 255)}"


def _front(port: int, target: str, client: str, inner: str) -> Listener:
    state = SetFilterState(
        on_new_connection=[
            filter_state(ORIGINAL_LOCAL, target, shared="ONCE"),
            filter_state(ORIGINAL_REMOTE, "%DOWNSTREAM_REMOTE_ADDRESS%", shared="ONCE"),
            filter_state(PEER_PRINCIPAL, client, shared="ONCE", factory=HASHABLE),
        ]
    )
    proxy = TcpProxy(stat_prefix="front", cluster=inner)
    filters = [
        Filter(name="envoy.filters.network.set_filter_state", typed_config=packed(state)),
        Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy)),
    ]
    chain = FilterChain(name="front", filters=filters)
    return Listener(name=f"front|{target}", address=socket_address("127.0.0.1", port), filter_chains=[chain])


async def _head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:] if line)]
    return int(lines[0].split(" ")[1]), headers


def _telling(address: str, _: int) -> Served:
    """An HTTP/1.1 application: what it saw is in the header `x-seen`, which no route knows of."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = [(n.lower(), v) for n, _, v in (line.partition(": ") for line in head[1:] if line)]
                authority = next((value for name, value in headers if name == "host"), "")
                kept = [(name, value) for name, value in headers if name != "host"]
                saw: Mapping[str, Any] = {
                    "address": address, "method": method, "path": path, "authority": authority, "headers": kept,
                }  # fmt: skip
                answered = "".join(f"{name}: {value}\r\n" for name, value in ANSWER.items())
                writer.write(
                    f"HTTP/1.1 200 OK\r\n{answered}x-seen: {json.dumps(saw)}\r\ncontent-length: 0\r\n\r\n".encode()
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return answer
