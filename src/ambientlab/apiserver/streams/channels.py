"""The WebSocket sub-protocols of exec and attach, without I/O: a message is one channel's number and its bytes.

v4.channel.k8s.io names five channels; v5.channel.k8s.io adds the message 255,<channel>, by which a client half-closes
its side of a channel: stdin in practice (KEP-4006, k8s.io/apimachinery/pkg/util/remotecommand/constants.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
PROTOCOLS = (V5, V4)

_CLOSE = 255


class Channel(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4


class ChannelError(Exception):
    """The client sent what the sub-protocol does not know."""


@dataclass(frozen=True, slots=True)
class Stdin:
    data: bytes


@dataclass(frozen=True, slots=True)
class StdinClosed:
    pass


@dataclass(frozen=True, slots=True)
class Resized:
    columns: int
    rows: int


Input = Stdin | StdinClosed | Resized


class SizeReader:
    """Terminal sizes as client-go writes them: a run of JSON objects {"Width": columns, "Height": rows}."""

    MAX_SIZE = 1024

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, data: bytes) -> list[Resized]:
        try:
            self._pending += data.decode()
        except UnicodeDecodeError as error:
            raise ChannelError(f"terminal size is not text: {error}") from error
        sizes: list[Resized] = []
        while text := self._pending.lstrip():
            end = text.find("}") + 1
            if (end or len(text)) > self.MAX_SIZE:
                raise ChannelError(f"terminal size longer than {self.MAX_SIZE} characters")
            if not end:
                break
            sizes.append(_size(text[:end]))
            self._pending = text[end:]
        return sizes


def _size(text: str) -> Resized:
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ChannelError(f"terminal size is not JSON: {error}") from error
    match value:
        case {"Width": int(columns), "Height": int(rows)} if 0 <= columns <= 0xFFFF and 0 <= rows <= 0xFFFF:
            return Resized(columns, rows)
    raise ChannelError("terminal size wants Width and Height between 0 and 65535")


class Decoder:
    """The client's messages of one session."""

    def __init__(self, protocol: str) -> None:
        self._closes = protocol == V5
        self._sizes = SizeReader()

    def decode(self, message: bytes) -> list[Input]:
        if not message:
            raise ChannelError("message without a channel number")
        number, data = message[0], message[1:]
        if number == Channel.STDIN:
            return [Stdin(data)] if data else []
        if number == Channel.RESIZE:
            return [*self._sizes.feed(data)]
        if number == _CLOSE and self._closes:
            if len(data) != 1 or data[0] not in list(Channel):
                raise ChannelError("close message does not name one channel")
            return [StdinClosed()] if data[0] == Channel.STDIN else []
        raise ChannelError(f"nothing may be sent on channel {number}")


def encode(channel: Channel, data: bytes) -> bytes:
    return bytes((channel,)) + data
