"""Startup, readiness and liveness probes of one run of a container.

Rules: kubernetes.io "Configure Liveness, Readiness and Startup Probes"; pkg/kubelet/prober. As that page allows, a
container that is not ready yet is probed sooner than its period asks, so that it becomes ready as soon as it can;
those extra attempts count for nothing when they fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from ambientlab.api.objects import Object
from ambientlab.flow.clock import Clock, sleep
from ambientlab.node.agent.actions import Outcome

_FIRST_PAUSE = 0.01  # seconds between the first two attempts
_LONGER = 1.05  # times each pause is as long as the one before: what takes long is seen when it has taken little longer
_GRACE = 1.0  # seconds before a failure counts, at most a period: a program needs a moment to listen

Attempt = Callable[[Object, float], Awaitable[Outcome]]
"""(probe, timeout in seconds) -> outcome."""


class Listener(Protocol):
    """Told what the probes find."""

    def started(self) -> None: ...

    def readiness(self, ready: bool) -> None: ...

    def unhealthy(self, probe: str, detail: str) -> None:
        """A probe (`Readiness`, `Liveness`, `Startup`) has failed."""
        ...

    def condemned(self, probe: str) -> None:
        """The container must be ended: its liveness or startup probe has failed too often."""
        ...


async def watch(container: Object, attempt: Attempt, listener: Listener, clock: Clock) -> None:
    """Probes until cancelled, or until the container is condemned."""
    startup = container.get("startupProbe")
    if startup and not await _first_success("Startup", startup, attempt, listener, clock, deadly=True):
        listener.condemned("Startup")
        return
    listener.started()
    readiness, liveness = container.get("readinessProbe"), container.get("livenessProbe")
    if not readiness:
        listener.readiness(True)
    async with asyncio.TaskGroup() as probes:
        if readiness:
            probes.create_task(_watch_readiness(readiness, attempt, listener, clock))
        if liveness:
            probes.create_task(_watch_liveness(liveness, attempt, listener, clock))


async def _watch_readiness(probe: Object, attempt: Attempt, listener: Listener, clock: Clock) -> None:
    while True:
        await _first_success("Readiness", probe, attempt, listener, clock, deadly=False)
        listener.readiness(True)
        await _until_failed("Readiness", probe, attempt, listener, clock)
        listener.readiness(False)
        await sleep(clock, _period(probe))


async def _watch_liveness(probe: Object, attempt: Attempt, listener: Listener, clock: Clock) -> None:
    await sleep(clock, probe.get("initialDelaySeconds", 0))
    await _until_failed("Liveness", probe, attempt, listener, clock)
    listener.condemned("Liveness")


async def _first_success(
    name: str, probe: Object, attempt: Attempt, listener: Listener, clock: Clock, *, deadly: bool
) -> bool:
    """Returns True once it has succeeded `successThreshold` times in a row; False for a deadly probe that failed too
    often."""
    await sleep(clock, probe.get("initialDelaySeconds", 0))
    period, pause = _period(probe), _FIRST_PAUSE
    due = clock.time() + min(period, _GRACE)
    successes = failures = 0
    while True:
        outcome = await attempt(probe, _timeout(probe))
        now = clock.time()
        if outcome.ok:
            successes += 1
            if successes >= probe.get("successThreshold", 1):
                return True
        else:
            successes = 0
            if now >= due:
                listener.unhealthy(name, outcome.detail)
                failures += 1
                if deadly and failures >= probe.get("failureThreshold", 3):
                    return False
        if now >= due:
            due = now + period
        await sleep(clock, max(min(pause, due - now), 0.001))
        pause = min(_LONGER * pause, period)


async def _until_failed(name: str, probe: Object, attempt: Attempt, listener: Listener, clock: Clock) -> None:
    failures = 0
    while failures < probe.get("failureThreshold", 3):
        await sleep(clock, _period(probe))
        outcome = await attempt(probe, _timeout(probe))
        if outcome.ok:
            failures = 0
        else:
            failures += 1
            listener.unhealthy(name, outcome.detail)


def _period(probe: Object) -> float:
    return max(float(probe.get("periodSeconds") or 10), 1.0)


def _timeout(probe: Object) -> float:
    return max(float(probe.get("timeoutSeconds") or 1), 1.0)
