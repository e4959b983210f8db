"""port-forward: pairs of SPDY streams, one pair for each local connection, joined to sockets inside the pod.

The SPDY session runs on the hijacked connection, or inside a WebSocket (KEP-4006, sub-protocol
SPDY/3.1+portforward.k8s.io). A pair is a data stream and an error stream of one `requestid`; text on the error stream
is a failure (k8s.io/kubelet/pkg/cri/streaming/portforward/httpstream.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from aiohttp import web

from ambientlab.api import objects
from ambientlab.api.errors import StatusError
from ambientlab.api.kubelet import Kubelet
from ambientlab.api.numbers import whole
from ambientlab.api.objects import Object
from ambientlab.apiserver.streams.connection import Connection, Stream
from ambientlab.apiserver.streams.options import require_host
from ambientlab.apiserver.streams.upgrade import (
    WebSocketDuplex,
    accept_spdy,
    accept_websocket,
    is_websocket,
    negotiate,
)

logger = logging.getLogger(__name__)

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PROTOCOL}"
PING_SECONDS = 15.0
_CHUNK = 64 * 1024


async def handle_portforward(request: web.Request, kubelet: Kubelet, pod: Object) -> web.StreamResponse:
    """GET or POST pods/portforward. Raises StatusError until the upgrade."""
    require_host(pod)
    protocol = negotiate(request, websocket=(TUNNEL,), spdy=(PROTOCOL,))
    if is_websocket(request):
        websocket = await accept_websocket(request, protocol)
        response: web.StreamResponse = websocket
        connection = Connection(WebSocketDuplex(websocket))
    else:
        response, duplex = await accept_spdy(request, protocol)
        connection = Connection(duplex)
    forwarder = _Forwarder(connection, kubelet, pod)
    alive = asyncio.ensure_future(_keep_alive(connection))
    running = asyncio.ensure_future(connection.run(forwarder.opened))
    try:
        await asyncio.wait((alive, running), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (alive, running):
            task.cancel()
        await asyncio.gather(alive, running, return_exceptions=True)
        await forwarder.close()
    with contextlib.suppress(ConnectionError):
        await connection.close()
    return response


async def _keep_alive(connection: Connection) -> None:
    """A client that vanished while its data was held back is noticed only by writing to it."""
    while True:
        await asyncio.sleep(PING_SECONDS)
        await connection.ping()


class _Forwarder:
    def __init__(self, connection: Connection, kubelet: Kubelet, pod: Object) -> None:
        self._connection = connection
        self._kubelet = kubelet
        self._pod = pod
        self._unpaired: dict[str, tuple[str, Stream]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def opened(self, stream: Stream) -> bool:
        kind, request_id = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
        port = _port(stream.headers.get("port", ""))
        if kind not in ("data", "error") or not request_id or port is None:
            return False
        if request_id not in self._unpaired:
            self._unpaired[request_id] = (kind, stream)
            return True
        other_kind, other = self._unpaired[request_id]
        if other_kind == kind:
            return False
        del self._unpaired[request_id]
        data, error = (stream, other) if kind == "data" else (other, stream)
        task = asyncio.ensure_future(self._forward(port, data, error))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, port: int, data: Stream, error: Stream) -> None:
        try:
            try:
                socket = await self._kubelet.connect(self._pod, port)
            except (OSError, StatusError) as failure:
                name, uid = objects.name(self._pod), objects.uid(self._pod)
                reason = os.strerror(failure.errno) if isinstance(failure, OSError) and failure.errno else str(failure)
                message = f"error forwarding port {port} to pod {name}, uid {uid}: 127.0.0.1:{port}: {reason.lower()}"
                await error.write(message.encode())
                data.discard()
            else:
                reader, writer = await asyncio.open_connection(sock=socket, limit=_CHUNK)
                try:
                    await _join(data, reader, writer)
                finally:
                    writer.close()
        except ConnectionError as gone:
            logger.debug("forwarding port %d ended: %s", port, gone)
        finally:
            # client-go waits for the end of both, whatever became of the connection they stood for
            with contextlib.suppress(ConnectionError):
                await error.end()
                await data.end()


async def _join(data: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both directions until the pod's side has ended and the client has ended or reset its own."""

    async def upload() -> None:
        try:
            while chunk := await data.read():
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
        except OSError:  # either end is gone; what the pod still says may be wanted
            data.discard()

    uploading = asyncio.ensure_future(upload())
    try:
        while chunk := await reader.read(_CHUNK):
            await data.write(chunk)
        await data.end()
        await uploading
    finally:
        uploading.cancel()
        await asyncio.gather(uploading, return_exceptions=True)


def _port(text: str) -> int | None:
    return whole(text, 65535) or None
