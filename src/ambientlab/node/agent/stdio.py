"""Pipes and terminals between the agent and the processes it starts."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from ambientlab.node.agent.logs import LogFile

log = logging.getLogger(__name__)

_CHUNK = 64 * 1024


class Stream:
    """Our end of a pipe or terminal. It may be closed while others wait for it: they end, and the number of the
    descriptor can be used again safely."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._waiters: set[asyncio.Future[None]] = set()
        self._writing = asyncio.Lock()

    @property
    def closed(self) -> bool:
        return self._fd < 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """What can be read until the other side is closed. It is read only when asked for, so that a slow reader holds
        back the writer."""
        while not self.closed:
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                await self._ready(write=False)
                continue
            except OSError:  # EIO: the last process of a terminal is gone
                return
            if not data:
                return
            yield data

    async def write(self, data: bytes) -> None:
        """Returns when everything is taken; what a process that is gone does not take is dropped. Of several who write
        each waits for the others."""
        view = memoryview(data)
        async with self._writing:
            while view and not self.closed:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    await self._ready(write=True)
                except OSError:
                    return

    def readable(self) -> int:
        """How many bytes there are to read now."""
        try:
            (count,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4))
        except (OSError, ValueError):  # ValueError: closed, -1 is no descriptor
            return 0
        return int(count)

    def take(self) -> bytes:
        """These bytes, or the first of many."""
        return os.read(self._fd, count) if (count := self.readable()) else b""

    def resize(self, columns: int, rows: int) -> None:
        """Of a terminal."""
        clamped = [max(0, min(value, 0xFFFF)) for value in (rows, columns)]
        with suppress(OSError, ValueError):
            fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", *clamped, 0, 0))

    def close(self) -> None:
        if self.closed:
            return
        fd, self._fd = self._fd, -1
        if self._waiters:
            loop = asyncio.get_running_loop()
            loop.remove_reader(fd)
            loop.remove_writer(fd)
            for waiter in self._waiters:
                _wake(waiter)
        os.close(fd)

    async def _ready(self, *, write: bool) -> None:
        loop, fd = asyncio.get_running_loop(), self._fd
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        (loop.add_writer if write else loop.add_reader)(fd, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if not self.closed:
                (loop.remove_writer if write else loop.remove_reader)(fd)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Pipes:
    """The standard streams of a process. `child` are its ends, which `started` closes here; the others are ours."""

    stdin: Stream | None
    stderr: Stream | None
    terminal: Stream | None = None

    def __init__(self, *, stdin: bool) -> None:
        """Raises OSError where there are no more descriptors."""
        ends: list[int] = []
        try:
            ends += os.pipe2(os.O_CLOEXEC)
            ends += os.pipe2(os.O_CLOEXEC)
            ends += os.pipe2(os.O_CLOEXEC) if stdin else (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC),)
        except OSError:
            for end in ends:
                os.close(end)
            raise
        our_out, their_out, our_err, their_err, their_in, *our_in = ends
        self.stdout, self.stderr = Stream(our_out), Stream(our_err)
        self.stdin = Stream(*our_in) if our_in else None
        self.child: tuple[int, int, int] = (their_in, their_out, their_err)

    def started(self) -> None:
        for fd in set(self.child) - {-1}:
            os.close(fd)
        self.child = (-1, -1, -1)

    def close_stdin(self) -> None:
        """The process reads the end of its input. A terminal has none: its user types it."""
        if self.stdin is not None and self.terminal is None:
            self.stdin.close()

    def close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()


class Terminal(Pipes):
    """A terminal in place of the pipes: both outputs are one."""

    def __init__(self, master: int = -1) -> None:
        """`master` is the end of a terminal that a runtime has made; without it, one is made here."""
        slave = -1
        if master < 0:
            master, slave = os.openpty()
        self.terminal = self.stdin = self.stdout = Stream(master)
        self.stderr = None
        self.child = (slave, slave, slave)


class Drain:
    """Moves what a process writes into its log, as fast as it comes; its standard output by way of what `output` makes,
    and as it is where that fails: a process whose pipe nobody reads stands still. `output` is given what adds whole
    lines to the log besides, after those that the process has written by then."""

    def __init__(
        self,
        pipes: Pipes,
        log: LogFile,
        output: Callable[[Callable[[bytes], None]], Callable[[bytes], bytes]] | None = None,
    ) -> None:
        self._log = log
        self._stdout = pipes.stdout
        self._output = None if output is None else output(self._add)
        self._copies = {
            stream: asyncio.create_task(self._copy(name, stream))
            for name, stream in (("stdout", pipes.stdout), ("stderr", pipes.stderr))
            if stream is not None
        }

    def _add(self, lines: bytes) -> None:
        self._write("stdout", self._stdout.take())
        self._log.write("stdout", lines)

    async def _copy(self, name: str, stream: Stream) -> None:
        async for data in stream.chunks():
            self._write(name, data)
            await asyncio.sleep(0)  # one chatty process must not keep the others waiting

    def _write(self, name: str, data: bytes) -> None:
        output = self._output if name == "stdout" else None
        self._log.write(name, data if output is None else _through(output, data))

    async def finish(self) -> None:
        """Takes what is left in the pipes of a process that has ended. A descendant that still holds them open, out of
        reach of its end, is not waited for."""
        while any(not task.done() for task in self._copies.values()):
            for stream, task in self._copies.items():
                if not task.done() and not stream.readable():
                    stream.close()
            await asyncio.sleep(0)


def _through(output: Callable[[bytes], bytes], data: bytes) -> bytes:
    try:
        return output(data)
    except Exception:  # whatever it is, it is a fault of this program, and none of the process
        log.exception("a log goes on with lines as they are written")
        return data
