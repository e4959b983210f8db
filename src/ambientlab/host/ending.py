"""How a command ends that is told to: with what it began undone, and its children with it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import NoReturn


@contextlib.contextmanager
def in_order() -> Iterator[None]:
    """A time limit (SIGTERM) and a terminal that is closed (SIGHUP, unless it is ignored, as under nohup) end a command
    as Ctrl-C does: nobody would find what it leaves behind."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]

    def end(number: int, frame: object) -> NoReturn:
        del frame
        for each in numbers:
            signal.signal(each, _once)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, end)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _once(number: int, frame: object) -> None:
    """What is being undone is not to be left half done. Unlike SIG_IGN this is nothing that children inherit."""
