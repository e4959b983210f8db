"""The connections that the node proxy carries and has carried, as its access log tells of them.

A connection is known when it ends, or sooner if it lasts: once in REPORT_EVERY_MS the proxy reports those that are
open. So counting the others costs the proxy nothing more; for who asks what is open, `ztunnel_young` waits for the
report.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from ambientlab.mesh.xds.access_log import REPORT_EVERY_MS

_REPORTED_MS = REPORT_EVERY_MS - 100
_SAME = 0.1
"""How exactly times agree that are of one connection: in milliseconds, and in seconds."""
HIDDEN_AFTER, FORGOTTEN_AFTER = 5.0, 60.0
"""Seconds without a report after which a connection is taken to have ended unseen, and after which it would be counted
anew: a proxy without processor time reports late."""
_REMEMBERED = 10_000
"""Between how many pairs of pods it is known what connections are counted as: pods come and go."""

Series = TypeVar("Series")
"""What is counted as one: pods of one Deployment are for metrics."""

_FIELDS = (
    rb"src\.addr=(\S+) "
    rb'((?:src\.workload="[^"]*" )?(?:src\.namespace="[^"]*" )?(?:src\.identity="[^"]*" )?)'
    rb"dst\.addr=(\S+) (?:dst\.hbone_addr=(\S+) )?"
    rb'((?:dst\.service="[^"]*" )?(?:dst\.workload="[^"]*" )?(?:dst\.namespace="[^"]*" )?'
    rb'(?:dst\.identity="[^"]*" )?direction="(?:inbound|outbound)") bytes_sent=(\d+) bytes_recv=(\d+)'
)
"""What names either side is one part: there are many connections between few."""
_NAME = re.compile(r'([a-z.]+)="([^"]*)"')
_REPORT = re.compile(_FIELDS)
_ENDED = re.compile(
    rb"^(\S+)\t\w+\taccess\tconnection complete\t" + _FIELDS + rb' duration="(\d+)ms"(?: error="(.*)")?$', re.MULTILINE
)

_FLAGS = (
    (b"connection closed due to policy", "DENY"),
    (b"connection timed out, maybe a NetworkPolicy", "NETWORK_POLICY"),
    (b"tls ", "TLS_FAILURE"),
    (b"http2 handshake failed", "H2_HANDSHAKE_FAILURE"),
    (b"h2 failed", "H2_HANDSHAKE_FAILURE"),
    (b"identity error", "IDENTITY_ERROR"),
)
"""ztunnel's response flags by what its errors begin with; of any other it says CONNECT (src/proxy/metrics.rs)."""
NO_FLAG = "-"


class Ends(NamedTuple):
    """Between whom a connection is, as the log says; "" is unknown. `tunnelled` is by HBONE."""

    reporter: str
    source: str
    source_namespace: str
    source_identity: str
    service: str
    destination: str
    destination_namespace: str
    tunnelled: bool


@dataclass(slots=True)
class Counts:
    """Of connections: by response flag where they ended. Bytes are those that the server sent and received, on
    whichever side they were counted."""

    opened: int = 0
    sent: int = 0
    received: int = 0
    closed: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Open:
    """A connection that was open when it was last reported, `seen` by the clock; `target` is what was asked for."""

    began: float
    ends: Ends
    source: str
    destination: str
    hbone: str
    target: str
    sent: int
    received: int
    seen: float


_Key = tuple[bytes, bytes, bool]
"""Ends as they were read: what names the source, what names the destination and the direction, whether by a tunnel."""
_Place = tuple[bool, bytes, bytes, bytes]
"""Where a connection is: whether it leaves, source, destination and what a tunnel leads to. Those of one tunnel share
it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What connections between the same are counted as, and whether they leave. The log says how many bytes the
    workload next to the proxy sent, which is not the server where they do."""

    counts: Counts
    outbound: bool


class Connections(Generic[Series]):
    """Of one run of the node proxy. `clock` is any that does not go back; `series` is asked of ends that are new."""

    def __init__(self, clock: Callable[[], float], series: Callable[[Ends], Series]) -> None:
        self.counts: dict[Series, Counts] = {}
        self._clock = clock
        self._series = series
        self._known: dict[_Key, _Known] = {}
        self._open: dict[_Place, list[Open]] = {}

    def open(self) -> Iterator[Open]:
        now = self._clock()
        for place, found in list(self._open.items()):
            self._open[place] = found = [one for one in found if now - one.seen < FORGOTTEN_AFTER]
            if not found:
                del self._open[place]
            yield from (one for one in found if now - one.seen < HIDDEN_AFTER)

    def report(self, began: str, target: str, fields: bytes) -> None:
        """One that is open: when it began, as seconds."""
        match = _REPORT.search(fields)
        if match is None:
            return
        source, named, destination, hbone, described, *amounts = match.groups(b"")
        key = named, described, hbone != b""
        kind = self._known.get(key) or self._learn(key)
        sent, received = map(int, reversed(amounts) if kind.outbound else amounts)
        start, counts = float(began), kind.counts
        known = self._open.setdefault((kind.outbound, source, destination, hbone), [])
        found = next((one for one in known if one.began == start), None)
        if found is None:
            counts.opened += 1
            addresses = source.decode(), destination.decode(), hbone.decode()
            found = Open(start, _ends(key), *addresses, target, 0, 0, self._clock())
            known.append(found)
        counts.sent += sent - found.sent
        counts.received += received - found.received
        found.sent, found.received, found.seen = sent, received, self._clock()

    def ended(self, lines: bytes) -> None:
        """Whole lines of the log."""
        for moment, source, named, destination, hbone, described, one, other, duration, error in _ENDED.findall(lines):
            key = named, described, hbone != b""
            kind = self._known.get(key) or self._learn(key)
            counts, outbound = kind.counts, kind.outbound
            sent, received = (int(other), int(one)) if outbound else (int(one), int(other))
            known = self._open and self._taken((outbound, source, destination, hbone), moment, int(duration))
            if known:
                sent, received = sent - known.sent, received - known.received
            else:
                counts.opened += 1
            counts.sent += sent
            counts.received += received
            counts.closed[_flag(error)] += 1

    def _learn(self, key: _Key) -> _Known:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        ends = _ends(key)
        counts = self.counts.setdefault(self._series(ends), Counts())
        known = self._known[key] = _Known(counts, ends.reporter == "source")
        return known

    def _taken(self, place: _Place, moment: bytes, milliseconds: int) -> Open | None:
        """The one that has ended, if it was reported before: of several in one tunnel, that which began when this did.

        One that was too short for that is none of them, whenever it began."""
        known = self._open.get(place)
        if not known or milliseconds < _REPORTED_MS:
            return None
        began = datetime.fromisoformat(moment.decode().replace("Z", "+00:00")).timestamp() - milliseconds / 1000
        found = min(known, key=lambda one: abs(one.began - began))
        if abs(found.began - began) > _SAME:
            return None
        known.remove(found)
        if not known:
            del self._open[place]
        return found


def _ends(key: _Key) -> Ends:
    source, destination, tunnelled = key
    found = dict(_NAME.findall((source + destination).decode(errors="replace")))
    return Ends(
        "source" if found["direction"] == "outbound" else "destination",
        found.get("src.workload", ""),
        found.get("src.namespace", ""),
        found.get("src.identity", ""),
        found.get("dst.service", ""),
        found.get("dst.workload", ""),
        found.get("dst.namespace", ""),
        tunnelled,
    )


def _flag(error: bytes) -> str:
    if not error:
        return NO_FLAG
    return next((flag for words, flag in _FLAGS if error.startswith(words)), "CONNECT")
