"""Clients that leave while they are served: no fault of the server's, and nothing to tell of in its log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from ambientlab.api.kinds import POD
from support.kubectl_world import World, serving

SPDY = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io"
WEBSOCKET = (
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Protocol: v5.channel.k8s.io"
)
EXEC = "/api/v1/namespaces/default/pods/p/exec?command=x&stdout=1"


class Fleeting:
    """A kubelet, and the sessions it gives, whose client is on its way out by the time that its command has started."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.closed = asyncio.Event()

    async def exec(self, *_: Any, **__: Any) -> Fleeting:
        assert self._world.server._runner is not None
        assert self._world.server._runner.server is not None
        for connection in self._world.server._runner.server.connections:
            assert connection.transport is not None
            connection.transport.close()
        return self

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("upgrade", [SPDY, WEBSOCKET], ids=["spdy", "websocket"])
async def test_who_leaves_while_its_command_starts_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, upgrade: str
) -> None:
    async with serving(tmp_path) as world:
        spec = {"nodeName": "node", "containers": [{"name": "c", "image": "x"}]}
        await world.server.client.create(POD, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        kubelet = Fleeting(world)
        world.server.kubelet = kubelet  # type: ignore[assignment]  # what exec needs of one
        port = int(world.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=world.tls(), server_hostname="127.0.0.1")
        writer.write(f"POST {EXEC} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{upgrade}\r\n\r\n".encode())
        assert await asyncio.wait_for(reader.read(), 10) == b""
        await asyncio.wait_for(kubelet.closed.wait(), 10)
        await world.ok("get", "--raw", "/healthz")
        writer.close()
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
