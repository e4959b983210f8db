"""Time as the agent sees it, so that tests can make minutes pass in an instant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled and TimeoutError raised when it takes longer than `seconds`."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def wait_any(clock: Clock, seconds: float, *events: asyncio.Event) -> bool:
    """Whether one of the events was set before `seconds` had passed."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({*waits, timer}, return_when=asyncio.FIRST_COMPLETED)
        return any(event.is_set() for event in events)
    finally:
        for task in (*waits, timer):
            task.cancel()


async def to_completion(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` to its end even when the caller is cancelled meanwhile.

    A sandbox or process that comes into being must be recorded by `work` itself, or nobody could end it.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
