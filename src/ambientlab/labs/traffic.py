"""Real requests from a pod, each on a connection of its own, and what came back.

One curl sends them all: starting a process for each would cost more than the requests. `Connection: close` makes every
one a new connection, which matters where a proxy balances connections and not requests; curl reports how many it made,
so a request that shared one is noticed. The requests differ only in the URL's fragment, which curl counts up and does
not send.

A delay is what the way took, not the service: what a proxy says the service needed (`x-envoy-upstream-service-time`,
in milliseconds) is taken off, or many requests at once to a slow service would all look delayed.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.model import Outcome, Traffic
from ambientlab.traffic import curl, stats

REQUEST_SECONDS = 20
SAMPLE_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 where no response came, and `problem` then curl's exit code. `seconds` are without those that the
    service took."""

    status: int
    seconds: float
    problem: int = 0
    body: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """`counts` has every expected outcome, in their order, then the others by what they were."""

    counts: dict[str, int]
    total: int
    p: float

    @property
    def fits(self) -> bool:
        return self.p >= stats.SIGNIFICANCE

    def __str__(self) -> str:
        seen = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        return f"{seen} of {self.total} (p={self.p:.2g})"


def send(check: Traffic, environment: Environment) -> list[Answer]:
    """Raises CommandError if the requests could not be sent; a request that got no answer is an answer of status 0."""
    token = secrets.token_hex(8)
    namespace, pod = check.source.split("/")
    command = environment.kubectl("exec", "-n", namespace, pod, "--", *_curl(check, token))
    done = environment.run(command, timeout=SAMPLE_SECONDS)
    answers = parse(done.stdout, token)
    if len(answers) != check.requests:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise CommandError(f"{len(answers)} of {check.requests} requests were sent from {check.source}: {said}")
    return answers


def _curl(check: Traffic, token: str) -> list[str]:
    return curl.command(
        check.url,
        check.requests,
        token,
        headers=[("Connection", "close"), *check.headers.items()],
        parallel=check.parallel,
        patience=REQUEST_SECONDS,
    )


def parse(text: str, token: str) -> list[Answer]:
    answers: list[Answer] = []
    for report in curl.parse(text, token):
        if report.status and report.connections != 1:
            raise CommandError("a request used the connection of another, so they tell nothing about connections")
        answers.append(Answer(report.status, report.seconds - report.service / 1000, report.problem, report.body))
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
            and (outcome.at_least is None or answer.seconds >= outcome.at_least)
            and (outcome.under is None or answer.seconds < outcome.under)
            and (outcome.body is None or re.search(outcome.body, answer.body) is not None)
            and (answer.status or outcome.status == 0)
        ):
            return outcome.name
    return f"HTTP {answer.status}" if answer.status else f"no answer (curl {answer.problem})"
