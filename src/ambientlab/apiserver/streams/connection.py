"""Drives a SPDY session over a byte stream and gives each of its streams to whoever wants to read and write it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from ambientlab.apiserver.streams import spdy
from ambientlab.apiserver.streams.spdy_wire import SessionError
from ambientlab.apiserver.streams.upgrade import Duplex

_STREAM_BUFFER = 256 * 1024


class Stream:
    """One stream the client opened. Reads and writes raise ConnectionError once it is reset or the client is gone."""

    def __init__(self, connection: Connection, stream_id: int, headers: Mapping[str, str]) -> None:
        self.stream_id = stream_id
        self.headers = headers
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._ended = False
        self._gone = False
        self._discarding = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._drained = asyncio.Event()

    async def read(self) -> bytes:
        """Some bytes; empty once the client has ended its side."""
        while not self._chunks:
            if self._gone:
                raise ConnectionResetError("stream reset by the client")
            if self._ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._chunks.popleft()
        self._buffered -= len(data)
        self._drained.set()
        self._connection.session.consume(self.stream_id, len(data))
        await self._connection.flush()
        return data

    async def write(self, data: bytes) -> None:
        """Returns when all of it is on its way: the peer's windows and the connection hold us back."""
        rest = memoryview(data)
        while rest:
            try:
                sent = self._connection.session.send_data(self.stream_id, rest)
            except spdy.StreamGoneError as error:
                raise ConnectionResetError(str(error)) from error
            rest = rest[sent:]
            self._writable.clear()
            await self._connection.flush()
            if rest and not self._gone:
                await self._writable.wait()

    async def end(self) -> None:
        self._connection.session.end(self.stream_id)
        self._connection.forget_if_done(self.stream_id)
        await self._connection.flush()

    async def reset(self) -> None:
        self._connection.session.reset(self.stream_id)
        self.gone()
        await self._connection.flush()

    def discard(self) -> None:
        """Nobody reads this any more: what still comes is dropped, so that it holds nothing up."""
        self._discarding = True
        self._connection.session.consume(self.stream_id, self._buffered)
        self._chunks.clear()
        self._buffered = 0
        self._drained.set()

    async def received(self, data: bytes) -> None:
        """Returns when there is room. It holds up the whole connection, as it must: spdystream keeps no windows."""
        if self._discarding or self._gone:
            self._connection.session.consume(self.stream_id, len(data))
            return
        self._chunks.append(data)
        self._buffered += len(data)
        self._readable.set()
        while self._buffered > _STREAM_BUFFER and not self._gone:
            self._drained.clear()
            await self._drained.wait()

    def ended(self) -> None:
        self._ended = True
        self._readable.set()

    def window_opened(self) -> None:
        self._writable.set()

    def gone(self) -> None:
        self._gone = True
        for event in (self._readable, self._writable, self._drained):
            event.set()


class Connection:
    """`run` reads until the client is gone; streams may be used from other tasks meanwhile."""

    def __init__(self, duplex: Duplex) -> None:
        self.session = spdy.Session()
        self._duplex = duplex
        self._streams: dict[int, Stream] = {}

    async def run(self, opened: Callable[[Stream], bool]) -> None:
        """`opened` decides on each new stream: False resets it. Ends quietly when the client goes, in order or not."""
        try:
            while data := await self._duplex.read():
                try:
                    events = self.session.receive(data)
                finally:
                    await self.flush()
                for event in events:
                    await self._dispatch(event, opened)
        except (SessionError, ConnectionError):
            return
        finally:
            for stream in self._streams.values():
                stream.gone()

    async def flush(self) -> None:
        if data := self.session.data_to_send():
            await self._duplex.write(data)

    async def ping(self) -> None:
        self.session.ping()
        await self.flush()

    async def close(self) -> None:
        await self._duplex.close()

    def forget_if_done(self, stream_id: int) -> None:
        """A port-forward lives through any number of streams; those that both sides ended are not kept."""
        if not self.session.is_open(stream_id):
            self._streams.pop(stream_id, None)

    async def _dispatch(self, event: spdy.Event, opened: Callable[[Stream], bool]) -> None:
        match event:
            case spdy.StreamOpened(stream_id, headers):
                await self._opened(Stream(self, stream_id, headers), opened)
            case spdy.DataReceived(stream_id, data):
                if (stream := self._streams.get(stream_id)) is not None:
                    await stream.received(data)
            case spdy.StreamEnded(stream_id):
                if (stream := self._streams.get(stream_id)) is not None:
                    stream.ended()
                    self.forget_if_done(stream_id)
            case spdy.StreamReset(stream_id):
                if (stream := self._streams.pop(stream_id, None)) is not None:
                    stream.gone()
            case spdy.WindowOpened(stream_id):
                for stream in list(self._streams.values()):
                    if stream_id in (0, stream.stream_id):
                        stream.window_opened()

    async def _opened(self, stream: Stream, opened: Callable[[Stream], bool]) -> None:
        self._streams[stream.stream_id] = stream
        try:
            self.session.reply(stream.stream_id)
        except spdy.StreamGoneError:  # opened and reset by the same bytes
            stream.gone()
            return
        if not opened(stream):
            self._streams.pop(stream.stream_id, None)
            await stream.reset()
        await self.flush()
