"""Pipes and terminals between the agent and the processes it starts."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import suppress

from ambientlab.node.agent.logs import LogFile

_CHUNK = 64 * 1024


async def chunks(fd: int) -> AsyncIterator[bytes]:
    """What can be read from `fd` until its other side is closed. Reads only when asked: a slow reader holds back the
    writer. Closing stays with the caller."""
    os.set_blocking(fd, False)
    while True:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            await _ready(fd, write=False)
            continue
        except OSError:  # EIO: the last process of a terminal is gone
            return
        if not data:
            return
        yield data


async def write_all(fd: int, data: bytes) -> None:
    """Returns when everything is taken; what a process that is gone does not take is dropped."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, write=True)
        except OSError:
            return


async def _ready(fd: int, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    (loop.add_writer if write else loop.add_reader)(fd, wake)
    try:
        await waiter
    finally:
        (loop.remove_writer if write else loop.remove_reader)(fd)


def resize(terminal: int, columns: int, rows: int) -> None:
    clamp = [max(0, min(value, 0xFFFF)) for value in (rows, columns)]
    with suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *clamp, 0, 0))


class Pipes:
    """Standard streams of a process as pipes. `child` are its ends, closed by `started`; ours are -1 when there is no
    such stream or it is closed."""

    def __init__(self, *, stdin: bool) -> None:
        self.stdin = -1
        if stdin:
            their_in, self.stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self.stdin, False)
        else:
            their_in = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.stdout, their_out = os.pipe2(os.O_CLOEXEC)
        self.stderr, their_err = os.pipe2(os.O_CLOEXEC)
        self.child: tuple[int, int, int] = (their_in, their_out, their_err)
        self.terminal = -1

    def started(self) -> None:
        for fd in set(self.child) - {-1}:
            os.close(fd)
        self.child = (-1, -1, -1)

    def close(self) -> None:
        for fd in {self.stdin, self.stdout, self.stderr} - {-1}:
            os.close(fd)
        self.stdin = self.stdout = self.stderr = self.terminal = -1

    def close_stdin(self) -> None:
        if self.stdin >= 0 and self.stdin != self.terminal:
            os.close(self.stdin)
            self.stdin = -1


class Terminal(Pipes):
    """A terminal in place of the pipes, for a container with `tty: true`: both outputs are one."""

    def __init__(self, master: int = -1) -> None:
        """`master` is the end of a terminal that a runtime has made; without it, one is made here."""
        slave = -1
        if master < 0:
            master, slave = os.openpty()
        os.set_blocking(master, False)
        self.terminal = self.stdin = self.stdout = master
        self.stderr = -1
        self.child = (slave, slave, slave)


class Drain:
    """Moves what a process writes into its log, as fast as it comes."""

    def __init__(self, pipes: Pipes, log: LogFile) -> None:
        self._log = log
        self._readers = {
            fd: asyncio.create_task(self._copy(name, fd))
            for name, fd in (("stdout", pipes.stdout), ("stderr", pipes.stderr))
            if fd >= 0
        }

    async def _copy(self, stream: str, fd: int) -> None:
        async for data in chunks(fd):
            self._log.write(stream, data)
            await asyncio.sleep(0)  # one chatty process must not keep the others waiting

    async def finish(self) -> None:
        """Takes what is left in the pipes of a process that has ended. A descendant that still holds them open, out of
        reach of its end, is not waited for."""
        for _ in range(3):
            await asyncio.sleep(0)
        for fd, task in self._readers.items():
            waiting = not task.done() and not _readable(fd)
            if waiting:
                task.cancel()
        while unfinished := [task for task in self._readers.values() if not task.done()]:
            await asyncio.wait(unfinished, timeout=0.05)
            for fd, task in self._readers.items():
                if not task.done() and not _readable(fd):
                    task.cancel()


def _readable(fd: int) -> bool:
    """Whether there are bytes to read now."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))
        return bool(count)
    except OSError:
        return False
