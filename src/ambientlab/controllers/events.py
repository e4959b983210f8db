"""Events for people: what `kubectl describe` shows at the end. And their clean-up.

Recording never waits and never fails its caller: a control loop notes what it did, and a loop of its own writes it
down a moment later, when the work is done. The same words about the same object are one Event with a count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from ambientlab.api.client import Client
from ambientlab.api.client import Event as Change
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import EVENT
from ambientlab.api.objects import Object, name, namespace, parse_timestamp, timestamp, uid
from ambientlab.api.resources import Resource
from ambientlab.controllers.base import Key, delete_quietly, key_of
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

# Events of cluster-scoped objects have to live somewhere.
_CLUSTER_NAMESPACE = "default"
_REMEMBERED = 4096
_TTL_SECONDS = 3600.0
# Long enough for a Deployment to have its pods, too short for a person to notice.
WRITE_DELAY = 0.05


class Occurrence(NamedTuple):
    """What makes two events the same one."""

    component: str
    resource: Resource
    namespace: str
    name: str
    uid: str
    type: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason} of {self.resource.kind} {self.namespace}/{self.name}"


@dataclass(slots=True)
class _Pending:
    count: int
    first: datetime
    last: datetime


class Recorder:
    """A reconciler of what has been recorded and not yet written."""

    name = "events"

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._pending: dict[Occurrence, _Pending] = {}
        self._written: OrderedDict[Occurrence, str] = OrderedDict()
        self._queue: WorkQueue[Occurrence] | None = None
        self._serial = 0

    def record(
        self,
        component: str,
        resource: Resource,
        obj: Object,
        type_: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        at: datetime | None = None,
    ) -> None:
        """`at` is when it happened, if that was not just now."""
        key = Occurrence(component, resource, namespace(obj), name(obj), uid(obj), type_, reason, message)
        now = at or self._clock.now()
        pending = self._pending.setdefault(key, _Pending(0, now, now))
        pending.count += 1
        pending.last = now
        if self._queue is not None:
            self._queue.add_after(key, WRITE_DELAY)

    def watch(self, queue: WorkQueue[Occurrence]) -> Iterable[Stop]:
        self._queue = queue
        for key in self._pending:
            queue.add(key)
        return []

    async def reconcile(self, key: Occurrence) -> None:
        pending = self._pending.pop(key, None)
        if pending is None:
            return
        home = key.namespace or _CLUSTER_NAMESPACE
        try:
            if not await self._count(key, home, pending):
                self._serial = (self._serial + 1) % 1000
                created = await self._client.create(EVENT, _event(key, home, pending, self._serial))
                self._remember(key, name(created))
        except StatusError as error:
            if error.code not in (403, 404):  # its namespace is going, or gone: so is who would read it
                self._pending.setdefault(key, pending)
                raise

    async def _count(self, key: Occurrence, home: str, pending: _Pending) -> bool:
        """Add to the event that says the same, if there is one still."""
        written = self._written.get(key)
        old = self._client.get(EVENT, written, home) if written else None
        if old is None:
            return False
        patch = {"count": old.get("count", 1) + pending.count, "lastTimestamp": timestamp(pending.last)}
        await self._client.patch(EVENT, name(old), home, patch)
        return True

    def _remember(self, key: Occurrence, event_name: str) -> None:
        self._written[key] = event_name
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)


def _event(key: Occurrence, home: str, pending: _Pending, serial: int) -> Object:
    """`serial` tells apart what happened in one microsecond."""
    nanoseconds = int(pending.first.timestamp() * 1_000_000) * 1000 + serial
    return {
        "apiVersion": "v1",
        "kind": "Event",
        # client-go's form, the object's name and the time in hexadecimal: within a second, kubectl orders events by it.
        "metadata": {"name": f"{key.name}.{nanoseconds:x}", "namespace": home},
        "involvedObject": {
            "apiVersion": key.resource.api_version,
            "kind": key.resource.kind,
            "name": key.name,
            **({"namespace": key.namespace} if key.namespace else {}),
            "uid": key.uid,
        },
        "type": key.type,
        "reason": key.reason,
        "message": key.message,
        "source": {"component": key.component},
        "reportingComponent": key.component,
        "firstTimestamp": timestamp(pending.first),
        "lastTimestamp": timestamp(pending.last),
        "count": pending.count,
    }


class EventExpiry:
    """Deletes events an hour after they were last written, as kube-apiserver's --event-ttl does."""

    name = "event-expiry"

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        def changed(change: Change) -> None:
            if change.type != "DELETED":
                queue.add(key_of(change.object))

        return [self._client.watch(EVENT, changed)]

    async def reconcile(self, key: Key) -> float | None:
        event = self._client.get(EVENT, key.name, key.namespace)
        if event is None:
            return None
        now = self._clock.now()
        age = (now - max(moment for moment in _moments(event, now) if moment <= now)).total_seconds()
        if age < _TTL_SECONDS:
            return _TTL_SECONDS - age
        await delete_quietly(self._client, EVENT, event)
        return None


def _moments(event: Object, now: datetime) -> Iterator[datetime]:
    """When it was written, whatever it says about itself, and when it was seen: core events count in lastTimestamp,
    those of events.k8s.io in a series or in eventTime."""
    metadata, series = event["metadata"], event.get("series") or {}
    yield min(now, parse_timestamp(metadata["creationTimestamp"]))
    seen = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    times = [entry.get("time") for entry in metadata.get("managedFields") or ()]
    yield from (parse_timestamp(time) for time in (seen, *times) if time)
