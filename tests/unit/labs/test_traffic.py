from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ambientlab.labs import checks, traffic
from ambientlab.labs.environment import Environment
from ambientlab.labs.model import Check, Traffic
from ambientlab.traffic.answers import Answer

V1, V2 = (200, "Hello version: v1"), (200, "Hello version: v2")
VERSIONS = [{"name": "v1", "body": "version: v1", "share": 95}, {"name": "v2", "body": "version: v2", "share": 5}]


def a_check(**fields: Any) -> Any:
    return msgspec.convert(
        {"kind": "traffic", "from": "test/curl", "url": "http://x/", "outcomes": VERSIONS} | fields, Check
    )


def counts(check: Traffic, *answers: Answer) -> dict[str, int]:
    return traffic.judge(check, answers).counts


def test_a_true_split_fits(playground: Environment, serve_http: Callable[..., str]) -> None:
    verdict = checks.run(a_check(url=serve_http(*[V1] * 19, V2)), playground)
    assert verdict.passed
    assert verdict.expected == "v1 95%, v2 5%"
    assert verdict.observed == "v1 190, v2 10 of 200 (p=1)"


def test_a_false_one_does_not(playground: Environment, serve_http: Callable[..., str]) -> None:
    verdict = checks.run(a_check(url=serve_http(V1, V2)), playground)
    assert not verdict.passed
    assert verdict.observed.startswith("v1 100, v2 100 of 200 (p=")


def test_what_was_not_expected_is_named(playground: Environment, serve_http: Callable[..., str]) -> None:
    verdict = checks.run(a_check(url=serve_http(*[V1] * 19, (503, "no")), requests=20), playground)
    assert not verdict.passed
    assert verdict.observed == "v1 19, v2 0, HTTP 503 1 of 20 (p=0)"


def test_no_answers_fit_nothing() -> None:
    sample = traffic.judge(a_check(), [])
    assert (sample.fits, str(sample)) == (False, "nobody answered")


def test_headers_are_sent(playground: Environment, serve_http: Callable[..., str]) -> None:
    outcomes = [{"name": "mine", "body": "^mine$"}]
    check = a_check(url=serve_http(V1), requests=5, headers={"X-Answer": "mine"}, outcomes=outcomes)
    assert checks.run(check, playground).passed


def test_parallel_requests(playground: Environment, serve_http: Callable[..., str]) -> None:
    check = a_check(
        url=serve_http(V1, (418, "")),
        requests=40,
        parallel=10,
        outcomes=[{"name": "ok", "status": 200}, {"name": "pot", "status": 418}],
    )
    assert checks.run(check, playground).observed == "ok 20, pot 20 of 40 (p=1)"


def test_nobody_answers(playground: Environment) -> None:
    verdict = checks.run(a_check(url="http://127.0.0.1:1/", requests=3), playground)
    assert not verdict.passed
    assert verdict.observed == "v1 0, v2 0, no answer (refused) 3 of 3 (p=0)"


def test_no_pod(playground: Environment) -> None:
    (playground.directory.parent / "bin" / "kubectl").write_text(
        "#!/bin/sh\necho 'Error from server (NotFound): pods \"curl\" not found' >&2; exit 1\n"
    )
    verdict = checks.run(a_check(), playground)
    assert not verdict.passed
    assert 'pods "curl" not found' in verdict.observed


def answer(status: int, seconds: float = 0.1, problem: str = "", body: str = "") -> Answer:
    return Answer(0, seconds, status, problem, body=body)


def test_outcomes_by_time_and_status() -> None:
    check = a_check(
        outcomes=[
            {"name": "late", "status": 200, "at_least": 2},
            {"name": "soon", "status": 200, "under": 2},
        ]
    )
    answers = [answer(200, 2.0), answer(200, 1.999), answer(500, 3.0), answer(0, 20.0, "timeout")]
    assert counts(check, *answers) == {"late": 1, "soon": 1, "HTTP 500": 1, "no answer (timeout)": 1}


def test_no_answer_is_an_outcome_only_where_it_is_named() -> None:
    anything = a_check(outcomes=[{"name": "any"}])
    assert counts(anything, answer(200), answer(0, problem="refused")) == {"any": 1, "no answer (refused)": 1}
    nothing = a_check(outcomes=[{"name": "none", "status": 0}])
    assert counts(nothing, answer(0, problem="refused")) == {"none": 1}


def test_what_the_service_took_is_no_delay(playground: Environment, serve_http: Callable[..., str]) -> None:
    outcomes = [{"name": "soon", "under": 0}]
    check = a_check(url=serve_http(V1), requests=1, headers={"X-Took": "60000"}, outcomes=outcomes)
    (found,) = traffic.send(check, playground)
    assert -60 < found.delay < -40
    assert traffic.judge(check, [found]).fits


@pytest.mark.parametrize(("patient", "samples"), [(True, checks.ATTEMPTS), (False, 1)])
def test_a_split_that_may_just_have_changed_is_looked_at_again(
    playground: Environment, monkeypatch: pytest.MonkeyPatch, patient: bool, samples: int
) -> None:
    sent: list[Traffic] = []

    def send(check: Traffic, _: Environment) -> list[Answer]:
        sent.append(check)
        return [Answer(0, 0, 503)] * check.requests

    monkeypatch.setattr(traffic, "send", send)
    assert not checks.run(a_check(), playground, patient=patient).passed
    assert len(sent) == samples > 0
