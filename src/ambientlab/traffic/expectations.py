"""What is expected of answers, and whether they are so.

Shares are judged by exact tests: the probability, if they were true, of counts as unlikely as those that came. Below
the significance they do not fit.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ambientlab.traffic import stats
from ambientlab.traffic.tally import Tally

NO_ANSWER = "no answer"
"""A group to expect for whatever reason there is none."""
SIGNIFICANCE = 0.001
"""How often a true split is called false, unless somebody chooses otherwise."""


class Verdict(NamedTuple):
    """`p` is nan where nothing is left to chance."""

    expected: str
    observed: str
    fits: bool
    p: float = math.nan
    test: str = ""


class Expected(NamedTuple):
    """Shares are percent: of `groups` by name, of HTTP statuses (0 for no answer), of delays of so many seconds at
    least. `p99` is the most seconds that 99 of 100 answers may take, 0 for any."""

    groups: Mapping[str, float] = {}
    statuses: Mapping[int, float] = {}
    delays: Mapping[float, float] = {}
    p99: float = 0

    def __bool__(self) -> bool:
        return bool(self.groups or self.statuses or self.delays or self.p99)


def shares(text: str) -> dict[str, float]:
    """`v1=95,v2=5`, with or without a percent sign. Raises ValueError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(.+?)\s*=\s*(\d+(?:\.\d+)?)\s*%?\s*", part)
        if match is None:
            raise ValueError(f"{part!r} is not NAME=PERCENT, as in v1=95,v2=5")
        if match[1] in found:
            raise ValueError(f"{match[1]} is given twice")
        if float(match[2]) > 100:
            raise ValueError(f"{match[1]}={match[2]} is more than all")
        found[match[1]] = float(match[2])
    return found


def whole(found: Mapping[str, float]) -> None:
    """Raises ValueError if the shares are not all there is."""
    if not math.isclose(total := math.fsum(found.values()), 100, abs_tol=0.05):
        raise ValueError(f"the shares add up to {total:g}, not to 100: name every group that may answer")


def judge(tally: Tally, expected: Expected, significance: float = SIGNIFICANCE) -> list[Verdict]:
    found = []
    if expected.groups:
        found.append(_split(tally, expected.groups, significance))
    for status, percent in expected.statuses.items():
        count = sum(1 for answer in tally.answers if answer.status == status)
        found.append(_share(f"status {status}" if status else NO_ANSWER, count, tally.total, percent, significance))
    for seconds, percent in expected.delays.items():
        count = sum(1 for answer in tally.answers if answer.delay >= seconds)
        late = _share(f"delay of {seconds:g} s or more", count, tally.total, percent, significance)
        answered = count or any(answer.status for answer in tally.answers)
        found.append(late if answered else Verdict(late.expected, "nobody answered", False))
    if expected.p99:
        p99 = tally.percentile(99)
        fits = p99 <= expected.p99
        found.append(Verdict(f"p99 at most {expected.p99 * 1000:g} ms", f"{p99 * 1000:.3g} ms", fits))
    return found


def _split(tally: Tally, groups: Mapping[str, float], significance: float) -> Verdict:
    counts: Counter[str] = Counter()
    for row in tally.rows():
        whatever = NO_ANSWER in groups and row.name.startswith(NO_ANSWER)
        counts[NO_ANSWER if whatever else row.name] += row.count
    names = [*groups, *(name for name in counts if name not in groups)]
    p, test = stats.likelihood([counts[n] for n in names], [groups.get(n, 0.0) for n in names])
    seen = ", ".join(f"{name} {counts[name]}" for name in names)
    wanted = ", ".join(f"{name} {percent:g} %" for name, percent in groups.items())
    return Verdict(wanted, f"{seen} of {tally.total}", p >= significance, p, test)


def _share(what: str, count: int, total: int, percent: float, significance: float) -> Verdict:
    p, test = stats.likelihood([count, total - count], [percent, 100 - percent])
    return Verdict(f"{what}: {percent:g} %", f"{count} of {total}", p >= significance, p, test)


def passed(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.fits for verdict in verdicts)
