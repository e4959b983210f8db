"""What `explain` says at each state of the lab is what the lesson says."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from ambientlab import labs
from ambientlab.mesh.decide import by_label
from ambientlab.mesh.explain import Cause, Explanation, words
from support.explanations import causes, explained
from support.typed_lab import TypedLab

VS, DR = "VirtualService hello/hello-world-vs", "DestinationRule hello/hello-world-dr"
ROUTE, FAULT = "HTTPRoute hello/hello-http-split-traffic", "VirtualService httpbin/httpbin-fault"
CLIENTS_OWN = ("Namespace test", Cause.CLIENT_SIDE)
UNUSED = ("Gateway hello/waypoint", Cause.UNUSED_WAYPOINT)
LABEL = "kubectl label namespace hello istio.io/use-waypoint=waypoint"
BOTH_LABELS = "kubectl label namespace hello istio.io/dataplane-mode=ambient istio.io/use-waypoint=waypoint"
APPLY = "istioctl waypoint apply -n hello --wait"
NOWHERE = "500 (there is no such destination: {}.hello.svc.cluster.local:5000)"


@dataclass(frozen=True)
class Said:
    """Shares in percent by version, or by what comes instead; the object that decides, those that do not and why, and
    the commands that are offered."""

    shares: dict[str, int]
    route: str = ""
    without: frozenset[tuple[str, Cause]] = frozenset()
    commands: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    waypoint: str = "hello/waypoint"


def nothing_reads(*objects: str) -> frozenset[tuple[str, Cause]]:
    return frozenset({CLIENTS_OWN, *((each, Cause.NO_WAYPOINT) for each in objects)})


def expose(*versions: str) -> tuple[str, ...]:
    return tuple(f"kubectl expose deployment helloworld-{version} -n hello --port=5000" for version in versions)


EVEN = {"v1": 50, "v2": 50}
MISSING = frozenset({(ROUTE, Cause.MISSING_BACKEND)})
SAID = {
    "Deploy two versions of one service": Said(EVEN, "", nothing_reads(), (BOTH_LABELS, APPLY), waypoint=""),
    "Name the two versions as subsets": Said(EVEN, "", nothing_reads(DR), (BOTH_LABELS, APPLY), waypoint=""),
    "Ask for a 95/5 split": Said(EVEN, "", nothing_reads(DR, VS), (BOTH_LABELS, APPLY), waypoint=""),
    "Look at what really happens": Said(EVEN, "", nothing_reads(DR, VS), (BOTH_LABELS, APPLY), waypoint=""),
    "Find what is missing": Said(EVEN, "", nothing_reads(DR, VS), (BOTH_LABELS, APPLY), waypoint=""),
    "Ambient mode alone": Said(EVEN, "", nothing_reads(DR, VS), (LABEL, APPLY), waypoint=""),
    "Add a waypoint": Said({"v1": 95, "v2": 5}, VS),
    "Take the rules away": Said(EVEN),
    "The same split as an HTTPRoute": Said(
        {NOWHERE.format("helloworld-v1"): 95, NOWHERE.format("helloworld-v2"): 5}, ROUTE, MISSING, expose("v1", "v2")
    ),
    "One of the two Services": Said({"v1": 95, NOWHERE.format("helloworld-v2"): 5}, ROUTE, MISSING, expose("v2")),
    "Both Services": Said({"v1": 95, "v2": 5}, ROUTE),
    "Other weights": Said({"v1": 25, "v2": 75}, ROUTE),
    "A third version that gets nothing yet": Said({"v1": 80, "v2": 20}, ROUTE),
    "Three ways": Said({"v1": 50, "v2": 30, "v3": 20}, ROUTE),
    "Without the label": Said(EVEN, "", nothing_reads(ROUTE) | {UNUSED}, (LABEL,), waypoint=""),
}
ABORTED = "{} (aborted by fault injection)"
SERVED = {"": 100}
OF_HTTPBIN = {
    "Put httpbin behind a waypoint": Said(SERVED),
    "Delay half of the requests": Said(SERVED, FAULT, facts=("fault: 50% wait 2 s",)),
    "Abort three in ten": Said({"": 70, ABORTED.format(503): 30}, FAULT, facts=("fault: 30% are answered 503",)),
    "Delay and abort together": Said(
        {"": 50, ABORTED.format(418): 50}, FAULT, facts=("fault: 50% wait 1 s", "fault: 50% are answered 418")
    ),
    "Faults for some users only": Said(
        {ABORTED.format(500): 100}, FAULT, facts=("fault: 100% are answered 500",), headers=("end-user: jason",)
    ),
    "No percentage, no fault": Said(SERVED, FAULT, frozenset({(FAULT, Cause.NO_EFFECT)})),
}


def shares(found: Explanation) -> dict[str, Fraction]:
    version = by_label("version")
    named: dict[str, Fraction] = {}
    for outcome in found.decision.outcomes:
        delivered = outcome.result in list(found.decision.delivered())
        name = version(outcome.result) if delivered else words.result(outcome.result)
        named[name] = named.get(name, Fraction(0)) + outcome.probability
    return named


@pytest.mark.parametrize(
    ("url", "said", "place"),
    [
        ("helloworld.hello:5000/hello", SAID, "hello"),
        ("http://httpbin.httpbin.svc.cluster.local:8000/get", OF_HTTPBIN, "httpbin"),
    ],
)
def test_each_state_of_the_lab_is_explained_as_the_lesson_does(url: str, said: dict[str, Said], place: str) -> None:
    lab = labs.load("traffic-management")
    typed = TypedLab(lab)
    met = []
    for step in lab.steps:
        typed.type(step)
        expected = said.get(step.title)
        if expected is None:
            continue
        found = explained(typed, url, source=None, headers=expected.headers)
        met.append(step.title)
        assert str(found.client.key) == "test/curl"
        assert shares(found) == {name: Fraction(share, 100) for name, share in expected.shares.items()}, step.title
        routes = [str(one.object) for one in found.applied if one.part == "routes the request"]
        assert routes == [expected.route] * bool(expected.route), step.title
        assert causes(found) == expected.without, step.title
        assert tuple(c for remedy in found.remedies for c in remedy.commands) == expected.commands, step.title
        used = expected.waypoint.replace("hello", place)
        assert str(found.decision.waypoint or "") == used, step.title
        doing = [fact for p in found.decision.passages if p.routing for fact in words.doing(p.routing)]
        assert set(expected.facts) <= set(doing), step.title
    assert met == list(said)


def test_what_is_offered_for_the_first_question_answers_it() -> None:
    """95 and 5 were asked for and 50 and 50 came: what is to be typed makes 95 and 5 of it."""
    lab = labs.load("traffic-management")
    typed = TypedLab(lab)
    for step in lab.steps[:4]:
        typed.type(step)
    for remedy in explained(typed).remedies:
        for command in remedy.commands:
            typed.command(command)
    found = explained(typed)
    assert shares(found) == {"v1": Fraction(95, 100), "v2": Fraction(5, 100)}
    assert (found.ignored, found.problems) == ((), ())
