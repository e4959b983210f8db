"""One path through the mesh, held against the same path through Envoys configured by hand.

The two run side by side and are asked in turns, so that whatever else the machine does meets both. A ratio is one of
medians. Client, proxies and server share the machine's cores: only the ratios mean something elsewhere.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from bench import load
from bench.load import Load
from bench.report import Row, at_least

ROUNDS = 9
SECONDS = 2

Run = Callable[[Sequence[str]], str]
"""Runs a command in the client's pod; what it printed."""


def rows(name: str, ours: tuple[Run, str], by_hand: tuple[Run, str], least: float | None) -> list[Row]:
    """Both in turns, each first in every other round."""
    results: tuple[list[Load], list[Load]] = ([], [])
    for run, url in (ours, by_hand):
        # One request alone opens the tunnels: of several that come at once to an address Envoy's original destination
        # clusters do not know, each makes a host of its own, with its own connection, which would serve all the rounds.
        run(["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", url])
        once(run, url, 1)
    for number in range(ROUNDS):
        for side in (0, 1) if number % 2 else (1, 0):
            results[side].append(once(*(ours, by_hand)[side], SECONDS))
    mine, theirs = results
    ratios = {field: median(mine, field) / median(theirs, field) for field in ("requests_per_second", "p50", "p99")}
    detail = (
        f"{median(mine, 'requests_per_second'):.0f}/s to {median(theirs, 'requests_per_second'):.0f}/s; "
        f"{latencies(mine)} to {latencies(theirs)}"
    )
    label, ratio = f"{name} req/s ratio", ratios["requests_per_second"]
    return [
        Row(label, round(ratio, 3), "", detail=detail) if least is None else at_least(label, ratio, "", least, detail),
        Row(f"{name} p50 latency ratio", round(ratios["p50"], 3), ""),
        Row(f"{name} p99 latency ratio", round(ratios["p99"], 3), ""),
    ]


def once(run: Run, url: str, seconds: int) -> Load:
    return load.parse(run(load.command(url, seconds)))


def median(loads: Sequence[Load], field: str) -> float:
    values: list[float] = [getattr(each, field) for each in loads]
    return statistics.median(values)


def latencies(loads: Sequence[Load]) -> str:
    return f"p50 {median(loads, 'p50') * 1000:.2f} p99 {median(loads, 'p99') * 1000:.2f} ms"
