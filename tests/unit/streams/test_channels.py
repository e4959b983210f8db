from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.apiserver.streams import channels
from ambientlab.apiserver.streams.channels import (
    V4,
    V5,
    Channel,
    ChannelError,
    Decoder,
    Resized,
    SizeReader,
    Stdin,
    StdinClosed,
)


def test_input_resize_and_close() -> None:
    decoder = Decoder(V5)
    assert decoder.decode(b"\x00hello") == [Stdin(b"hello")]
    assert decoder.decode(b"\x00") == []
    assert decoder.decode(b'\x04{"Width":80,"Height":24}\n') == [Resized(80, 24)]
    assert decoder.decode(b"\xff\x00") == [StdinClosed()]
    assert decoder.decode(b"\xff\x04") == []


def test_v4_has_no_close() -> None:
    with pytest.raises(ChannelError, match="channel 255"):
        Decoder(V4).decode(b"\xff\x00")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01x",
        b"\x03",
        b"\x09",
        b"\xff",
        b"\xff\x00\x00",
        b"\xff\x09",
        b"\x04{}",
        b'\x04{"Width":-1,"Height":2}',
        b"\x04[1]}",
        b"\x04\xff",
        b"\x04" + b"[" * 100_000 + b"}",
        b"\x04" + b"x" * 2000,
    ],
)
def test_what_the_protocol_does_not_know(message: bytes) -> None:
    with pytest.raises(ChannelError):
        Decoder(V5).decode(message)


def test_sizes_arrive_in_any_pieces() -> None:
    reader = SizeReader()
    text = b'{"Width":80,"Height":24}\n{"Width":100,"Height":50}\n'
    heard = [size for byte in text for size in reader.feed(bytes((byte,)))]
    assert heard == [Resized(80, 24), Resized(100, 50)]


def test_output() -> None:
    assert channels.encode(Channel.STDERR, b"oops") == b"\x02oops"


@given(st.binary(max_size=200), st.sampled_from([V4, V5]))
def test_no_message_raises_anything_but_the_channel_error(message: bytes, protocol: str) -> None:
    with contextlib.suppress(ChannelError):
        Decoder(protocol).decode(message)
