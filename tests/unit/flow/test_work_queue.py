"""The work queue's promises: a key waits once, is worked on by one worker at a time, and comes back when due."""

import asyncio

from ambientlab.flow.queue import Backoff, WorkQueue
from support.manual_clock import ManualClock


async def test_a_key_added_many_times_waits_once():
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_a_key_being_worked_on_waits_until_its_worker_is_done():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert queue.idle


async def test_a_waiting_worker_is_woken_by_an_add():
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await worker == "a"


async def test_a_worker_cancelled_after_its_wake_up_passes_it_on():
    queue: WorkQueue[str] = WorkQueue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await second == "a"
    assert first.cancelled()


async def test_delayed_keys_come_in_the_order_of_their_times():
    clock = ManualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_after("late", 10)
    queue.add_after("soon", 1)
    clock.advance(0.5)
    assert len(queue) == 0
    clock.advance(0.5)
    assert await queue.get() == "soon"
    clock.advance(9)
    assert await queue.get() == "late"


async def test_of_several_delays_the_earliest_counts_and_the_others_are_forgotten():
    clock = ManualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    for delay in (10, 2, 5):
        queue.add_after("a", delay)
    clock.advance(2)
    assert await queue.get() == "a"
    queue.done("a")
    clock.advance(20)
    assert queue.idle


async def test_a_delay_of_nothing_is_an_add():
    queue: WorkQueue[str] = WorkQueue(clock=ManualClock())
    queue.add_after("a", 0)
    assert await queue.get() == "a"


async def test_failures_in_a_row_wait_twice_as_long_each_time_up_to_the_maximum():
    queue: WorkQueue[str] = WorkQueue(clock=ManualClock(), backoff=Backoff(initial=1, maximum=10))
    assert [queue.add_rate_limited("a") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert queue.add_rate_limited("b") == 1
    queue.forget("a")
    assert queue.add_rate_limited("a") == 1


def test_backoff_survives_any_number_of_failures():
    assert Backoff(initial=0.005, maximum=60).delay(100_000) == 60


async def test_closing_releases_workers_and_ignores_what_comes_later():
    clock = ManualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add_after("later", 1)
    queue.close()
    assert await asyncio.gather(*workers) == [None, None, None]
    queue.add("a")
    queue.add_after("b", 1)
    clock.advance(10)
    assert await queue.get() is None
    assert queue.idle
