"""What a lab asks of traffic: real requests from a pod, each on a connection of its own, and what came back.

Each has its own connection because proxies balance connections where nobody looks into them. A delay is what the way
took, not the service, or many requests at once to a slow service would all look delayed (`Answer.delay`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.model import Outcome, Traffic
from ambientlab.traffic import sending, stats
from ambientlab.traffic.answers import Answer, Requests

REQUEST_SECONDS = 20
SAMPLE_SECONDS = 180
SIGNIFICANCE = 1e-6
"""How often a true split is called false. A run judges some twenty of them: by chance it is wrong in fewer than one of
50,000 runs."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`counts` has every expected outcome, in their order, then the others by what they were."""

    counts: dict[str, int]
    total: int
    p: float

    @property
    def fits(self) -> bool:
        return self.total > 0 and self.p >= SIGNIFICANCE

    def __str__(self) -> str:
        if not self.total:
            return "nobody answered"
        seen = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        return f"{seen} of {self.total} (p={self.p:.2g})"


def send(check: Traffic, environment: Environment) -> list[Answer]:
    """Raises CommandError if the requests could not be sent; a request that got no answer is an answer of status 0."""
    requests = Requests(
        check.source,
        check.url,
        headers=tuple(check.headers.items()),
        number=check.requests,
        seconds=SAMPLE_SECONDS,
        parallel=check.parallel,
        patience=REQUEST_SECONDS,
    )
    bodies = any(outcome.body is not None for outcome in check.outcomes)

    def kubectl(arguments: Sequence[str]) -> list[str]:
        return environment.found(environment.kubectl(*arguments))

    try:
        answers = list(sending.send(kubectl, requests, body=bodies, variables=environment.variables))
    except sending.TrafficError as error:
        raise CommandError(f"no requests were sent from {check.source}: {error}") from error
    if len(answers) != check.requests:
        raise CommandError(f"{len(answers)} of {check.requests} requests were sent from {check.source}")
    return answers


def judge(check: Traffic, answers: Sequence[Answer]) -> Sample:
    """Counts the answers and tests the counts. Anything but an expected outcome has the share 0."""
    counts = Counter[str](outcome_of(check.outcomes, answer) for answer in answers)
    names = [outcome.name for outcome in check.outcomes]
    others = [name for name, _ in counts.most_common() if name not in names]
    ordered = {name: counts[name] for name in [*names, *others]}
    expected = [*shares(check.outcomes), *(0.0 for _ in others)]
    return Sample(ordered, len(answers), stats.p_value(list(ordered.values()), expected))


def shares(outcomes: Sequence[Outcome]) -> list[float]:
    """In percent; equal ones where none is given."""
    return [100 / len(outcomes) if outcome.share is None else outcome.share for outcome in outcomes]


def expectation(check: Traffic) -> str:
    parts = [f"{o.name} {share:.3g}%" for o, share in zip(check.outcomes, shares(check.outcomes), strict=True)]
    return ", ".join(parts)


def outcome_of(outcomes: Sequence[Outcome], answer: Answer) -> str:
    """The name of the first that fits, or what the answer was instead."""
    for outcome in outcomes:
        if (
            (outcome.status is None or outcome.status == answer.status)
            and (outcome.at_least is None or answer.delay >= outcome.at_least)
            and (outcome.under is None or answer.delay < outcome.under)
            and (outcome.body is None or re.search(outcome.body, answer.body) is not None)
            and (answer.status or outcome.status == 0)
        ):
            return outcome.name
    return answer.outcome
