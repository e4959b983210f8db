"""How a program begins, whatever its streams are, and how it ends that is interrupted or told to end, whose output goes
nowhere, or that meets a file which is not for it.

It ends with the exit codes that shells expect: click has 1 for an interruption and for a reader that went away, and a
traceback for a full disk.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ambientlab.cli.output import fail
from ambientlab.host import ending

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What is wrong with a place that takes no more output; such an error names no file."""


class Program(click.Group):
    """The outermost group of a program."""

    def main(self, *arguments: Any, **extra: Any) -> Any:
        _hold_standard_descriptors()
        _write_in_any_encoding()
        return super().main(*arguments, **extra)

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Which writes the help that is asked for."""
        with _ending():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _ending(), ending.in_order():
            return super().invoke(ctx)


def _hold_standard_descriptors() -> None:
    """Where a shell has closed one (`>&-`), the next file would get its number, and a child would take it for its own
    output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _write_in_any_encoding() -> None:
    """Ticks and lines are no reason to fail where there is no way to write them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="replace")


@contextmanager
def _ending() -> Iterator[None]:
    """SystemExit, since click takes its own Exit for a result where it is not to end the program."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        _to_nowhere()
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if error.filename is not None:
            fail(f"cannot use {os.fsdecode(error.filename)}: {error.strerror}")
        if error.errno not in _FULL:
            raise
        _to_nowhere()
        fail(f"cannot write: {error.strerror}")


def _to_nowhere() -> None:
    """What is buffered would fail again as the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
