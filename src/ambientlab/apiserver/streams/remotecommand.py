"""exec and attach: one process's streams carried to a client, over WebSocket channels or SPDY streams.

What cannot be started is refused by an HTTP status before the upgrade; once streams are open the outcome is a
metav1.Status on the error channel (k8s.io/kubelet/pkg/cri/streaming/remotecommand). A client that vanishes ends the
session: its connection ends, or a write to it fails, and a regular ping makes sure that a write happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Protocol

import orjson
from aiohttp import WSMsgType, web

from ambientlab.api.errors import StatusError
from ambientlab.api.kubelet import ExecSession, Kubelet
from ambientlab.api.objects import Object
from ambientlab.apiserver.streams import channels
from ambientlab.apiserver.streams.channels import Channel, ChannelError
from ambientlab.apiserver.streams.connection import Connection, Stream
from ambientlab.apiserver.streams.options import StreamOptions, bad_request, choose_container, require_host
from ambientlab.apiserver.streams.upgrade import (
    CLOSE_TIMEOUT,
    accept_spdy,
    accept_websocket,
    is_websocket,
    negotiate,
)

logger = logging.getLogger(__name__)

PING_SECONDS = 15.0
STREAM_CREATION_SECONDS = 30.0
SUCCESS: Object = {"metadata": {}, "status": "Success"}


async def handle_exec(request: web.Request, kubelet: Kubelet, pod: Object) -> web.StreamResponse:
    """GET or POST pods/exec. Raises StatusError until the upgrade."""
    options = StreamOptions.parse(request.query)
    argv = request.query.getall("command", [])
    if not argv:
        raise bad_request("you must specify at least one command for the container")
    container = choose_container(pod, request.query.get("container", ""))
    require_host(pod)
    protocol = negotiate(request, websocket=channels.PROTOCOLS, spdy=(channels.V4,))
    session = await kubelet.exec(pod, container, argv, stdin=options.stdin, tty=options.tty)
    return await _serve(request, protocol, options, session, exit_status)


async def handle_attach(request: web.Request, kubelet: Kubelet, pod: Object) -> web.StreamResponse:
    """GET or POST pods/attach. The exit code of a container's main process is its pod's status to tell, not ours."""
    options = StreamOptions.parse(request.query)
    container = choose_container(pod, request.query.get("container", ""))
    require_host(pod)
    protocol = negotiate(request, websocket=channels.PROTOCOLS, spdy=(channels.V4,))
    session = await kubelet.attach(pod, container, stdin=options.stdin, tty=options.tty)
    return await _serve(request, protocol, options, session, lambda _: SUCCESS)


def exit_status(code: int) -> Object:
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal_error(message: str) -> Object:
    """apierrors.NewInternalError, as it appears on the error channel."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


class _Client(Protocol):
    """Who is at the other end. Every method raises ConnectionError once nobody is."""

    @property
    def response(self) -> web.StreamResponse: ...

    async def ready(self) -> None:
        """Returns when output may be sent."""
        ...

    async def forward_input(self, session: ExecSession) -> None:
        """Until the client is gone."""
        ...

    async def write(self, channel: Channel, data: bytes) -> None: ...

    async def ping(self) -> None: ...

    async def finish(self, status: Object) -> None:
        """Say how it ended, and give the client time to read it and go."""
        ...


class _WebSocketClient:
    def __init__(self, websocket: web.WebSocketResponse, options: StreamOptions) -> None:
        self.response = websocket
        self._options = options
        self._decoder = channels.Decoder(websocket.ws_protocol or channels.V4)

    async def ready(self) -> None:
        """Greets on the lowest channel we write: clients wait for it to know that the streams are open
        (k8s.io/kubelet/pkg/cri/streaming/remotecommand/websocket.go)."""
        wanted = ((Channel.STDOUT, self._options.stdout), (Channel.STDERR, self._options.stderr))
        lowest = next((channel for channel, is_wanted in wanted if is_wanted), Channel.ERROR)
        await self.write(lowest, b"")

    async def forward_input(self, session: ExecSession) -> None:
        while (message := await self.response.receive()).type is WSMsgType.BINARY:
            try:
                inputs = self._decoder.decode(bytes(message.data))
            except ChannelError as error:
                await self.response.close(code=1002, message=str(error).encode()[:120])
                return
            for item in inputs:
                match item:
                    case channels.Stdin(data):
                        await session.write_stdin(data)
                    case channels.StdinClosed():
                        session.close_stdin()
                    case channels.Resized(columns, rows):
                        session.resize(columns, rows)

    async def write(self, channel: Channel, data: bytes) -> None:
        await self.response.send_bytes(channels.encode(channel, data))

    async def ping(self) -> None:
        await self.response.ping()

    async def finish(self, status: Object) -> None:
        await self.write(Channel.ERROR, orjson.dumps(status))
        await self.response.close()


