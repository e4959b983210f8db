"""A real Envoy on loopback, configured by an ADS socket, for tests of what is told to it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from ambientlab.dataplane.admin import AdminClient
from ambientlab.dataplane.bootstrap import FLAGS, proxy_bootstrap
from ambientlab.dataplane.envoy import binary

M = TypeVar("M", bound=Message)
EXTENSIONS = "type.googleapis.com/envoy.extensions."


def parse(kind: type[M], value: dict[str, Any]) -> M:
    return json_format.ParseDict(value, kind())


def extension(name: str, type_: str, **value: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": EXTENSIONS + type_, **value}}


def loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running_envoy(directory: Path, xds_socket: Path, token: str) -> AsyncIterator[AdminClient]:
    """An Envoy that has been started and asked for its configuration; killed at the end."""
    admin = directory / "admin.sock"
    config = directory / "envoy.json"
    config.write_text(
        json.dumps(
            proxy_bootstrap(
                node_id="test",
                cluster="test",
                token=token,
                xds_socket=str(xds_socket),
                admin_socket=str(admin),
                metadata={},
            )
        )
    )
    with (directory / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(binary()), "--config-path", str(config), *FLAGS, stdout=log, stderr=log
        )
    try:
        async with AdminClient(str(admin)) as client:
            yield client
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
