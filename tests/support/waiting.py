"""Waiting for what no event announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Fails the test, naming `what`, if the condition does not come true in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.002)


async def becomes(ask: Callable[[], Awaitable[T]], wanted: T, seconds: float = 20.0) -> None:
    """Asks until the answer is the wanted one; where that is not in time, the test fails and shows the last."""
    deadline = asyncio.get_running_loop().time() + seconds
    while (found := await ask()) != wanted:
        assert asyncio.get_running_loop().time() < deadline, f"{found!r} does not become {wanted!r} in {seconds} s"
        await asyncio.sleep(0.01)


def eventually(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """As `until`, for tests that run commands: asking takes long enough to need no pause."""
    first(holds, bool, what, seconds)


def first(ask: Callable[[], T], wanted: Callable[[T], object], what: str, seconds: float = 20.0) -> T:
    """The first answer that is as wanted; where none is in time, the test fails and shows the last."""
    deadline = time.monotonic() + seconds
    while not wanted(answer := ask()):
        assert time.monotonic() < deadline, f"no {what} for {seconds} s: {answer}"
    return answer
