"""A connection that a program in a pod upgrades, to WebSocket for one: its bytes are carried as they are.

Rules: k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go, tryUpgrade. An end of either half ends both.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable

from aiohttp import hdrs, web

from ambientlab.api.errors import StatusError
from ambientlab.apiserver import locations
from ambientlab.apiserver.locations import Location
from ambientlab.apiserver.streams.upgrade import HijackedDuplex, hijack

Headers = list[tuple[str, str]]

_CONNECT_SECONDS = 30.0  # Go's default dialer's
_LONGEST_HEAD = 64 * 1024
_LONGEST_REFUSAL = 1 << 20
_CHUNK = 64 * 1024


def is_asked_for(request: web.Request) -> bool:
    return hdrs.UPGRADE in request.headers and "upgrade" in request.headers.get(hdrs.CONNECTION, "").lower()


async def carry(request: web.Request, location: Location, target: str, headers: Headers) -> web.StreamResponse:
    """Raises StatusError until an answer has begun."""
    reader, writer = await _connected(location)
    try:
        upgrade = ((hdrs.CONNECTION, "Upgrade"), (hdrs.UPGRADE, request.headers[hdrs.UPGRADE]))
        asked = [*((name, text) for name, text in headers if name.lower() != "content-length"), *upgrade]
        writer.write(_head(f"{request.method} {target} HTTP/1.1", asked))
        status, why, answered = await _answer(reader)
        if status != 101:
            return await _refusal(reader, status, why, answered)
        response = web.StreamResponse(status=101, reason=why, headers=answered)
        duplex = await hijack(request, response)
        await _join(duplex, reader, writer)
        return response
    finally:
        writer.close()


async def _connected(location: Location) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = None
    if location.scheme == "https":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    connecting = asyncio.open_connection(location.ip, location.port, ssl=tls, limit=_LONGEST_HEAD)
    try:
        return await asyncio.wait_for(connecting, _CONNECT_SECONDS)
    except OSError as error:
        raise locations.not_connected(location, error) from None


def _head(line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    return "\r\n".join([line, *(f"{name}: {text}" for name, text in headers), "", ""]).encode(
        "utf-8", "surrogateescape"
    )


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str, Headers]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *lines = head.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\r\n")
        _, code, *why = line.split(" ", 2)
        pairs = (each.partition(":") for each in lines)
        return int(code), "".join(why), [(name, text.strip()) for name, _, text in pairs]
    except (asyncio.IncompleteReadError, ConnectionError):
        raise locations.unreachable("EOF") from None
    except (asyncio.LimitOverrunError, ValueError):
        raise locations.unreachable("malformed HTTP response") from None


async def _refusal(reader: asyncio.StreamReader, status: int, why: str, headers: Headers) -> web.Response:
    """The program's own, unless it takes for fine what is none."""
    if status < 400:
        raise StatusError(500, "InternalError", f"invalid upgrade response: status code {status}")
    known = {name.lower(): text for name, text in headers}
    length = known.get("content-length", "0")
    body = b""
    with contextlib.suppress(asyncio.IncompleteReadError, ValueError):
        body = await reader.readexactly(min(int(length), _LONGEST_REFUSAL))
    kind = known.get("content-type", "text/plain")
    return web.Response(status=status, reason=why, body=body, headers={hdrs.CONTENT_TYPE: kind})


async def _join(duplex: HijackedDuplex, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def upload() -> None:
        while chunk := await duplex.read():
            writer.write(chunk)
            await writer.drain()

    async def download() -> None:
        while chunk := await reader.read(_CHUNK):
            await duplex.write(chunk)

    ways = [asyncio.ensure_future(upload()), asyncio.ensure_future(download())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await duplex.close()
