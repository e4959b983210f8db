"""SPDY/3.1 frames as bytes and as values (SPDY Protocol Draft 3.1, section 2).

The reader is incremental: a data frame is handed on in the pieces in which it arrives, so that no frame, whatever
length it announces, makes us hold more than one control frame's worth of bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

VERSION = 3
FLAG_FIN = 0x01
STREAM_ID_MASK = 0x7FFFFFFF

MAX_CONTROL_FRAME = 64 * 1024
"""Bytes of one control frame. kubectl's are under 200; a larger one is an attack on our memory."""

MAX_HEADER_BLOCK = 256 * 1024
"""Bytes of one header block after decompression: zlib can blow a small frame up a thousandfold."""


class FrameType(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class GoAwayStatus(IntEnum):
    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class SessionError(Exception):
    """The peer broke the protocol in a way that leaves the whole session unusable (section 2.4.1)."""


@dataclass(frozen=True, slots=True)
class SynStream:
    stream_id: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class SynReply:
    stream_id: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class Headers:
    stream_id: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class RstStream:
    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    values: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Ping:
    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_good_stream_id: int


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """`stream_id` 0 is the session's own window (section 2.6.8)."""

    stream_id: int
    delta: int


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a data frame; `fin` only on its last piece."""

    stream_id: int
    data: bytes
    fin: bool


Frame = SynStream | SynReply | Headers | RstStream | Settings | Ping | GoAway | WindowUpdate | Data


def _dictionary() -> bytes:
    """The zlib dictionary both ends start from (section 2.6.10.1): length-prefixed words, then one run of text."""
    words = [
        "options",
        "head",
        "post",
        "put",
        "delete",
        "trace",
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "accept-ranges",
        "age",
        "allow",
        "authorization",
        "cache-control",
        "connection",
        "content-base",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-md5",
        "content-range",
        "content-type",
        "date",
        "etag",
        "expect",
        "expires",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "referer",
        "retry-after",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "vary",
        "via",
        "warning",
        "www-authenticate",
        "method",
        "get",
        "status",
    ]
    words += ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
    text = (
        "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
        "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
        "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
        "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
        "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )
    return b"".join(struct.pack(">I", len(word)) + word.encode() for word in words) + text.encode()


DICTIONARY = _dictionary()


class HeaderReader:
    """The peer's header blocks: one zlib stream over the life of the session."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        try:
            raw = self._inflate.decompress(block, MAX_HEADER_BLOCK)
        except zlib.error as error:
            raise SessionError(f"header block does not decompress: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SessionError(f"header block larger than {MAX_HEADER_BLOCK} bytes")
        try:
            return _decode_pairs(raw)
        except (struct.error, UnicodeDecodeError) as error:
            raise SessionError(f"malformed header block: {error}") from error


def _decode_pairs(raw: bytes) -> dict[str, str]:
    offset = 4

    def text() -> str:
        nonlocal offset
        (length,) = struct.unpack_from(">I", raw, offset)
        offset += 4
        if length > len(raw) - offset:
            raise SessionError("header block shorter than its lengths say")
        offset += length
        return raw[offset - length : offset].decode()

    (count,) = struct.unpack_from(">I", raw)
    headers: dict[str, str] = {}
    for _ in range(count):
        name = text()
        value = text()
        if not name or name in headers:
            raise SessionError(f"header name {name!r} is empty or repeated")
        headers[name] = value
    return headers


class HeaderWriter:
    """Our header blocks: one zlib stream over the life of the session."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        raw = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.encode(), value.encode()):
                raw += struct.pack(">I", len(text)) + text
        return self._deflate.compress(raw) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def control_frame(kind: FrameType, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload


def data_frame(stream_id: int, data: bytes | memoryview, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream_id, (FLAG_FIN if fin else 0) << 24 | len(data)) + data


class FrameReader:
    """Bytes in, frames out. Once it has raised `SessionError` it may not be fed again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._headers = HeaderReader()
        self._data: tuple[int, bool, int] | None = None  # stream, fin, bytes still to come

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        while True:
            if self._data is not None:
                if (piece := self._next_piece()) is None:
                    return
                yield piece
            elif len(self._buffer) < 8:
                return
            else:
                word, rest = struct.unpack_from(">II", self._buffer)
                flags, length = rest >> 24, rest & 0xFFFFFF
                if not word & 0x80000000:
                    del self._buffer[:8]
                    self._data = (word, bool(flags & FLAG_FIN), length)
                    continue
                if word >> 16 & 0x7FFF != VERSION:
                    raise SessionError(f"SPDY version {word >> 16 & 0x7FFF} where 3 was agreed")
                if length > MAX_CONTROL_FRAME:
                    raise SessionError(f"control frame of {length} bytes, the limit is {MAX_CONTROL_FRAME}")
                if len(self._buffer) < 8 + length:
                    return
                payload = bytes(self._buffer[8 : 8 + length])
                del self._buffer[: 8 + length]
                if (frame := self._control(word & 0xFFFF, flags, payload)) is not None:
                    yield frame

    def _next_piece(self) -> Data | None:
        assert self._data is not None
        stream_id, fin, missing = self._data
        piece = bytes(self._buffer[:missing])
        if missing and not piece:
            return None
        del self._buffer[:missing]
        missing -= len(piece)
        self._data = (stream_id, fin, missing) if missing else None
        return Data(stream_id, piece, fin and not missing)

    def _control(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        """None for a type this version of the protocol does not name: such frames are to be ignored (section 2.2.1)."""
        fin = bool(flags & FLAG_FIN)
        try:
            match kind:
                case FrameType.SYN_STREAM:
                    (stream_id,) = struct.unpack_from(">I", payload)
                    return SynStream(stream_id & STREAM_ID_MASK, self._headers.decode(payload[10:]), fin)
                case FrameType.SYN_REPLY:
                    (stream_id,) = struct.unpack_from(">I", payload)
                    return SynReply(stream_id & STREAM_ID_MASK, self._headers.decode(payload[4:]), fin)
                case FrameType.HEADERS:
                    (stream_id,) = struct.unpack_from(">I", payload)
                    return Headers(stream_id & STREAM_ID_MASK, self._headers.decode(payload[4:]), fin)
                case FrameType.RST_STREAM:
                    stream_id, status = struct.unpack(">II", payload)
                    return RstStream(stream_id & STREAM_ID_MASK, status)
                case FrameType.SETTINGS:
                    return _settings(payload)
                case FrameType.PING:
                    (ping_id,) = struct.unpack(">I", payload)
                    return Ping(ping_id)
                case FrameType.GOAWAY:
                    last, _ = struct.unpack(">II", payload)
                    return GoAway(last & STREAM_ID_MASK)
                case FrameType.WINDOW_UPDATE:
                    stream_id, delta = struct.unpack(">II", payload)
                    return WindowUpdate(stream_id & STREAM_ID_MASK, delta & STREAM_ID_MASK)
        except struct.error as error:
            raise SessionError(f"{FrameType(kind).name} frame of {len(payload)} bytes: {error}") from error
        return None


def _settings(payload: bytes) -> Settings:
    (count,) = struct.unpack_from(">I", payload)
    if len(payload) != 4 + 8 * count:
        raise SessionError(f"SETTINGS frame of {len(payload)} bytes announces {count} entries")
    entries = struct.iter_unpack(">II", payload[4:])
    return Settings({identifier & 0xFFFFFF: value for identifier, value in entries})
