"""What the labs say is to be seen is what is decided of the cluster that their commands make, step by step."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ambientlab import labs
from ambientlab.labs import traffic
from ambientlab.labs.model import Traffic
from ambientlab.mesh.decide import Answered, Delivered, Outcome, Request, decide
from ambientlab.mesh.ir import Key
from ambientlab.traffic.answers import Answer
from support.typed_lab import TypedLab


def answer(outcome: Outcome) -> Answer:
    """As curl would report it. Of the images, helloworld says its version."""
    seconds = outcome.delay_ms / 1000
    match outcome.result:
        case Delivered(endpoint=endpoint):
            version = dict(endpoint.workload.labels).get("version") if endpoint.workload else None
            return Answer(0, seconds, 200, body=f"Hello version: {version}, instance: x" if version else "{}")
        case Answered(status=status, body=body):
            return Answer(0, seconds, status, body=body)
        case _:
            return Answer(0, seconds, 0, "empty reply")


@pytest.mark.parametrize("name", labs.names())
def test_every_split_is_the_one_decided(name: str) -> None:
    lab = labs.load(name)
    typed = TypedLab(lab)
    compared = 0
    for step in lab.steps:
        typed.type(step)
        mesh = typed.index().mesh
        for check in step.checks:
            if not isinstance(check, Traffic):
                continue
            source = Key(*check.source.split("/"))
            decision = decide(mesh, source, Request.to(check.url, headers=check.headers.items()))
            found: dict[str, Fraction] = {}
            for outcome in decision.outcomes:
                kind = traffic.outcome_of(check.outcomes, answer(outcome))
                found[kind] = found.get(kind, Fraction(0)) + outcome.probability
            told = zip(check.outcomes, traffic.shares(check.outcomes), strict=True)
            expected = {outcome.name: share / 100 for outcome, share in told if share}
            assert found == pytest.approx(expected), step.title
            compared += 1
    assert compared > 10
