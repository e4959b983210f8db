"""Which lines are a log's last."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ambientlab.host import logtail
from ambientlab.node.agent.logs import LogFile
from support.manual_clock import ManualClock

LONG = b"x" * 150_000


@pytest.mark.parametrize(
    ("content", "last", "shown"),
    [
        (b"", 3, b""),
        (b"1\n2\n3\n", None, b"1\n2\n3\n"),
        (b"1\n2\n3\n", 0, b""),
        (b"1\n2\n3\n", 2, b"2\n3\n"),
        (b"1\n2\n3\n", 3, b"1\n2\n3\n"),
        (b"1\n2\n3\n", 4, b"1\n2\n3\n"),
        (b"1\n2\n3", 2, b"2\n3"),
        (b"1\n\n\n", 2, b"\n\n"),
        (b"1\n" + LONG + b"\n3\n", 2, LONG + b"\n3\n"),
        (b"1\n" + LONG + b"\n" + LONG, 1, LONG),
        (LONG, 1, LONG),
    ],
)
def test_the_last_lines(tmp_path: Path, content: bytes, last: int | None, shown: bytes) -> None:
    log, out = tmp_path / "log", io.BytesIO()
    log.write_bytes(content)
    logtail.show(log, out, last=last, follow=False)
    assert out.getvalue() == shown


def test_a_line_may_begin_where_a_chunk_does(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for length in range(logtail._CHUNK - 2, logtail._CHUNK + 3):
        log.write_bytes(b"1\n" + b"y" * length + b"\n")
        out = io.BytesIO()
        logtail.show(log, out, last=1, follow=False)
        assert out.getvalue() == b"y" * length + b"\n"


@pytest.mark.parametrize("last", [None, 2])
def test_a_component_says_its_time_itself(tmp_path: Path, last: int | None) -> None:
    """Its log is in CRI form, for `kubectl logs`; a long line is in parts there."""
    with_time = "2026-11-26T10:00:00.000000Z\tinfo\tads\t"
    said = [with_time + "first", with_time + "y" * 20_000, "  without a time"]
    log, out = LogFile(tmp_path / "istiod.log", ManualClock()), io.BytesIO()
    for line in said:
        log.write_line(line)
    log.close()
    logtail.show(log.path, out, last=last, follow=False, cri=True)
    shown = out.getvalue().decode().splitlines()
    assert shown == said if last is None else shown == ["y" * (20_000 + len(with_time) - 16 * 1024), said[-1]]