class _SpdyClient:
    """v4.channel.k8s.io over SPDY: one stream for each channel, told apart by the header `streamtype`."""

    def __init__(self, connection: Connection, response: web.StreamResponse, options: StreamOptions) -> None:
        self.response = response
        self._connection = connection
        self._streams: dict[Channel, Stream] = {}
        wanted = {
            Channel.ERROR: True,
            Channel.STDIN: options.stdin,
            Channel.STDOUT: options.stdout,
            Channel.STDERR: options.stderr,
            Channel.RESIZE: options.tty,
        }
        self._missing = {channel for channel, is_wanted in wanted.items() if is_wanted}
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()

    async def ready(self) -> None:
        try:
            await asyncio.wait_for(self._ready.wait(), STREAM_CREATION_SECONDS)
        except TimeoutError as error:
            raise ConnectionAbortedError("timed out waiting for the client to create its streams") from error

    async def forward_input(self, session: ExecSession) -> None:
        running = asyncio.ensure_future(self._connection.run(self._opened))
        tasks = {running, asyncio.ensure_future(self._stdin(session)), asyncio.ensure_future(self._sizes(session))}
        pending = tasks
        try:
            while running in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            self._gone.set()
            await _cancel(*tasks)

    def _opened(self, stream: Stream) -> bool:
        try:
            channel = Channel[stream.headers.get("streamtype", "").upper()]
            self._missing.remove(channel)
        except KeyError:
            return False
        self._streams[channel] = stream
        if not self._missing:
            self._ready.set()
        return True

    async def _stdin(self, session: ExecSession) -> None:
        await self._ready.wait()
        if (stream := self._streams.get(Channel.STDIN)) is None:
            return
        try:
            while data := await stream.read():
                await session.write_stdin(data)
        except ConnectionError:
            pass  # reset: no more input, which is all the process can be told
        session.close_stdin()

    async def _sizes(self, session: ExecSession) -> None:
        await self._ready.wait()
        if (stream := self._streams.get(Channel.RESIZE)) is None:
            return
        reader = channels.SizeReader()
        try:
            while data := await stream.read():
                for size in reader.feed(data):
                    session.resize(size.columns, size.rows)
        except (ChannelError, ConnectionError):
            stream.discard()

    async def write(self, channel: Channel, data: bytes) -> None:
        await self._streams[channel].write(data)

    async def ping(self) -> None:
        await self._connection.ping()

    async def finish(self, status: Object) -> None:
        for channel in (Channel.STDIN, Channel.RESIZE):
            if (stream := self._streams.get(channel)) is not None:
                stream.discard()
        await self.write(Channel.ERROR, orjson.dumps(status))
        for stream in self._streams.values():
            await stream.end()
        # Closing now, with the client's input perhaps unread, would reset the connection and lose what we just said.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), CLOSE_TIMEOUT)
        await self._connection.close()


async def _serve(
    request: web.Request,
    protocol: str,
    options: StreamOptions,
    session: ExecSession,
    outcome: Callable[[int], Object],
) -> web.StreamResponse:
    try:
        client = await _accept(request, protocol, options)
        await _converse(client, options, session, outcome)
        return client.response
    finally:
        session.close()


async def _converse(
    client: _Client, options: StreamOptions, session: ExecSession, outcome: Callable[[int], Object]
) -> None:
    tasks = [
        asyncio.ensure_future(client.forward_input(session)),
        asyncio.ensure_future(_forward_output(client, options, session, outcome)),
        asyncio.ensure_future(_keep_alive(client)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if (failure := next(_failures(tasks), None)) is not None:
            logger.error("stream failed: %s", failure, exc_info=failure)
            # Silence would be success to kubectl, which takes an orderly end without a status for exit code 0.
            await client.finish(internal_error(f"error executing command in container: {failure}"))
    except ConnectionError as gone:
        logger.debug("client is gone: %s", gone)
    finally:
        await _cancel(*tasks)


def _failures(tasks: Iterable[asyncio.Future[None]]) -> Iterator[BaseException]:
    """What went wrong in tasks that are done, save that the client had gone."""
    for task in tasks:
        if task.done() and (error := task.exception()) is not None and not isinstance(error, ConnectionError):
            yield error


async def _accept(request: web.Request, protocol: str, options: StreamOptions) -> _Client:
    if is_websocket(request):
        return _WebSocketClient(await accept_websocket(request, protocol), options)
    response, duplex = await accept_spdy(request, protocol)
    return _SpdyClient(Connection(duplex), response, options)


async def _forward_output(
    client: _Client, options: StreamOptions, session: ExecSession, outcome: Callable[[int], Object]
) -> None:
    await client.ready()

    async def copy(source: AsyncIterator[bytes], channel: Channel, wanted: bool) -> None:
        async for data in source:
            if wanted and data:
                await client.write(channel, data)

    copies = [
        asyncio.ensure_future(copy(session.stdout(), Channel.STDOUT, options.stdout)),
        asyncio.ensure_future(copy(session.stderr(), Channel.STDERR, options.stderr)),
    ]
    try:
        await asyncio.gather(*copies)
        status = outcome(await session.wait())
    except ConnectionError:
        raise
    except (OSError, StatusError) as error:
        status = internal_error(f"error executing command in container: {error}")
    finally:
        await _cancel(*copies)
    await client.finish(status)


async def _keep_alive(client: _Client) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await client.ping()


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
