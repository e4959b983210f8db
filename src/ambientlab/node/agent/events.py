"""Events about pods and the node: written in the background, repeated ones counted instead of multiplied.

Reasons and messages are those of the kubelet (pkg/kubelet/events), because people search for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ambientlab.api import kinds, objects
from ambientlab.api.client import Client
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.cluster import NODE_NAME
from ambientlab.flow.clock import Clock

log = logging.getLogger(__name__)

_REMEMBERED = 4096  # distinct events whose repetitions are counted; client-go's correlator keeps as many
_COMPONENT = "kubelet"


@dataclass(slots=True)
class _Series:
    event: Object
    count: int = 0
    written: int = 0
    last: datetime | None = None


class EventRecorder:
    """`record` never waits and never fails; `run` writes what was recorded."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._pending: dict[tuple[str, ...], _Series] = {}
        self._recorded = asyncio.Event()

    def record(
        self, about: Object, kind: Literal["Normal", "Warning"], reason: str, message: str, field_path: str = ""
    ) -> None:
        """An event about a pod or the node; `field_path` names a container, as `spec.containers{web}`."""
        key = (objects.uid(about), objects.name(about), field_path, kind, reason, message)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(self._event(about, kind, reason, message, field_path))
            if len(self._series) > _REMEMBERED:
                self._series.popitem(last=False)
        self._series.move_to_end(key)
        series.count += 1
        series.last = self._clock.now()
        self._pending[key] = series
        self._recorded.set()

    async def run(self) -> None:
        while True:
            await self._recorded.wait()
            self._recorded.clear()
            await self.flush()

    async def flush(self) -> None:
        while self._pending:
            key = next(iter(self._pending))
            series = self._pending.pop(key)
            try:
                await self._write(series)
            except StatusError as error:
                # A namespace that is going away takes no new events: nothing is lost that a person could still read.
                log.debug("event %s not written: %s", series.event["reason"], error.message)
                self._series.pop(key, None)

    async def _write(self, series: _Series) -> None:
        event = series.event
        last = objects.timestamp(series.last or self._clock.now())
        name, namespace = objects.name(event), objects.namespace(event)
        count = series.count
        if series.written:
            try:
                await self._client.patch(kinds.EVENT, name, namespace, {"count": count, "lastTimestamp": last})
                series.written = count
                return
            except StatusError as error:
                if error.code != 404:  # expired after an hour: write it anew
                    raise
        await self._client.create(kinds.EVENT, {**event, "count": count, "lastTimestamp": last})
        series.written = count

    def _event(self, about: Object, kind: str, reason: str, message: str, field_path: str) -> Object:
        now = self._clock.now()
        involved = {
            "kind": about["kind"],
            "apiVersion": about["apiVersion"],
            "name": objects.name(about),
            "uid": objects.uid(about),
        }
        if namespace := objects.namespace(about):
            involved["namespace"] = namespace
        if field_path:
            involved["fieldPath"] = field_path
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{objects.name(about)}.{int(now.timestamp() * 1e6) * 1000 + len(self._series):x}",
                "namespace": namespace or "default",
            },
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": _COMPONENT, "host": NODE_NAME},
            "firstTimestamp": objects.timestamp(now),
            "reportingComponent": _COMPONENT,
            "reportingInstance": NODE_NAME,
        }
