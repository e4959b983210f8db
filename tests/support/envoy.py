"""Real Envoys on loopback, configured by an ADS socket or by a file, for tests of what they are told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401 - known by name where nothing else loads it
from google.protobuf import json_format
from google.protobuf.message import Message

from ambientlab.dataplane.admin import AdminClient
from ambientlab.dataplane.bootstrap import flags, proxy_bootstrap, runtime
from ambientlab.dataplane.envoy import binary

M = TypeVar("M", bound=Message)
EXTENSIONS = "type.googleapis.com/envoy.extensions."


def parse(kind: type[M], value: dict[str, Any]) -> M:
    return json_format.ParseDict(value, kind())


def as_json(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def extension(name: str, type_: str, **value: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": EXTENSIONS + type_, **value}}


def loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def free_ports(count: int) -> list[int]:
    """All different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def free_port() -> int:
    return free_ports(1)[0]


@asynccontextmanager
async def running_envoy(directory: Path, xds_socket: Path, token: str) -> AsyncIterator[AdminClient]:
    """An Envoy that has been started and asked for its configuration; killed at the end."""
    admin = directory / "admin.sock"
    config = proxy_bootstrap(
        node_id="test", cluster="test", token=token, xds_socket=str(xds_socket), admin_socket=str(admin), metadata={}
    )
    async with _process(directory, config), AdminClient(str(admin)) as client:
        yield client


async def ready(envoy: AdminClient) -> None:
    """Waits until it has its configuration and listens."""
    deadline = asyncio.get_running_loop().time() + 10
    while not await envoy.ready():
        assert asyncio.get_running_loop().time() < deadline, "Envoy has no configuration"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def static_envoy(directory: Path, config: Mapping[str, Any], *ports: int) -> AsyncIterator[None]:
    """An Envoy that knows all it needs, as soon as it listens on `ports`; killed at the end."""
    node = {"id": "test", "cluster": "test"}
    async with _process(directory, {"node": node, "layered_runtime": runtime(), **config}) as process:
        async with asyncio.timeout(15):
            for port in ports:
                while not await _listens(port):
                    assert process.returncode is None, (directory / "envoy.log").read_text()
                    await asyncio.sleep(0.005)
        yield


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def _process(directory: Path, config: Mapping[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Its log is `envoy.log`; what it logs of requests to its output comes there too."""
    path = directory / "envoy.json"
    path.write_text(json.dumps(config))
    with (directory / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(binary()), "--config-path", str(path), *flags(1), stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def http_get(port: int, path: str = "/") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body
