"""From an HTTP request to a byte stream of our own: WebSocket, or the connection itself for SPDY.

aiohttp knows no upgrade but WebSocket, yet it lets a request's connection have another parser, which is how its own
WebSockets work. A hijacked connection so stays aiohttp's: shutdown closes it, and its end cancels the handler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, cast

from aiohttp import WSMsgType, hdrs, web

from ambientlab.api.errors import StatusError
from ambientlab.apiserver.streams.options import bad_request

PROTOCOL_HEADER = "X-Stream-Protocol-Version"
MAX_MESSAGE = 16 * 1024 * 1024
CLOSE_TIMEOUT = 10.0
_HIGH_WATER = 256 * 1024


class Duplex(Protocol):
    """Bytes both ways. Both directions raise ConnectionError, or reads end, once the client is gone."""

    async def read(self) -> bytes:
        """Some bytes; empty at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """The bytes are queued in the order of the calls; returns when the client keeps up."""
        ...

    async def close(self) -> None: ...


class WebSocketDuplex:
    """A byte stream in binary messages, whose borders mean nothing (client-go's SPDY tunnel)."""

    def __init__(self, websocket: web.WebSocketResponse) -> None:
        self._websocket = websocket

    async def read(self) -> bytes:
        while True:
            message = await self._websocket.receive()
            if message.type is not WSMsgType.BINARY:
                return b""
            if message.data:
                return bytes(message.data)

    async def write(self, data: bytes) -> None:
        await self._websocket.send_bytes(data)

    async def close(self) -> None:
        await self._websocket.close()


class HijackedDuplex:
    """The request's own connection after a 101. Doubles as the parser aiohttp feeds."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        self._response = response
        self._transport = request.transport
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._ended = False
        self._readable = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._chunks.append(bytes(data))
        self._buffered += len(data)
        if self._buffered > _HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()
        self._readable.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._readable.set()

    async def read(self) -> bytes:
        while not self._chunks:
            if self._ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._chunks.popleft()
        paused = self._buffered > _HIGH_WATER
        self._buffered -= len(data)
        if paused and self._buffered <= _HIGH_WATER and self._transport is not None and not self._ended:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        await self._response.write(data)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def is_websocket(request: web.BaseRequest) -> bool:
    """Whether to upgrade to WebSocket (True) or SPDY (False); StatusError for a request that asks for neither."""
    upgrade = request.headers.get(hdrs.UPGRADE, "").lower()
    connection = request.headers.get(hdrs.CONNECTION, "").lower()
    if "upgrade" in connection and upgrade == "websocket":
        return True
    if "upgrade" in connection and upgrade.startswith("spdy/3.1"):
        return False
    raise bad_request("Upgrade request required")


def negotiate(request: web.BaseRequest, websocket: Sequence[str], spdy: Sequence[str]) -> str:
    """The sub-protocol: of the client's list the first that we know. Called before anything is started for the client.

    Raises StatusError 403 in the words of k8s.io/apimachinery/pkg/util/httpstream Handshake.
    """
    header = hdrs.SEC_WEBSOCKET_PROTOCOL if is_websocket(request) else PROTOCOL_HEADER
    ours = websocket if is_websocket(request) else spdy
    lists = request.headers.getall(header, [])
    theirs = [name for one in lists for name in (part.strip() for part in one.split(",")) if name]
    if not theirs:
        raise StatusError(403, "Forbidden", f"unable to upgrade: {header} is required")
    for name in theirs:
        if name in ours:
            return name
    accepted = f"client supports [{' '.join(theirs)}], server accepts [{' '.join(ours)}]"
    raise StatusError(403, "Forbidden", f"unable to upgrade: unable to negotiate protocol: {accepted}")


async def accept_websocket(request: web.BaseRequest, protocol: str) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(
        protocols=(protocol,), compress=False, max_msg_size=MAX_MESSAGE, timeout=CLOSE_TIMEOUT
    )
    await websocket.prepare(request)
    return websocket


async def accept_spdy(request: web.BaseRequest, protocol: str) -> tuple[web.StreamResponse, HijackedDuplex]:
    headers = {hdrs.CONNECTION: "Upgrade", hdrs.UPGRADE: "SPDY/3.1", PROTOCOL_HEADER: protocol}
    response = web.StreamResponse(status=101, headers=headers)
    return response, await hijack(request, response)


async def hijack(request: web.BaseRequest, response: web.StreamResponse) -> HijackedDuplex:
    """The request's own connection, once this 101 has gone out."""
    response.force_close()
    duplex = HijackedDuplex(request, response)
    # Before the 101 goes out: the client may speak as soon as it has read it.
    request.protocol.set_parser(cast(Any, duplex))
    request.protocol.keep_alive(False)
    await response.prepare(request)
    return duplex
