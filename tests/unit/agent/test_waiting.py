"""Work that is given up leaves nothing behind: no task, and no error that nobody asked for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

from ambientlab.node.agent.waiting import within
from support.manual_clock import ManualClock


async def test_a_failure_in_the_moment_of_giving_up_is_nobodys() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    started, gate = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        await gate.wait()
        raise OSError("refused")

    waiting = asyncio.create_task(within(ManualClock(), 60, work()))
    await started.wait()
    gate.set()
    await asyncio.sleep(0)  # the work fails in this turn, and whoever waits for it is cancelled before it can hear
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    del waiting
    for _ in range(3):  # callbacks that are due hold on to the task
        await asyncio.sleep(0)
    gc.collect()
    assert reported == []
