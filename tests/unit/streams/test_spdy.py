from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.apiserver.streams import spdy, spdy_wire
from ambientlab.apiserver.streams.spdy import DataReceived, Session, StreamEnded, StreamOpened, StreamReset
from ambientlab.apiserver.streams.spdy_wire import FrameType, SessionError, control_frame, data_frame


class Client:
    """The other end: writes frames, reads ours."""

    def __init__(self) -> None:
        self._headers = spdy_wire.HeaderWriter()
        self._reader = spdy_wire.FrameReader()

    def open(self, stream_id: int, headers: Mapping[str, str] | None = None, *, fin: bool = False) -> bytes:
        payload = struct.pack(">IIBB", stream_id, 0, 0, 0) + self._headers.encode(headers or {})
        return control_frame(FrameType.SYN_STREAM, payload, int(fin))

    def read(self, data: bytes) -> list[spdy_wire.Frame]:
        return list(self._reader.feed(data))


def opened(*stream_ids: int) -> tuple[Client, Session]:
    client, session = Client(), Session()
    for stream_id in stream_ids:
        session.receive(client.open(stream_id))
    return client, session


def window_update(stream_id: int, delta: int) -> bytes:
    return control_frame(FrameType.WINDOW_UPDATE, struct.pack(">II", stream_id, delta))


def initial_window(size: int) -> bytes:
    return control_frame(FrameType.SETTINGS, struct.pack(">III", 1, 7, size))


def data_of(frames: Iterable[spdy_wire.Frame], stream_id: int) -> bytes:
    return b"".join(f.data for f in frames if isinstance(f, spdy_wire.Data) and f.stream_id == stream_id)


def test_the_dictionary_is_the_one_of_the_specification() -> None:
    assert zlib.adler32(spdy_wire.DICTIONARY) == 0xE3C6A7C2


def test_a_stream_from_opening_to_end() -> None:
    client, session = Client(), Session()
    assert session.receive(client.open(1, {"streamtype": "stdin"})) == [StreamOpened(1, {"streamtype": "stdin"})]
    session.reply(1)
    assert session.receive(data_frame(1, b"in", fin=True)) == [DataReceived(1, b"in"), StreamEnded(1)]
    assert session.send_data(1, b"out") == 3
    session.end(1)
    frames = client.read(session.data_to_send())
    assert frames == [
        spdy_wire.SynReply(1, {}, False),
        spdy_wire.Data(1, b"out", False),
        spdy_wire.Data(1, b"", True),
    ]
    assert not session.is_open(1)
    with pytest.raises(spdy.StreamGoneError):
        session.send_data(1, b"more")


def test_opened_and_ended_at_once() -> None:
    client, session = Client(), Session()
    assert session.receive(client.open(1, fin=True)) == [StreamOpened(1, {}), StreamEnded(1)]


def test_headers_share_one_compression_over_the_session() -> None:
    client, session = Client(), Session()
    for number in range(1, 100, 2):
        headers = {"streamtype": "data", "port": "8080", "requestid": str(number)}
        assert session.receive(client.open(number, headers)) == [StreamOpened(number, headers)]


def test_ping_is_answered_and_our_own_answer_is_not() -> None:
    _, session = opened()
    session.receive(control_frame(FrameType.PING, struct.pack(">I", 7)))
    assert session.data_to_send() == control_frame(FrameType.PING, struct.pack(">I", 7))
    session.ping()
    ours = session.data_to_send()
    assert session.receive(ours) == []
    assert session.data_to_send() == b""


def test_reset_by_the_client() -> None:
    _, session = opened(1)
    assert session.receive(control_frame(FrameType.RST_STREAM, struct.pack(">II", 1, 5))) == [StreamReset(1)]
    with pytest.raises(spdy.StreamGoneError):
        session.reply(1)


def test_data_after_the_end_resets_the_stream() -> None:
    client, session = opened(1)
    session.receive(data_frame(1, b"", fin=True))
    assert session.receive(data_frame(1, b"late")) == [StreamReset(1)]
    assert client.read(session.data_to_send()) == [spdy_wire.RstStream(1, 9)]


