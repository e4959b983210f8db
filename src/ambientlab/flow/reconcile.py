"""Control loops: bring what is to what should be, one key at a time, until they agree.

A `Reconciler` says which keys changes concern (`watch`) and what to do about one (`reconcile`); the `Controller` owns
everything that is the same for all of them: workers, retries, the log. What `reconcile` does with a key decides when
the key comes back:

    returns None          not before something changes
    returns seconds       after that time, or when something changes
    TemporaryError        after the delay it names; logged as information
    PermanentError        not before something changes; logged as a warning
    anything `quiet`      with backoff, unlogged: a lost race that the next pass wins
    any other exception   with backoff; logged with its traceback once per streak of failures
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, Protocol, TypeVar

from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import Backoff, WorkQueue

K = TypeVar("K", bound=Hashable)
Stop = Callable[[], None]

log = logging.getLogger(__name__)


class TemporaryError(Exception):
    """What `reconcile` needs is not there yet: try again in `delay` seconds."""

    def __init__(self, message: str, *, delay: float) -> None:
        super().__init__(message)
        self.delay = delay


class PermanentError(Exception):
    """Trying again cannot help until something changes."""


class Reconciler(Protocol[K]):
    """`name` is for people: it opens every line the controller logs."""

    @property
    def name(self) -> str: ...

    def watch(self, queue: WorkQueue[K]) -> Iterable[Stop]:
        """Begin to add the keys that changes concern, those of everything that exists now first. Returns what ends
        it. Handlers only enqueue."""
        ...

    async def reconcile(self, key: K) -> float | None:
        """Idempotent: reads the state as it is now, whatever change `key` was added for."""
        ...


class Controller(Generic[K]):
    """Runs one reconciler with up to `workers` keys at a time."""

    def __init__(
        self,
        reconciler: Reconciler[K],
        *,
        workers: int = 8,
        quiet: Callable[[Exception], bool] = lambda error: False,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._reconciler = reconciler
        self._workers = workers
        self._quiet = quiet
        self._queue: WorkQueue[K] = WorkQueue(clock=clock, backoff=backoff)
        self._stops: list[Stop] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: set[K] = set()

    @property
    def name(self) -> str:
        return self._reconciler.name

    @property
    def idle(self) -> bool:
        """Nothing to do now: what is left waits for its time or for a change."""
        return self._queue.idle

    def start(self) -> None:
        """Watch, and begin to work. Called on the event loop, once."""
        self._stops = list(self._reconciler.watch(self._queue))
        self._tasks = [
            asyncio.create_task(self._work(), name=f"{self.name}-{number}") for number in range(self._workers)
        ]

    async def stop(self) -> None:
        """Stop watching and cancel what is under way. Idempotent."""
        for stop in self._stops:
            stop()
        self._stops = []
        self._queue.close()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Work until cancelled."""
        self.start()
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self.stop()

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            try:
                await self._attempt(key)
            finally:
                self._queue.done(key)

    async def _attempt(self, key: K) -> None:
        try:
            again = await self._reconciler.reconcile(key)
        except TemporaryError as error:
            log.info("%s: %s: %s; next try in %g s", self.name, key, error, error.delay)
            self._settle(key)
            self._queue.add_after(key, error.delay)
        except PermanentError as error:
            log.warning("%s: %s: %s", self.name, key, error)
            self._settle(key)
        except Exception as error:
            delay = self._queue.add_rate_limited(key)
            if key not in self._failing and not self._quiet(error):
                self._failing.add(key)
                log.error("%s: %s failed; next try in %g s", self.name, key, delay, exc_info=error)
        else:
            self._settle(key)
            if again is not None:
                self._queue.add_after(key, again)

    def _settle(self, key: K) -> None:
        self._queue.forget(key)
        self._failing.discard(key)
