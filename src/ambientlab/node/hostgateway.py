"""The machine that the mesh runs on, as pods reach it: HOST_NAME is at HOST_IP, an address of the node.

Nothing listens there by itself. A port that a ServiceEntry names an endpoint of the host with is opened for as long as
one does, and what connects to it is carried to the same port of the host's loopback (`linux.hosthelper`). The port is
open to every pod of the mesh then, as ways out of a cluster are: who may use it is for policies at waypoints to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from ambientlab.cluster import HOST_IP

_log = logging.getLogger(__name__)
_CHUNK = 1 << 16


class HostGateway:
    """Construct with what connects to a port of the host, blocking; `start` in the node's network namespace."""

    def __init__(self, connect: Callable[[int], socket.socket], address: str = HOST_IP) -> None:
        self._connect = connect
        self._address = address
        self._asked: dict[str, frozenset[int]] = {}
        self._changed = asyncio.Event()
        self._servers: dict[int, asyncio.Server] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, "host-gateway")

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        tasks = [self._task, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers.values():
            server.close()
        self._thread.shutdown(wait=False)

    def put(self, owner: str, ports: Collection[int]) -> None:
        """What `owner` asks for from now on."""
        if self._asked.get(owner, frozenset()) != frozenset(ports):
            self._asked[owner] = frozenset(ports)
            self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted: set[int] = set().union(*self._asked.values())
            for port in self._servers.keys() - wanted:
                self._servers.pop(port).close()
            for port in wanted - self._servers.keys():
                try:
                    self._servers[port] = await asyncio.start_server(self._accept(port), self._address, port)
                except OSError as error:
                    _log.warning("no way to port %d of the host: %s", port, error)

    def _accept(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._carry(port, reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        return accepted

    async def _carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sides, complete = [writer], False
        try:
            made = await asyncio.get_running_loop().run_in_executor(self._thread, self._connect, port)
            back, there = await asyncio.open_connection(sock=made)
            sides.append(there)
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, there))
                group.create_task(_copy(back, writer))
            complete = True
        except* OSError as errors:
            _log.debug("connection to port %d of the host: %s", port, errors.exceptions[0])
        finally:
            for side in sides:
                if complete:
                    side.close()
                else:
                    side.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()