def test_data_for_a_stream_that_never_was() -> None:
    client, session = opened(1)
    assert session.receive(data_frame(9, b"x")) == []
    assert client.read(session.data_to_send()) == [spdy_wire.RstStream(9, 2)]


def test_data_in_flight_to_a_stream_we_reset_is_ignored() -> None:
    _, session = opened(1)
    session.reset(1)
    session.data_to_send()
    assert session.receive(data_frame(1, b"x")) == []
    assert session.data_to_send() == b""


def test_after_going_away_new_streams_are_refused_and_old_ones_live() -> None:
    client, session = opened(1)
    session.go_away()
    assert session.receive(client.open(3)) == []
    assert session.receive(data_frame(1, b"x")) == [DataReceived(1, b"x")]
    goaway, reset = client.read(session.data_to_send())
    assert goaway == spdy_wire.GoAway(1)
    assert reset == spdy_wire.RstStream(3, 3)


def test_too_many_streams_are_refused() -> None:
    client, session = opened(*range(1, 2 * spdy.MAX_STREAMS, 2))
    assert session.receive(client.open(2 * spdy.MAX_STREAMS + 1)) == []
    assert client.read(session.data_to_send())[-1] == spdy_wire.RstStream(2 * spdy.MAX_STREAMS + 1, 3)


def test_a_peer_that_keeps_no_windows_gets_everything() -> None:
    client, session = opened(1)
    assert session.send_data(1, bytes(1_000_000)) == 1_000_000
    assert len(data_of(client.read(session.data_to_send()), 1)) == 1_000_000


def test_a_peer_that_keeps_windows_gets_what_they_allow() -> None:
    client, session = opened(1, 3)
    session.receive(initial_window(100_000))
    session.receive(window_update(0, 84_464))  # the session's: 150,000 in all
    assert session.send_data(1, bytes(200_000)) == 100_000
    assert session.send_data(3, bytes(200_000)) == 50_000
    assert session.send_data(3, b"x") == 0
    assert session.receive(window_update(0, 10)) == [spdy.WindowOpened(0)]
    assert session.send_data(3, bytes(200_000)) == 10
    assert session.receive(window_update(1, 20)) == [spdy.WindowOpened(1)]
    assert session.send_data(1, b"x") == 0
    session.receive(window_update(0, 100))
    assert session.send_data(1, bytes(200)) == 20
    assert len(data_of(client.read(session.data_to_send()), 1)) == 100_020


def test_what_was_sent_before_the_first_update_counts() -> None:
    _, session = opened(1)
    assert session.send_data(1, bytes(70_000)) == 70_000
    session.receive(window_update(1, 4464) + window_update(0, 1_000_000))
    assert session.send_data(1, b"x") == 0


def test_a_window_that_overflows() -> None:
    client, session = opened(1)
    assert session.receive(window_update(1, 0x7FFFFFFF)) == [StreamReset(1)]
    assert client.read(session.data_to_send()) == [spdy_wire.RstStream(1, 7)]
    with pytest.raises(SessionError):
        session.receive(window_update(0, 0x7FFFFFFF))


@given(st.lists(st.integers(1, 40_000), max_size=50))
def test_consumed_bytes_are_reported_to_within_half_a_window(sizes: list[int]) -> None:
    client, session = opened(1)
    for size in sizes:
        session.consume(1, size)
    updates = [f for f in client.read(session.data_to_send()) if isinstance(f, spdy_wire.WindowUpdate)]
    for stream_id in (0, 1):
        reported = sum(f.delta for f in updates if f.stream_id == stream_id)
        assert 0 <= sum(sizes) - reported < spdy.INITIAL_WINDOW // 2


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (struct.pack(">HHI", 0x8002, 6, 4) + b"1234", "version 2"),
        (struct.pack(">HHI", 0x8003, 6, 3) + b"123", "PING frame of 3 bytes"),
        (struct.pack(">HHI", 0x8003, 1, 0xFFFFFF), "limit"),
        (control_frame(FrameType.SETTINGS, struct.pack(">I", 2)), "announces 2 entries"),
        (control_frame(FrameType.SYN_STREAM, bytes(12)), "does not decompress"),
        (
            control_frame(FrameType.SYN_REPLY, struct.pack(">I", 1) + spdy_wire.HeaderWriter().encode({})),
            "never opened",
        ),
        (Client().open(2), "stream 2 opened after stream 0"),
        (Client().open(1, {"": "x"}), "is empty or repeated"),
        (Client().open(1, {"big": "x" * 300_000}), "larger than"),
    ],
)
def test_what_ends_the_session(message: bytes, what: str) -> None:
    session = Session()
    with pytest.raises(SessionError, match=what):
        session.receive(message)
    assert Client().read(session.data_to_send()) == [spdy_wire.GoAway(0)]
    with pytest.raises(SessionError):
        session.receive(b"")


