"""Answers, counted."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from ambientlab.traffic import stats
from ambientlab.traffic.answers import Answer, By


@dataclass(frozen=True, slots=True)
class Group:
    """Shares and the interval of the true one are fractions of 1."""

    name: str
    count: int
    share: float
    interval: tuple[float, float]


class Tally:
    def __init__(self, by: By) -> None:
        self._by = by
        self.answers: list[Answer] = []
        self.groups: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()

    def add(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.groups[self._by(answer)] += 1
        self.outcomes[answer.outcome] += 1

    @property
    def total(self) -> int:
        return len(self.answers)

    @property
    def seconds(self) -> float:
        """From the first question to the last answer."""
        if not self.answers:
            return 0.0
        return max(a.at + a.seconds for a in self.answers) - min(a.at for a in self.answers)

    def rows(self) -> list[Group]:
        """In the order of their names; what is no name of anybody comes last."""
        names = sorted(self.groups, key=lambda name: (" " in name, name))
        return [Group(n, c, c / self.total, stats.interval(c, self.total)) for n in names for c in [self.groups[n]]]

    def percentile(self, percent: float) -> float:
        """Seconds that so many of a hundred answers took at most, by nearest rank; of those that were answered."""
        took = sorted(answer.seconds for answer in self.answers if answer.status)
        return took[max(0, math.ceil(percent / 100 * len(took)) - 1)] if took else math.nan
