"""Waypoints go on for what has moved away from them, for as long as somebody may be on the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Set
from typing import TypeVar

from ambientlab.flow.collection import Change, Source
from ambientlab.mesh.ir import Key, Mesh, Service, Workload
from ambientlab.mesh.xds.waypoint import Waypoints

K = TypeVar("K", bound=Hashable)

DEPARTURE = 5.0
"""Seconds that a waypoint goes on for a service that has moved away, once the node proxies know: for connections on the
way to it, and requests that it delays. As long as one that ends has for them."""


class Departures:
    """`told` is whether the node proxies run all that there is for them to know; `ended` is called when waypoints have
    something less to do."""

    def __init__(self, mesh: Mesh, waypoints: Waypoints, told: Callable[[], bool], ended: Callable[[], None]) -> None:
        self._services = waypoints.leaving
        self._workloads = waypoints.leaving_workloads
        self._told = told
        self._ended = ended
        self._timer: asyncio.TimerHandle | None = None
        mesh.services.watch(self._service_changed)
        mesh.workloads.watch(self._workload_changed)

    def count_down(self) -> None:
        """From the beginning: the node proxies have just been told something."""
        self.stop()
        if self._services or self._workloads:
            self._timer = asyncio.get_running_loop().call_later(DEPARTURE, self._let_go)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _service_changed(self, host: str, change: Change[Service]) -> None:
        if change.old is not None and change.new is not None:
            before, now = ({gateway for gateway, _ in each.waypoints} for each in (change.old, change.new))
            _moved(self._services, host, before, now)

    def _workload_changed(self, key: Key, change: Change[Workload]) -> None:
        if change.old is not None and change.new is not None:
            before, now = ({gateway for gateway in (each.waypoint,) if gateway} for each in (change.old, change.new))
            _moved(self._workloads, key, before, now)

    def _let_go(self) -> None:
        if not self._told():
            self.count_down()
            return
        self._timer = None
        _forget(self._services)
        _forget(self._workloads)
        self._ended()


def _moved(leaving: Source[tuple[Key, K], Key], key: K, before: Set[Key], now: Set[Key]) -> None:
    for gateway in before - now:
        leaving.set((gateway, key), gateway)
    for gateway in now:
        leaving.delete((gateway, key))


def _forget(leaving: Source[tuple[Key, K], Key]) -> None:
    for place in list(leaving):
        leaving.delete(place)