def test_unknown_frame_types_are_ignored() -> None:
    client, session = Client(), Session()
    frame = struct.pack(">HHI", 0x8003, 99, 3) + b"abc"
    assert session.receive(frame + client.open(1)) == [StreamOpened(1, {})]


@st.composite
def frames_of_a_client(draw: st.DrawFn) -> bytes:
    """Frames in any order, some right, some of any length, some not frames at all."""
    client = Client()
    ids = st.integers(0, 9)
    parts: list[bytes] = []
    for kind in draw(st.lists(st.sampled_from("odrwpsgxz"), max_size=12)):
        match kind:
            case "o":
                parts.append(client.open(draw(ids), {"streamtype": "data"}, fin=draw(st.booleans())))
            case "d":
                parts.append(data_frame(draw(ids), draw(st.binary(max_size=50)), fin=draw(st.booleans())))
            case "r":
                parts.append(control_frame(FrameType.RST_STREAM, struct.pack(">II", draw(ids), 5)))
            case "w":
                parts.append(window_update(draw(ids), draw(st.integers(0, 0xFFFFFFFF))))
            case "p":
                parts.append(control_frame(FrameType.PING, struct.pack(">I", draw(ids))))
            case "s":
                parts.append(initial_window(draw(st.integers(0, 0xFFFFFFFF))))
            case "g":
                parts.append(control_frame(FrameType.GOAWAY, bytes(8)))
            case "x":
                parts.append(control_frame(draw(st.sampled_from(FrameType)), draw(st.binary(max_size=30))))
            case "z":
                parts.append(draw(st.binary(max_size=30)))
    return b"".join(parts)


@given(frames_of_a_client() | st.binary(max_size=500), st.integers(1, 64))
def test_no_bytes_raise_anything_but_the_session_error(data: bytes, piece: int) -> None:
    session = Session()
    try:
        for start in range(0, len(data), piece):
            for event in session.receive(data[start : start + piece]):
                if isinstance(event, StreamOpened) and session.is_open(event.stream_id):
                    session.reply(event.stream_id)
                    session.send_data(event.stream_id, b"hello")
                    session.end(event.stream_id)
                elif isinstance(event, DataReceived):
                    session.consume(event.stream_id, len(event.data))
    except SessionError:
        pass
    Client().read(session.data_to_send())  # what we say is well-formed whatever we heard


@given(frames_of_a_client(), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_events_do_not_depend_on_how_the_bytes_arrive(data: bytes, pieces: list[int]) -> None:
    def events(chunks: Iterable[bytes]) -> list[spdy.Event]:
        session, heard = Session(), list[spdy.Event]()
        try:
            for chunk in chunks:
                for event in session.receive(chunk):
                    last = heard[-1] if heard else None
                    if isinstance(event, DataReceived) and isinstance(last, DataReceived):
                        if last.stream_id != event.stream_id:
                            heard.append(event)
                        else:
                            heard[-1] = DataReceived(event.stream_id, last.data + event.data)
                    else:
                        heard.append(event)
        except SessionError:
            return []
        return heard

    cuts, at = [0], 0
    for piece in pieces:
        at += piece
        cuts.append(min(at, len(data)))
    cuts.append(len(data))
    whole = events([data[i : i + 1] for i in range(len(data))])
    assert events([data[a:b] for a, b in pairwise(cuts)]) == whole
