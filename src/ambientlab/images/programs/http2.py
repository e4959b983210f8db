"""HTTP/2 without I/O, as much of it as whole messages need (RFC 9113): no priorities, no push.

Either end of a connection: bytes that arrived go into `receive`, which returns the messages they complete, and what is
to be sent is taken from `outbox`.
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ambientlab.images.programs.hpack import CompressionError, Decoder, Header, encode
else:
    from hpack import CompressionError, Decoder, Header, encode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_INITIAL_WINDOW_SIZE = 4
_LARGEST_FRAME = 16384
_WINDOW = 2**31 - 1


class ProtocolError(Exception):
    """The other end breaks the protocol, and the connection with it."""


class Message:
    """What came on one stream. `reset` is the code with which the other end gave it up."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.headers: list[Header] = []
        self.body = b""
        self.trailers: list[Header] = []
        self.reset: int | None = None


class Connection:
    def __init__(self, *, client: bool) -> None:
        self.outbox = PREFACE if client else b""
        self.outbox += _frame(_SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW_SIZE, _WINDOW))
        self.outbox += _frame(_WINDOW_UPDATE, 0, 0, struct.pack("!I", _WINDOW - 65535))
        self.closed = False
        self._inbox = b""
        self._preface = b"" if client else PREFACE
        self._next = 1
        self._decoder = Decoder()
        self._messages: dict[int, Message] = {}
        self._block: tuple[int, int, bytes] | None = None  # of headers that go on in the next frame
        self._initial_window = self._window = 65535
        self._windows: dict[int, int] = {}
        self._waiting: list[tuple[int, bytes, list[Header]]] = []  # bodies that wait for the other end's window

    def receive(self, data: bytes) -> list[Message]:
        """Raises ProtocolError."""
        self._inbox += data
        if self._preface:
            if len(self._inbox) < len(self._preface):
                return []
            if not self._inbox.startswith(self._preface):
                raise ProtocolError("no preface")
            self._inbox, self._preface = self._inbox[len(self._preface) :], b""
        complete: list[Message] = []
        while len(self._inbox) >= 9:
            length = int.from_bytes(self._inbox[:3], "big")
            if length > _LARGEST_FRAME:
                raise ProtocolError("a frame too large")
            if len(self._inbox) < 9 + length:
                break
            kind, flags, stream = struct.unpack("!BBI", self._inbox[3:9])
            payload, self._inbox = self._inbox[9 : 9 + length], self._inbox[9 + length :]
            try:
                message = self._frame(kind, flags, stream & _WINDOW, payload)
            except (CompressionError, struct.error, IndexError) as error:
                raise ProtocolError(str(error)) from error
            if message is not None:
                complete.append(message)
        self._flush()
        return complete

    def request(self, headers: list[Header], body: bytes = b"") -> int:
        """The stream that the answer comes on."""
        stream, self._next = self._next, self._next + 2
        self.send(stream, headers, body)
        return stream

    def send(self, stream: int, headers: list[Header], body: bytes = b"", trailers: list[Header] | None = None) -> None:
        alone = not body and not trailers
        self.outbox += _frame(_HEADERS, _END_HEADERS | (_END_STREAM if alone else 0), stream, encode(headers))
        if not alone:
            self._windows.setdefault(stream, self._initial_window)
            self._waiting.append((stream, body, trailers or []))
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for stream, rest, trailers in waiting:
            body = rest
            while body and (room := min(self._window, self._windows.get(stream, 0), _LARGEST_FRAME)) > 0:
                part, body = body[:room], body[room:]
                self._window -= len(part)
                self._windows[stream] -= len(part)
                last = not body and not trailers
                self.outbox += _frame(_DATA, _END_STREAM if last else 0, stream, part)
            if body:
                self._waiting.append((stream, body, trailers))
                continue
            if trailers:
                self.outbox += _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, encode(trailers))
            self._windows.pop(stream, None)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> Message | None:
        if self._block is not None and kind != _CONTINUATION:
            raise ProtocolError("headers break off")
        if kind == _HEADERS:
            payload = _unpadded(payload, flags)
            return self._header_block(stream, flags, payload[5:] if flags & _PRIORITY else payload)
        if kind == _CONTINUATION:
            if self._block is None or self._block[0] != stream:
                raise ProtocolError("headers go on that never began")
            _, first, begun = self._block
            return self._header_block(stream, first | flags & _END_HEADERS, begun + payload)
        if kind == _DATA:
            return self._data(stream, flags, payload)
        if kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _PING and not flags & _ACK:
            self.outbox += _frame(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE:
            (more,) = struct.unpack("!I", payload)
            if not stream:
                self._window += more
            elif stream in self._windows:
                self._windows[stream] += more
        elif kind == _GOAWAY:
            self.closed = True
        elif kind == _RST_STREAM:
            self._windows.pop(stream, None)
            self._waiting = [each for each in self._waiting if each[0] != stream]
            message = self._messages.pop(stream, None) or Message(stream)
            (message.reset,) = struct.unpack("!I", payload)
            return message
        return None

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            name, value = struct.unpack("!HI", payload[at : at + 6])
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._initial_window
                self._initial_window = value
        self.outbox += _frame(_SETTINGS, _ACK, 0, b"")

    def _header_block(self, stream: int, flags: int, block: bytes) -> Message | None:
        if not flags & _END_HEADERS:
            self._block = (stream, flags, block)
            return None
        self._block = None
        headers = self._decoder.decode(block)
        message = self._messages.setdefault(stream, Message(stream))
        if not message.headers or (":status", "100") in message.headers:
            message.headers = headers
        else:
            message.trailers = headers
        return self._messages.pop(stream) if flags & _END_STREAM else None

    def _data(self, stream: int, flags: int, payload: bytes) -> Message | None:
        if payload:
            self.outbox += _frame(_WINDOW_UPDATE, 0, 0, struct.pack("!I", len(payload)))
        message = self._messages.get(stream)
        if message is None:
            return None
        message.body += _unpadded(payload, flags)
        return self._messages.pop(stream) if flags & _END_STREAM else None


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack("!BBI", kind, flags, stream) + payload


def _unpadded(payload: bytes, flags: int) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
