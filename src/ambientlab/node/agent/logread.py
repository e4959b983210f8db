"""Reading a container's log as `kubectl logs` asks for it (v1.PodLogOptions)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from ambientlab.api import objects
from ambientlab.api.kubelet import LogOptions
from ambientlab.node.agent.logs import LogFile, rotated

_CHUNK = 64 * 1024


async def read(path: Path, writer: LogFile | None, options: LogOptions) -> AsyncIterator[bytes]:
    """Chunks of whole lines; with `follow`, until the run ends. `limit_bytes` may cut the last line."""
    since = "" if options.since <= 0 else objects.micro_timestamp(datetime.fromtimestamp(options.since, UTC))
    earliest = since.removesuffix("Z").encode()
    left = options.limit_bytes if options.limit_bytes is not None else -1
    async for lines in _lines(path, writer if options.follow else None, options.tail_lines):
        chunk = b"".join(_render(line, options.timestamps) for line in lines if line[: len(earliest)] >= earliest)
        if 0 <= left <= len(chunk):
            if left:
                yield chunk[:left]
            return
        if left > 0:
            left -= len(chunk)
        if chunk:
            yield chunk


async def _lines(path: Path, writer: LogFile | None, tail: int | None) -> AsyncIterator[list[bytes]]:
    """Batches of entries, oldest first, then as they are written if `writer` is given."""
    file, older = _open(path)
    try:
        if tail is not None:
            _seek_tail(older, file, tail)
        if older is not None:
            while batch := _batch(older):
                yield batch
        while True:
            while batch := _batch(file):
                yield batch
            if writer is None:
                return
            if not _current(file, path):
                file.close()
                file = path.open("rb")
            elif writer.closed:
                return
            else:
                await writer.changed()
    finally:
        file.close()
        if older is not None:
            older.close()


def _open(path: Path) -> tuple[BinaryIO, BinaryIO | None]:
    try:
        older: BinaryIO | None = rotated(path).open("rb")
    except FileNotFoundError:
        older = None
    return path.open("rb"), older


def _current(file: BinaryIO, path: Path) -> bool:
    """Whether `file` is still the one at `path`, or the last that was: it has not been rotated away."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:  # deleted with its pod
        return True


def _batch(file: BinaryIO) -> list[bytes]:
    """The next entries. One that is still being written is left for later."""
    position = file.tell()
    data = file.read(_CHUNK)
    end = data.rfind(b"\n") + 1
    if data and not end and len(data) == _CHUNK:
        data += file.readline()
        end = len(data)
    file.seek(position + end)
    return _entries(data[:end])


def _seek_tail(older: BinaryIO | None, file: BinaryIO, count: int) -> None:
    """Positions both files so that what follows are the last `count` lines."""
    missing = _seek_back(file, count)
    if older is not None:
        if missing > 0:
            _seek_back(older, missing)
        else:
            older.seek(0, 2)


def _seek_back(file: BinaryIO, count: int) -> int:
    """Moves to the start of the last `count` lines; returns how many are missing (then it is at the beginning)."""
    position = end = file.seek(0, 2)
    tail = b""
    while True:
        entries = _entries(tail)
        # Entry i starts a line unless the one before it is a part (P) of the same line; the first is not known yet.
        starts = [i for i in range(1, len(entries)) if _full(entries[i - 1])]
        if position == 0 and entries:
            starts.insert(0, 0)
        if len(starts) >= count or position == 0:
            break
        step = min(max(_CHUNK, len(tail)), position)
        position -= step
        file.seek(position)
        tail = file.read(end - position)
    first = starts[-count] if 0 < count <= len(starts) else (len(entries) if count == 0 else 0)
    file.seek(end - sum(len(entry) for entry in entries[first:]))
    return max(count - len(starts), 0)


def _entries(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def _full(entry: bytes) -> bool:
    return entry.split(b" ", 3)[2:3] == [b"F"]


def _render(entry: bytes, timestamps: bool) -> bytes:
    parts = entry.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 4:
        return b""
    moment, _, tag, text = parts
    line = text + b"\n" if tag == b"F" else text
    return moment + b" " + line if timestamps else line
