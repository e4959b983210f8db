"""What a reconciler does with a key decides when the key comes back; the controller does the rest."""

import asyncio
import logging

import pytest

from ambientlab.flow.queue import Backoff
from ambientlab.flow.reconcile import Controller, PermanentError, TemporaryError
from support.manual_clock import ManualClock


class Script:
    """A reconciler that does for each pass over "key" what the script says next, and nothing when it has ended."""

    name = "script"

    def __init__(self, *steps):
        self.steps = list(steps)
        self.passes = 0
        self.watching = True

    def watch(self, queue):
        self.queue = queue
        queue.add("key")

        def stop():
            self.watching = False

        return [stop]

    async def reconcile(self, key):
        self.passes += 1
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, Exception):
            raise step
        return step


async def rest(controller):
    """Until the controller has nothing to do now."""
    for _ in range(1000):
        await asyncio.sleep(0)
        if controller.idle:
            return
    pytest.fail("the controller does not come to rest")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.mark.parametrize(
    ("step", "delay", "level"),
    [
        (None, None, None),
        (30.0, 30, None),
        (TemporaryError("no node yet", delay=7), 7, logging.INFO),
        (PermanentError("spec.selector is empty"), None, logging.WARNING),
        (KeyError("quiet"), 1, None),
        (ValueError("boom"), 1, logging.ERROR),
    ],
)
async def test_when_a_key_comes_back(step, delay, level, clock, caplog):
    caplog.set_level(logging.INFO)
    script = Script(step)
    controller = Controller(
        script, clock=clock, backoff=Backoff(initial=1), quiet=lambda error: isinstance(error, KeyError)
    )
    controller.start()
    await rest(controller)
    assert script.passes == 1
    assert [record.levelno for record in caplog.records] == ([level] if level else [])
    assert all("script: key" in record.getMessage() for record in caplog.records)
    if delay is None:
        clock.advance(1000)
        await rest(controller)
        assert script.passes == 1
    else:
        clock.advance(delay - 0.1)
        await rest(controller)
        assert script.passes == 1
        clock.advance(0.1)
        await rest(controller)
        assert script.passes == 2
    await controller.stop()


async def test_a_streak_of_failures_is_logged_once_and_again_after_a_success(clock, caplog):
    script = Script(ValueError("one"), ValueError("two"), None, ValueError("three"))
    controller = Controller(script, clock=clock, backoff=Backoff(initial=1))
    controller.start()
    for _ in range(3):
        await rest(controller)
        clock.advance(10)
    await rest(controller)
    script.queue.add("key")
    await rest(controller)
    assert script.passes == 4
    assert [str(record.exc_info[1]) for record in caplog.records] == ["one", "three"]
    await controller.stop()


async def test_one_failing_key_does_not_hold_up_the_others(clock):
    done = []

    class Mixed(Script):
        async def reconcile(self, key):
            if key == "key":
                raise ValueError(key)
            done.append(key)

    mixed = Mixed()
    controller = Controller(mixed, workers=1, clock=clock)
    controller.start()
    mixed.queue.add("other")
    await rest(controller)
    assert done == ["other"]
    await controller.stop()


async def test_a_key_is_never_reconciled_by_two_workers_while_others_are(clock):
    gate = asyncio.Event()
    running = []

    class Slow(Script):
        async def reconcile(self, key):
            assert key not in running
            running.append(key)
            await gate.wait()
            running.remove(key)

    slow = Slow()
    controller = Controller(slow, workers=4, clock=clock)
    controller.start()
    slow.queue.add("other")
    await asyncio.sleep(0)
    slow.queue.add("key")
    await asyncio.sleep(0)
    assert sorted(running) == ["key", "other"]
    gate.set()
    await rest(controller)
    assert running == []
    await controller.stop()


async def test_stop_ends_the_watches_and_cancels_what_is_under_way(clock):
    cancelled = asyncio.Event()

    class Endless(Script):
        async def reconcile(self, key):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    endless = Endless()
    controller = Controller(endless, clock=clock)
    controller.start()
    await asyncio.sleep(0)
    await controller.stop()
    await controller.stop()
    assert cancelled.is_set()
    assert not endless.watching


async def test_run_works_until_cancelled(clock):
    script = Script()
    controller = Controller(script, clock=clock)
    running = asyncio.create_task(controller.run())
    await asyncio.sleep(0)
    await rest(controller)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert script.passes == 1
    assert not script.watching
