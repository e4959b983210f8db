"""A clock that tests move."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ambientlab.flow.clock import Timer


class ManualClock:
    """A clock that stands still until it is told to `advance`: tests wait for nothing."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._time = 0.0
        self._timers: list[_ManualTimer] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._time)

    def time(self) -> float:
        return self._time

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = _ManualTimer(when, callback)
        self._timers.append(timer)
        return timer

    def due_within(self, seconds: float) -> bool:
        """Whether anything waits for a moment of the next `seconds`."""
        return any(not timer.cancelled and timer.when <= self._time + seconds for timer in self._timers)

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`, calling in order what falls due on the way."""
        end = self._time + seconds
        while due := [timer for timer in self._timers if timer.when <= end and not timer.cancelled]:
            timer = min(due, key=lambda one: one.when)
            self._timers.remove(timer)
            self._time = max(self._time, timer.when)
            timer.callback()
        self._time = end
        self._timers = [timer for timer in self._timers if not timer.cancelled]


class _ManualTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
