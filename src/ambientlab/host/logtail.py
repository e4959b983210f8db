"""A log's last lines and what comes behind them, as `tail -F` shows them, which not every PATH has."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import BinaryIO

_CHUNK = 64 * 1024
_BETWEEN = 100  # milliseconds from one look for more to the next


class _Spoken:
    """Takes a log in CRI form, and writes what was said: whoever said it has put a time of their own before it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._unfinished = b""

    def write(self, chunk: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
        for line in lines:
            _, _, tag, text = line.split(b" ", 3) if line.count(b" ") > 2 else (b"", b"", b"F", line)
            self._out.write(text if tag == b"P" else text + b"\n")


def show(path: Path, out: BinaryIO, *, last: int | None, follow: bool, cri: bool = False) -> None:
    """Write the `last` lines or all, and what is appended for as long as somebody reads `out`; of a log in CRI form
    without what that puts before each line. A file that takes the place of this one, and one that is cut short, are
    read from their beginning. Raises OSError, with a file's name if that cannot be read."""
    lines = _Spoken(out) if cri else out
    file = path.open("rb")
    try:
        file.seek(0 if last is None else _beginning(file, last))
        while True:
            there = _found(path)
            while chunk := file.read(_CHUNK):
                lines.write(chunk)
            out.flush()
            if not follow:
                return
            if there is not None and not os.path.samestat(there, os.fstat(file.fileno())):
                file.close()
                file = path.open("rb")
                continue
            if there is not None and there.st_size < file.tell():
                file.seek(0)
            _wait(out)
    finally:
        file.close()


def _beginning(file: BinaryIO, lines: int) -> int:
    """Where the last lines begin. The last of all need not have an end."""
    position = end = file.seek(0, os.SEEK_END)
    if not lines:
        return end
    while position:
        start = max(0, position - _CHUNK)
        file.seek(start)
        chunk = file.read(position - start)
        at = len(chunk) - 1 if position == end else len(chunk)
        while (at := chunk.rfind(b"\n", 0, at)) >= 0:
            lines -= 1
            if not lines:
                return start + at + 1
        position = start
    return 0


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _wait(out: BinaryIO) -> None:
    """Raises BrokenPipeError when the reader has gone, which a log without new lines would not find out."""
    poll = select.poll()
    poll.register(out, 0)
    if poll.poll(_BETWEEN):
        raise BrokenPipeError
