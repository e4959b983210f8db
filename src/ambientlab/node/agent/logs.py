"""Logs of containers as files in CRI form: `<RFC 3339 time> stdout|stderr F|P <line>`.

A file holds one run of a container; at 10 MB it becomes `.1` and a new one begins, so that a run keeps the last 10 to
20 MB. The runs before the previous one are deleted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ambientlab.api import objects
from ambientlab.api.objects import Object
from ambientlab.flow.clock import Clock

ROTATE_AT = 10 * 1024 * 1024
_LONGEST_LINE = 16 * 1024  # longer ones are written in parts, as container runtimes do

Subscriber = Callable[[str, bytes], None]
"""Told (stream, what was written), and at the end ("", b"")."""


class LogFile:
    """The log of one run of a container, or of a component of the daemon. Writing never waits."""

    def __init__(self, path: Path, clock: Clock, rotate_at: int = ROTATE_AT) -> None:
        self.path = path
        self.closed = False
        self._clock = clock
        self._rotate_at = rotate_at
        self._partial: dict[str, bytes] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._subscribers: list[Subscriber] = []
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = _appending(path)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Adds what a process wrote to `stdout` or `stderr`; unfinished lines wait for their end. What comes after the
        log was closed is lost."""
        if self.closed:
            return
        for subscriber in tuple(self._subscribers):
            subscriber(stream, data)
        lines = (self._partial.pop(stream, b"") + data).split(b"\n")
        rest = lines.pop()
        prefix = self._prefix(stream)
        out = []
        for line in lines:
            while len(line) > _LONGEST_LINE:
                out.append(prefix + b" P " + line[:_LONGEST_LINE])
                line = line[_LONGEST_LINE:]
            out.append(prefix + b" F " + line)
        while len(rest) > _LONGEST_LINE:
            out.append(prefix + b" P " + rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        if rest:
            self._partial[stream] = rest
        if out:
            self._append(b"\n".join(out) + b"\n")

    def write_line(self, text: str) -> None:
        """One line of a component's log."""
        self.write("stdout", text.encode() + b"\n")

    def close(self) -> None:
        """Writes what is left, and ends those who follow."""
        if self.closed:
            return
        for stream, rest in self._partial.items():
            self._append(self._prefix(stream) + b" P " + rest + b"\n")
        self._partial.clear()
        self.closed = True
        os.close(self._fd)
        self._wake()
        for subscriber in tuple(self._subscribers):
            subscriber("", b"")

    async def changed(self) -> None:
        """Returns when something was written, or at once when it is closed."""
        if not self.closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Calls `subscriber(stream, data)` with the raw output from now on; returns how to stop that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber) if subscriber in self._subscribers else None

    def _prefix(self, stream: str) -> bytes:
        # Runtimes write nanoseconds; the clock knows microseconds.
        moment = objects.micro_timestamp(self._clock.now()).removesuffix("Z")
        return f"{moment}000Z {stream}".encode()

    def _append(self, data: bytes) -> None:
        # A full disk costs lines of a log, never the container that wrote them.
        with suppress(OSError):
            if self._size and self._size + len(data) > self._rotate_at:
                self._rotate()
        with suppress(OSError):
            written = 0
            while written < len(data):
                written += os.write(self._fd, data[written:])
        self._size += len(data)
        self._wake()

    def _rotate(self) -> None:
        """Raises OSError where that cannot be; then the old file grows on."""
        self.path.replace(rotated(self.path))
        fresh = _appending(self.path)
        os.close(self._fd)
        self._fd, self._size = fresh, 0

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotated(path: Path) -> Path:
    return path.with_name(path.name + ".1")


class LogStore:
    """Where the logs of pods are: `<root>/<namespace>_<pod>_<uid>/<container>/<run>.log`."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._open: dict[Path, LogFile] = {}

    def begin(self, pod: Object, container: str, run: int) -> LogFile:
        """The log of the next run of a container; that of the run before last is deleted."""
        directory = self._directory(pod) / container
        file = LogFile(directory / f"{run}.log", self._clock)
        self._open = {path: log for path, log in self._open.items() if not log.closed}
        self._open[file.path] = file
        for number in self._runs(directory)[:-2]:
            for path in (directory / f"{number}.log", rotated(directory / f"{number}.log")):
                path.unlink(missing_ok=True)
        return file

    def find(self, pod: Object, container: str, *, previous: bool = False) -> tuple[Path, LogFile | None] | None:
        """The log of the latest run or the one before, and its writer while it is still written."""
        directory = self._directory(pod) / container
        runs = self._runs(directory)
        position = -2 if previous else -1
        if len(runs) < -position:
            return None
        path = directory / f"{runs[position]}.log"
        log = self._open.get(path)
        return path, None if log is None or log.closed else log

    def last(self, pod: Object, container: str, lines: int) -> bytes:
        """The text of the last lines of the latest run, at most 64 KiB."""
        if (found := self.find(pod, container)) is None:
            return b""
        with found[0].open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
            entries = file.read().split(b"\n")[-lines - 1 : -1]
        return b"".join(entry.split(b" ", 3)[-1] + b"\n" for entry in entries)

    def delete(self, pod: Object) -> None:
        directory = self._directory(pod)
        for path in [path for path in self._open if path.is_relative_to(directory)]:
            self._open.pop(path).close()
        shutil.rmtree(directory, ignore_errors=True)

    def keep_only(self, pods: list[Object]) -> None:
        """Deletes the logs of pods that are no more."""
        wanted = {self._directory(pod).name for pod in pods}
        if self._root.is_dir():
            for entry in self._root.iterdir():
                if entry.name not in wanted:
                    shutil.rmtree(entry, ignore_errors=True)

    def _directory(self, pod: Object) -> Path:
        # Names and uids of admitted objects are DNS labels and UUIDs: they cannot lead out of the root.
        return self._root / f"{objects.namespace(pod)}_{objects.name(pod)}_{objects.uid(pod)}"

    @staticmethod
    def _runs(directory: Path) -> list[int]:
        if not directory.is_dir():
            return []
        return sorted(int(path.stem) for path in directory.glob("*.log") if path.stem.isdigit())
