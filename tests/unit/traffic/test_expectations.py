from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import pytest

from ambientlab.traffic import export
from ambientlab.traffic.answers import Answer, Requests, by
from ambientlab.traffic.expectations import Expected, judge, shares, whole
from ambientlab.traffic.stats import interval, likelihood
from ambientlab.traffic.tally import Tally

V1 = Answer(0, 0.010, 200, body="Hello version: v1, instance: helloworld-v1-abc\n")
V2 = Answer(0, 0.020, 200, body="ServiceVersion=v2\nHostname=echo-1\n")
LATE = Answer(0, 2.010, 200, service=5, body=V1.body)
BROKEN = Answer(0, 0.001, 503)
GONE = Answer(0, 0.001, 0, "reset")
REQUESTS = Requests("test/curl", "http://shop/<&>")


def tally(*answers: Answer, told: str = "version") -> Tally:
    found = Tally(by(told))
    for answer in answers:
        found.add(answer)
    return found


@pytest.mark.parametrize(
    ("told", "groups"),
    [
        ("version", {"v1": 1, "v2": 1, "HTTP 503": 1, "no answer (reset)": 1}),
        ("instance", {"helloworld-v1-abc": 1, "echo-1": 1, "HTTP 503": 1, "no answer (reset)": 1}),
        ("status", {"HTTP 200": 2, "HTTP 503": 1, "no answer (reset)": 1}),
        ("header:x-a", {"HTTP 200": 2, "HTTP 503": 1, "no answer (reset)": 1}),
    ],
)
def test_by_what_answers_are_told_apart(told: str, groups: dict[str, int]) -> None:
    assert tally(V1, V2, BROKEN, GONE, told=told).groups == groups


def test_a_split_is_judged_by_the_exact_test() -> None:
    found = tally(*[V1] * 19, V2)
    (verdict,) = judge(found, Expected(groups={"v1": 95, "v2": 5}))
    assert verdict.fits
    assert verdict.p == pytest.approx(1)
    (verdict,) = judge(found, Expected(groups={"v1": 50, "v2": 50}))
    assert not verdict.fits
    assert verdict.p == pytest.approx(2 * 21 / 2**20)
    assert export.text(verdict) == "✗ expected v1 50 %, v2 50 %; came v1 19, v2 1 of 20 (p=4e-05, exact binomial test)"


def test_what_nobody_expected_does_not_fit() -> None:
    (verdict,) = judge(tally(*[V1] * 19, BROKEN), Expected(groups={"v1": 100}))
    assert (verdict.fits, verdict.observed) == (False, "v1 19, HTTP 503 1 of 20")


def test_statuses_delays_and_percentiles() -> None:
    found = tally(*[V1] * 5, *[LATE] * 5, *[BROKEN] * 5, *[GONE] * 5)
    verdicts = judge(found, Expected(statuses={503: 25, 0: 25}, delays={2: 25, 3: 50}, p99=1.0))
    assert [verdict.fits for verdict in verdicts] == [True, True, True, False, False]
    assert verdicts[2].observed == "5 of 20"
    assert verdicts[-1].observed == "2.01e+03 ms"


def test_time_that_the_service_needed_is_no_delay() -> None:
    busy = Answer(0, 2.010, 200, service=1500)
    (verdict,) = judge(tally(*[busy] * 9), Expected(delays={1: 0}))
    assert verdict.fits


def test_who_does_not_answer_is_not_in_time() -> None:
    (verdict,) = judge(tally(*[GONE] * 9), Expected(delays={2: 0}))
    assert (verdict.fits, verdict.observed) == (False, "nobody answered")


def test_too_many_outcomes_for_one_test_are_judged_class_by_class() -> None:
    p, test = likelihood([3000, 3010, 2990, 1000], [30, 30, 30, 10])
    assert test == "binomial, Bonferroni"
    assert p == 1
    assert likelihood([3000, 3010, 2990, 1400], [30, 30, 30, 10])[0] < 1e-6


def test_the_interval_is_wilsons() -> None:
    low, high = interval(10, 100)
    assert (low, high) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(50, 50)[1] == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "v1", "v1=", "=5", "v1=x", "v1=5,v1=6", "v1=101", "v1=-5"])
def test_what_are_no_shares(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        shares(text)


def test_shares_are_all_there_is() -> None:
    assert shares("v1=95%, v2=5 %") == {"v1": 95, "v2": 5}
    with pytest.raises(ValueError, match="add up to 97, not to 100"):
        whole({"v1": 95, "v2": 2})


def test_every_form_it_is_saved_in() -> None:
    found = tally(*[V1] * 3, V2, BROKEN)
    verdicts = judge(found, Expected(groups={"v1": 60, "v2": 40}, p99=1))
    data = export.as_json(REQUESTS, "version", found, verdicts)
    assert [(group["name"], group["count"], group["share"]) for group in data["groups"]] == [
        ("v1", 3, 0.6),
        ("v2", 1, 0.2),
        ("HTTP 503", 1, 0.2),
    ]
    assert data["latency"] == {"p50": 0.01, "p90": 0.02, "p99": 0.02, "max": 0.02}
    assert [expectation["fits"] for expectation in data["expectations"]] == [False, True]
    rows = list(csv.DictReader(io.StringIO(export.as_csv(found, "x-a"))))
    assert [row["status"] for row in rows] == ["200"] * 4 + ["503"]
    assert rows[0]["body"] == V1.body.rstrip()
    drawing = ElementTree.fromstring(export.as_svg(REQUESTS, found))
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "60.0 % (23.1-88.2), 3" in texts
    page = export.as_html(REQUESTS, "version", found, verdicts)
    assert "http://shop/&lt;&amp;&gt;" in page
    assert "<&>" not in page


def test_nobody_answered() -> None:
    data = export.as_json(REQUESTS, "version", tally(GONE), [])
    assert data["latency"] == dict.fromkeys(("p50", "p90", "p99", "max"))
