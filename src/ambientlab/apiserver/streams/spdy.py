"""A SPDY/3.1 session as a state machine without I/O: bytes in, events out, bytes to send on the side.

Theory of operation. The client opens streams, we answer them; each direction of a stream ends by itself with FIN, and a
reset ends both. `receive` turns bytes into events; everything we want to say gathers in `data_to_send`. Whoever reads a
stream's data reports it by `consume`, which opens the peer's window again; `send_data` takes as much as the peer's
windows allow and says how much that was, and `WindowOpened` says when to try again.

Flow control is two-sided in the specification (section 2.6.8) but one-sided in practice: Go's spdystream, which
kubectl and client-go use, never sends WINDOW_UPDATE and would wait for ever for the rest of a window we held to.
So our updates go out always, while the peer's windows bind us from the moment it shows that it keeps them, by its first
WINDOW_UPDATE or initial-window SETTINGS. Until then the transport's back-pressure is the only brake, as it is between
kubectl and a real API server.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from ambientlab.apiserver.streams import spdy_wire as wire
from ambientlab.apiserver.streams.spdy_wire import FrameType, GoAwayStatus, SessionError

INITIAL_WINDOW = 64 * 1024
MAX_WINDOW = 0x7FFFFFFF
MAX_STREAMS = 1000
MAX_DATA_FRAME = 32 * 1024
SETTINGS_INITIAL_WINDOW_SIZE = 7


class ResetStatus(IntEnum):
    """Section 2.6.3."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_ALREADY_CLOSED = 9


class StreamGoneError(Exception):
    """Something was to be sent on a stream that is closed in our direction or altogether."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    stream_id: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DataReceived:
    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer sends no more on this stream; we still may."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    stream_id: int


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """`stream_id` 0: every stream may try again."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer opens no more streams."""


Event = StreamOpened | DataReceived | StreamEnded | StreamReset | WindowOpened | GoneAway


@dataclass(slots=True)
class _Stream:
    send_window: int
    unreported: int = 0
    remote_done: bool = False
    local_done: bool = False


