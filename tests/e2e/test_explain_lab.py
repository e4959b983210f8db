"""Every state of the lab: what `explain` says of it is what the lesson says, and what is measured."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ambientlab import labs
from ambientlab.labs import checks, traffic
from ambientlab.labs.model import Output, Traffic
from ambientlab.labs.shell import Shell
from ambientlab.traffic.answers import Answer
from support.mesh import Mesh

AT_ONCE = 40
"""Requests for each measurement; the lab's own run sends more, one after the other."""


def told(mesh: Mesh, check: Traffic) -> dict[str, float]:
    """Shares in percent of the lesson's kinds of answers, as they are foreseen."""
    headers = [word for name, value in check.headers.items() for word in ("-H", f"{name}: {value}")]
    done = mesh.ambientlab("explain", check.url, "--from", check.source, "-o", "json", *headers)
    assert done.code == 0, done.text
    shares: dict[str, float] = {}
    for outcome in json.loads(done.out)["outcomes"]:
        kind = traffic.outcome_of(check.outcomes, _answer(outcome))
        shares[kind] = shares.get(kind, 0.0) + outcome["share"]["percent"]
    return shares


def _answer(outcome: Any) -> Answer:
    """As curl would report it. Of the images, helloworld says its version."""
    seconds = outcome["delayMs"] / 1000
    if outcome["kind"] == "Answered":
        body = "fault filter abort" if outcome["reason"] == "FAULT" else ""
        return Answer(0, seconds, outcome["status"], body=body)
    version = outcome["labels"].get("version")
    return Answer(0, seconds, 200, body=f"Hello version: {version}, instance: x" if version else "{}")


@pytest.mark.timeout(300)
def test_every_state_of_the_lab_is_explained_as_it_is_measured(lab: Mesh) -> None:
    state = lab.root / "state/ambientlab/ambientlab"
    variables = {**lab.env, "PATH": f"{state / 'bin'}:{lab.env['PATH']}", "KUBECONFIG": str(state / "kubeconfig")}
    environment = labs.Environment(variables, state / "work")
    compared = 0
    with Shell(environment) as shell:
        for step in labs.load("traffic-management").steps:
            for command in step.commands:
                if not command.startswith("for i in"):
                    done = shell.run(command, timeout=step.timeout)
                    assert done.status == 0, f"{command}: {done.output}"
            for check in step.checks:
                if isinstance(check, Traffic):
                    few = msgspec.structs.replace(check, requests=AT_ONCE, parallel=AT_ONCE if _blind(check) else 1)
                    verdict = checks.run(few, environment)
                    assert verdict.passed, f"{step.title}: {verdict}"
                    shares = zip(check.outcomes, traffic.shares(check.outcomes), strict=True)
                    expected = {outcome.name: share for outcome, share in shares if share}
                    assert told(lab, check) == pytest.approx(expected), step.title
                    compared += 1
                elif not isinstance(check, Output):
                    verdict = checks.run(check, environment)
                    assert verdict.passed, f"{step.title}: {verdict}"
    assert compared > 15


def _blind(check: Traffic) -> bool:
    """Whether no body has to be read, as for requests in parallel."""
    return all(outcome.body is None for outcome in check.outcomes)
