"""A queue of keys that need work, where a key is a name for the latest state of something, not for one change to it.

A key waits at most once and is worked on by at most one worker at a time: added again while it is being worked on, it
waits until that worker is done. So a burst of changes costs one more pass, and a pass never races with itself. The
semantics are those of client-go's rate limiting work queue.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ambientlab.flow.clock import Clock, LoopClock, Timer

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backoff:
    """`initial` seconds after the first failure in a row, doubled for each further one up to `maximum`."""

    initial: float = 0.005
    maximum: float = 60.0

    def delay(self, failures: int) -> float:
        # 2.0**1024 overflows: a key that has failed for days must not.
        return min(self.initial * 2.0 ** min(failures - 1, 64), self.maximum)


class WorkQueue(Generic[K]):
    def __init__(self, *, clock: Clock | None = None, backoff: Backoff | None = None) -> None:
        self._clock = clock or LoopClock()
        self._backoff = backoff or Backoff()
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """How many keys are ready to be worked on."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing ready and nothing being worked on; keys may be waiting for their time."""
        return not self._ready and not self._processing

    def add(self, key: K) -> None:
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._make_ready(key)

    def add_after(self, key: K, delay: float) -> None:
        """Add `key` in `delay` seconds. Of several times the earliest counts; an `add` meanwhile does not cancel it."""
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        when = self._clock.time() + delay
        if key in self._due and self._due[key] <= when:
            return
        self._due[key] = when
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, key))
        self._arm()

    def add_rate_limited(self, key: K) -> float:
        """Add `key` after the backoff its failures in a row have earned; returns the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(failures)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """`key` has succeeded, or will not be tried again: its next failure counts as the first."""
        self._failures.pop(key, None)

    async def get(self) -> K | None:
        """The next key, to be given back with `done`. None once the queue is closed."""
        while not self._ready and not self._closed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # the wake-up was ours to use: pass it on
                raise
        if self._closed:
            return None
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        self._processing.discard(key)
        if key in self._dirty and not self._closed:
            self._make_ready(key)

    def close(self) -> None:
        """Drop everything that waits and release every `get`."""
        self._closed = True
        self._ready.clear()
        self._dirty.clear()
        self._due.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._getters:
            self._wake()

    def _make_ready(self, key: K) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            waiter = self._getters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        """One timer, for the earliest key, however many wait."""
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._clock.time()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:  # not superseded by an earlier time
                del self._due[key]
                self.add(key)
        self._arm()
