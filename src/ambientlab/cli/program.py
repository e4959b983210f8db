"""How a program ends that is interrupted, or whose output goes nowhere: with the exit codes that shells expect.

click has 1 for an interruption and for a reader that went away, and a traceback for a full disk.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ambientlab.cli.output import EXIT_FAILURE, talk

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What is wrong with a place that takes no more output; such an error names no file."""


class Program(click.Group):
    """The outermost group of a program."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Which writes the help that is asked for."""
        with _ending():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _ending():
            return super().invoke(ctx)


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
        if error.errno not in _FULL or error.filename is not None:
            raise
        _to_nowhere()
        talk(f"Error: cannot write: {error.strerror}", fg="red")
        raise SystemExit(EXIT_FAILURE) from None


def _to_nowhere() -> None:
    """What is buffered would fail again as the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
