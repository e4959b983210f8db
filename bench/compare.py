"""One path through the mesh, held against the same path through Envoys configured by hand.

The two run side by side and are asked in turns, so that whatever else the machine does meets both. A ratio is one of
medians. Client, proxies and server share the machine's cores: only the ratios mean something elsewhere.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ambientlab.host import inspect
from bench import load
from bench.load import Load
from bench.report import Row, at_least

ROUNDS = 9
SECONDS = 2

Run = Callable[[Sequence[str]], str]
"""Runs a command in the client's pod; what it printed."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two paths: who asks what, and the process below which all its Envoys are."""

    run: Run
    url: str
    root: int

    def once(self, seconds: int, options: Sequence[str] = ()) -> Load:
        return load.parse(self.run(load.command(self.url, seconds, options)))


@dataclass(frozen=True, slots=True)
class Round:
    load: Load
    cpu: float
    """Seconds of processor time that the Envoys took for a request: what other processes take hardly moves it."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Rounds of both."""

    ours: list[Round]
    by_hand: list[Round]

    def ratio(self, field: str) -> float:
        """Of a field of their loads."""
        return median(loads(self.ours), field) / median(loads(self.by_hand), field)


def turns(ours: Side, by_hand: Side, options: Sequence[str] = (), *, seconds: int = SECONDS) -> Compared:
    """Both in turns, each first in every other round."""
    for side in (ours, by_hand):
        # One request alone opens the tunnels: of several that come at once to an address Envoy's original destination
        # clusters do not know, each makes a host of its own, with its own connection, which would serve all the rounds.
        side.run(["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", side.url])
        side.once(1, options)
    found: tuple[list[Round], list[Round]] = ([], [])
    for number in range(ROUNDS):
        for index in (0, 1) if number % 2 else (1, 0):
            found[index].append(measure((ours, by_hand)[index], options, seconds))
    return Compared(*found)


def rows(name: str, starts: Sequence[Compared], least: float | None, *, bulk: bool = False) -> list[Row]:
    """Medians of all rounds, in however many `starts` of the two. `least` is for the rate: requests, or bytes if
    `bulk`."""
    both = Compared(
        [each for start in starts for each in start.ours], [each for start in starts for each in start.by_hand]
    )
    field = "bytes_per_second" if bulk else "requests_per_second"
    count = f"n={len(both.ours)}"
    if len(starts) > 1:
        ratios = sorted(start.ratio(field) for start in starts)
        count += f" in {len(starts)} starts, {ratios[0]:.2f} to {ratios[-1]:.2f}"
    mine, theirs = loads(both.ours), loads(both.by_hand)
    if bulk:
        rates = [f"{median(some, field) / (1 << 20):.0f} MB/s" for some in (mine, theirs)]
        found = [_rate(f"{name} bytes/s ratio", both.ratio(field), least, f"{count}; {' to '.join(rates)}")]
    else:
        rates = [f"{median(some, field):.0f}/s" for some in (mine, theirs)]
        detail = f"{count}; {' to '.join(rates)}; {latencies(mine)} to {latencies(theirs)}"
        found = [
            _rate(f"{name} req/s ratio", both.ratio(field), least, detail),
            Row(f"{name} p50 latency ratio", round(both.ratio("p50"), 3), ""),
            Row(f"{name} p99 latency ratio", round(both.ratio("p99"), 3), ""),
        ]
    cpu = [statistics.median(each.cpu for each in some) for some in (both.ours, both.by_hand)]
    detail = f"{cpu[0] * 1e6:.0f} us to {cpu[1] * 1e6:.0f} us a request"
    return [*found, Row(f"{name} processor time ratio", round(cpu[0] / cpu[1], 3), "", detail=detail)]


def measure(side: Side, options: Sequence[str], seconds: int) -> Round:
    envoys = [pid for pid in inspect.tree(side.root) if _name(pid) == "envoy"]
    before = sum(map(_cpu, envoys))
    found = side.once(seconds, options)
    return Round(found, (sum(map(_cpu, envoys)) - before) / (found.requests_per_second * seconds))


def _rate(label: str, ratio: float, least: float | None, detail: str) -> Row:
    return (
        Row(label, round(ratio, 3), "", detail=detail) if least is None else at_least(label, ratio, "", least, detail)
    )


def loads(rounds: Sequence[Round]) -> list[Load]:
    return [each.load for each in rounds]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _cpu(pid: int) -> float:
    """Seconds on a processor, of every thread (Documentation/scheduler/sched-stats.rst)."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def median(some: Sequence[Load], field: str) -> float:
    values: list[float] = [getattr(each, field) for each in some]
    return statistics.median(values)


def latencies(some: Sequence[Load]) -> str:
    return f"p50 {median(some, 'p50') * 1000:.2f} p99 {median(some, 'p99') * 1000:.2f} ms"
