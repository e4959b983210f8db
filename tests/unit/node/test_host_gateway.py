"""The way to the host's loopback: opened for ports that are asked for, one connection there for each here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from ambientlab.node.hostgateway import HostGateway
from ambientlab.node.linux import hosthelper

HERE = "127.0.0.2"
"""In place of the node's address, so that a port can be open here and on 127.0.0.1."""


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper = threading.Thread(target=hosthelper.serve, args=(far,))
    helper.start()
    with far, near:
        yield near
        near.shutdown(socket.SHUT_RDWR)
        helper.join(5)
    assert not helper.is_alive()


@contextlib.asynccontextmanager
async def opened(channel: socket.socket, port: int) -> AsyncIterator[HostGateway]:
    gateway = HostGateway(functools.partial(hosthelper.connect, channel), HERE)
    gateway.start()
    gateway.put("api.example.com", {port})
    try:
        yield gateway
    finally:
        await gateway.stop()


async def connected(port: int, attempts: int = 200) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As soon as the port is open."""
    for _ in range(attempts):
        with contextlib.suppress(ConnectionRefusedError):
            return await asyncio.open_connection(HERE, port)
        await asyncio.sleep(0.01)
    raise AssertionError(f"{HERE}:{port} did not open")


async def connected_once(port: int, attempts: int = 200) -> None:
    _, writer = await connected(port, attempts)
    writer.close()


async def closed(port: int) -> None:
    for _ in range(200):
        try:
            await connected_once(port, 1)
        except AssertionError:
            return
        except ConnectionResetError:
            continue  # the port closed with this connection in its queue
        await asyncio.sleep(0.01)
    raise AssertionError(f"{HERE}:{port} stayed open")


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_bytes_and_ends_are_carried_both_ways(channel: socket.socket) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with opened(channel, port):
                for _ in range(2):
                    reader, writer = await connected(port)
                    writer.write(b"hello" * 100_000)
                    writer.write_eof()
                    assert await reader.read() == b"HELLO" * 100_000
                    writer.close()

    run(test)


def test_a_port_is_open_while_somebody_asks_for_it(channel: socket.socket) -> None:
    async def test() -> None:
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with opened(channel, port) as gateway:
                await connected_once(port)
                gateway.put("other.example.com", {port})
                gateway.put("api.example.com", ())
                await connected_once(port)
                gateway.put("other.example.com", ())
                await closed(port)

    run(test)


def test_where_nobody_listens_the_connection_ends(channel: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    async def test() -> None:
        async with opened(channel, port):
            reader, writer = await connected(port)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            hosthelper.connect(channel, port)

    run(test)