class Session:
    """The server's end. `receive` raises `SessionError` once; then only `data_to_send` (a GOAWAY) is left to do."""

    def __init__(self) -> None:
        self._reader = wire.FrameReader()
        self._headers = wire.HeaderWriter()
        self._out = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._last_stream_id = 0
        self._next_ping_id = 2
        self._initial_send_window = INITIAL_WINDOW
        self._send_window = INITIAL_WINDOW
        self._unreported = 0
        self._peer_keeps_windows = False
        self._refusing = False
        self._failed = False

    def data_to_send(self) -> bytes:
        """Takes what there is to write; the caller writes it before it calls anything else here."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        if self._failed:
            raise SessionError("the session has failed already")
        events: list[Event] = []
        try:
            for frame in self._reader.feed(data):
                self._dispatch(frame, events)
        except SessionError:
            self._failed = True
            self.go_away(GoAwayStatus.PROTOCOL_ERROR)
            raise
        return events

    def is_open(self, stream_id: int) -> bool:
        """In at least one direction."""
        return stream_id in self._streams

    def reply(self, stream_id: int) -> None:
        """Accept a stream. Before this, spdystream drops the data we send on it."""
        self._stream(stream_id)
        payload = struct.pack(">I", stream_id) + self._headers.encode({})
        self._out += wire.control_frame(FrameType.SYN_REPLY, payload)

    def send_data(self, stream_id: int, data: bytes | memoryview) -> int:
        """Queue as much of `data` as the peer's windows allow; returns how many bytes that is, perhaps 0."""
        stream = self._stream(stream_id)
        if stream.local_done:
            raise StreamGoneError(f"stream {stream_id} is ended")
        size = len(data)
        if self._peer_keeps_windows:
            size = max(0, min(size, stream.send_window, self._send_window))
        view = memoryview(data)[:size]
        for start in range(0, size, MAX_DATA_FRAME):
            self._out += wire.data_frame(stream_id, view[start : start + MAX_DATA_FRAME])
        stream.send_window -= size
        self._send_window -= size
        return size

    def end(self, stream_id: int) -> None:
        """Half-close: nothing more from us on this stream. Ending it twice, or once it is gone, is nothing."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_done:
            return
        stream.local_done = True
        self._out += wire.data_frame(stream_id, b"", fin=True)
        self._forget_if_done(stream_id, stream)

    def reset(self, stream_id: int, status: ResetStatus = ResetStatus.CANCEL) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._reset(stream_id, status)

    def consume(self, stream_id: int, size: int) -> None:
        """`size` bytes of a stream were used up. Reported to the peer by halves of a window, not byte by byte."""
        self._unreported += size
        if self._unreported >= INITIAL_WINDOW // 2:
            self._window_update(0, self._unreported)
            self._unreported = 0
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_done:
            return
        stream.unreported += size
        if stream.unreported >= INITIAL_WINDOW // 2:
            self._window_update(stream_id, stream.unreported)
            stream.unreported = 0

    def ping(self) -> None:
        self._out += wire.control_frame(FrameType.PING, struct.pack(">I", self._next_ping_id))
        self._next_ping_id = self._next_ping_id + 2 & 0xFFFFFFFF

    def go_away(self, status: GoAwayStatus = GoAwayStatus.OK) -> None:
        self._refusing = True
        self._out += wire.control_frame(FrameType.GOAWAY, struct.pack(">II", self._last_stream_id, status))

    def _dispatch(self, frame: wire.Frame, events: list[Event]) -> None:
        match frame:
            case wire.Data():
                self._data(frame, events)
            case wire.SynStream():
                self._opened(frame, events)
            case wire.RstStream(stream_id):
                if self._streams.pop(stream_id, None) is not None:
                    events.append(StreamReset(stream_id))
            case wire.WindowUpdate():
                self._window_opened(frame, events)
            case wire.Settings(values):
                self._settings(values, events)
            case wire.Ping(ping_id):
                if ping_id % 2:  # an even one answers ours
                    self._out += wire.control_frame(FrameType.PING, struct.pack(">I", ping_id))
            case wire.GoAway():
                self._refusing = True
                events.append(GoneAway())
            case wire.Headers(stream_id, _, fin):
                if fin:
                    self._remote_done(stream_id, events)
            case wire.SynReply(stream_id):
                raise SessionError(f"SYN_REPLY for stream {stream_id}, which we never opened")

    def _opened(self, frame: wire.SynStream, events: list[Event]) -> None:
        stream_id = frame.stream_id
        if stream_id % 2 == 0 or stream_id <= self._last_stream_id:
            raise SessionError(f"stream {stream_id} opened after stream {self._last_stream_id}")
        self._last_stream_id = stream_id
        if self._refusing or len(self._streams) >= MAX_STREAMS:
            self._reset(stream_id, ResetStatus.REFUSED_STREAM)
            return
        self._streams[stream_id] = _Stream(self._initial_send_window)
        events.append(StreamOpened(stream_id, frame.headers))
        if frame.fin:
            self._remote_done(stream_id, events)

    def _data(self, frame: wire.Data, events: list[Event]) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None or stream.remote_done:
            self.consume(0, len(frame.data))
            if stream is not None:
                self.reset(frame.stream_id, ResetStatus.STREAM_ALREADY_CLOSED)
                events.append(StreamReset(frame.stream_id))
            elif frame.stream_id > self._last_stream_id or frame.stream_id == 0:
                self._reset(frame.stream_id, ResetStatus.INVALID_STREAM)
            return  # else: in flight when we closed the stream
        if frame.data:
            events.append(DataReceived(frame.stream_id, frame.data))
        if frame.fin:
            self._remote_done(frame.stream_id, events)

    def _remote_done(self, stream_id: int, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_done:
            return
        stream.remote_done = True
        events.append(StreamEnded(stream_id))
        self._forget_if_done(stream_id, stream)

    def _window_opened(self, frame: wire.WindowUpdate, events: list[Event]) -> None:
        self._peer_keeps_windows = True
        if frame.stream_id == 0:
            self._send_window += frame.delta
            if self._send_window > MAX_WINDOW:
                raise SessionError("the session's window overflows")
        else:
            stream = self._streams.get(frame.stream_id)
            if stream is None:
                return
            stream.send_window += frame.delta
            if stream.send_window > MAX_WINDOW:
                self.reset(frame.stream_id, ResetStatus.FLOW_CONTROL_ERROR)
                events.append(StreamReset(frame.stream_id))
                return
        events.append(WindowOpened(frame.stream_id))

    def _settings(self, values: Mapping[int, int], events: list[Event]) -> None:
        size = values.get(SETTINGS_INITIAL_WINDOW_SIZE)
        if size is None:
            return
        if size > MAX_WINDOW:
            raise SessionError(f"initial window of {size} bytes")
        self._peer_keeps_windows = True
        difference = size - self._initial_send_window
        self._initial_send_window = size
        for stream in self._streams.values():
            stream.send_window += difference
        events.append(WindowOpened(0))

    def _stream(self, stream_id: int) -> _Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise StreamGoneError(f"stream {stream_id} is closed")
        return stream

    def _forget_if_done(self, stream_id: int, stream: _Stream) -> None:
        if stream.local_done and stream.remote_done:
            self._streams.pop(stream_id, None)

    def _reset(self, stream_id: int, status: ResetStatus) -> None:
        self._out += wire.control_frame(FrameType.RST_STREAM, struct.pack(">II", stream_id, status))

    def _window_update(self, stream_id: int, delta: int) -> None:
        self._out += wire.control_frame(FrameType.WINDOW_UPDATE, struct.pack(">II", stream_id, delta))
