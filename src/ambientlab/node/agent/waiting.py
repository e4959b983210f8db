"""Waiting with an end: for work, for events, and for work that must not be left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from ambientlab.flow.clock import Clock, sleep

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled and TimeoutError raised when it takes longer than `seconds`."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(sleep(clock, seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        await _given_up(task)


async def _given_up(task: asyncio.Future[Any]) -> None:
    """Returns when the task is over. What it failed with is not for asyncio to report: whoever wanted to know has it,
    or was cancelled in the same moment."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def unless(work: Awaitable[object], *events: asyncio.Event) -> None:
    """Does `work`, which is cancelled when one of the events is set."""
    task = asyncio.ensure_future(work)
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait({task, *waits}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in waits:
            each.cancel()
        await _given_up(task)


async def wait_any(clock: Clock, seconds: float, *events: asyncio.Event) -> bool:
    """Whether one of the events was set before `seconds` had passed."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    timer = asyncio.ensure_future(sleep(clock, seconds))
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
