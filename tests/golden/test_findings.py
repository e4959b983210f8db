"""Every code has an example that gives it and one that does not: findings/ID.bad.yaml and findings/ID.good.yaml."""

from __future__ import annotations

import pytest
import yaml

from ambientlab import labs
from ambientlab.api.objects import Object, copy
from ambientlab.host import manifests
from ambientlab.host.merging import as_kubectl
from ambientlab.mesh.analysis import ANALYSERS, CODES, analyse
from ambientlab.mesh.analysis.together import everything
from ambientlab.mesh.decide import Answered, Reason, Request, decide
from ambientlab.mesh.foreseen import foreseen
from ambientlab.mesh.index import index
from support.decisions import CURL, case, indexed, objects_in, world
from support.findings import HERE, by_resource, found, with_example
from support.typed_lab import TypedLab

CASES = sorted(path.name.removesuffix(".in.yaml") for path in HERE.parent.glob("cases/*.in.yaml"))
CHANGING = ("label", "patch", "delete", "waypoint", "create", "apply", "sed")
LOOKED_AT = frozenset(
    {"WaypointNotReady", "WaypointWithoutPods", "CanaryUnusable", "NoEndpoints", "OddWeights", "NeverMatches",
     "NotPermitted", "AdmitsNobody", "NobodySelected", "NotBuilt", "Invalid"}
)  # fmt: skip
"""Codes whose remedy depends on what is meant: it is to look, or to edit."""


def typed_world(*objects: Object) -> TypedLab:
    """Objects to type commands about."""
    typed = TypedLab(labs.load("traffic-management"))
    typed.objects = {
        (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): copy(obj) for obj in objects
    }
    return typed


def test_nothing_is_wrong_with_the_world() -> None:
    assert everything(indexed(*world())) == ()


@pytest.mark.parametrize("id_", CODES)
def test_the_bad_example_has_the_code_and_the_good_one_has_none(id_: str) -> None:
    assert [finding.code.id for finding in found(f"{id_}.bad")] == [id_]
    assert found(f"{id_}.good") == ()


@pytest.mark.parametrize("id_", CODES)
def test_what_istio_says_of_it_too_is_said_once(id_: str) -> None:
    assert [finding.code.id for finding in everything(index(with_example(f"{id_}.bad")))] == [id_]


@pytest.mark.parametrize("id_", [code.id for code in CODES.values() if code.name not in LOOKED_AT])
def test_what_is_offered_does_away_with_the_finding(id_: str) -> None:
    [finding] = found(f"{id_}.bad")
    for remedy in finding.remedies:
        typed = typed_world(*(obj for some in with_example(f"{id_}.bad").values() for obj in some))
        for command in remedy.commands:
            assert any(word in command.split() for word in CHANGING), command
            typed.command(command)
        after = analyse(index(foreseen({}, by_resource(typed.objects.values()), as_kubectl)), ANALYSERS)
        assert id_ not in {each.code.id for each in after}, remedy


BEFALLS = {Reason.NO_CLUSTER: {"MissingBackend", "Invalid"}, Reason.NO_ENDPOINT: {"NoEndpoints"}}
UNHEARD = {"AML0001"}
MISSING = {"AML0015"}
UNUSED = {"AML0001", "AML0002"}
LAB = {
    "Deploy two versions of one service": set(),
    "Name the two versions as subsets": UNHEARD,
    "Ask for a 95/5 split": UNHEARD,
    "Look at what really happens": UNHEARD,
    "Find what is missing": UNHEARD,
    "Ambient mode alone": UNHEARD,
    "Add a waypoint": set(),
    "Take the rules away": set(),
    "The same split as an HTTPRoute": MISSING,
    "One of the two Services": MISSING,
    "Both Services": set(),
    "Other weights": set(),
    "A third version that gets nothing yet": set(),
    "Three ways": set(),
    "Without the label": UNUSED,
    "Put httpbin behind a waypoint": UNUSED,
    "Delay half of the requests": UNUSED,
    "Abort three in ten": UNUSED,
    "Delay and abort together": UNUSED,
    "Faults for some users only": UNUSED,
    "No percentage, no fault": UNUSED | {"AML0018"},
    "Clean up": set(),
}


def test_every_state_of_the_lab() -> None:
    lab = labs.load("traffic-management")
    typed, states = TypedLab(lab), {}
    for step in lab.steps:
        typed.type(step)
        states[step.title] = {finding.code.id for finding in everything(typed.index())}
    assert states == LAB


@pytest.mark.parametrize("name", CASES)
def test_whatever_there_is_can_be_analysed(name: str) -> None:
    """And what is patched in an object leaves one that the API takes."""
    patched = []
    for finding in everything(indexed(*world(), *objects_in(case(name)))):
        assert finding.message
        assert finding.remedies, finding
        for remedy in finding.remedies:
            assert remedy.commands
            typed = typed_world(*world(), *objects_in(case(name)))
            patches = [command for command in remedy.commands if command.startswith("kubectl patch ")]
            for command in patches:
                typed.command(command)
            if patches:
                kind = finding.object.kind.partition(".")[0]
                patched.append(typed.objects[(kind, finding.object.namespace, finding.object.name)])
    # some cases have objects that never come past the API
    assert refused(patched) <= refused([copy(obj) for obj in objects_in(case(name))])


def refused(objects: list[Object]) -> set[str]:
    return {problem.named for problem in manifests.read([("case", yaml.safe_dump_all(objects))]).problems}


@pytest.mark.parametrize("name", CASES)
def test_what_befalls_requests_is_found(name: str) -> None:
    """Requests that a waypoint answers because there is no destination, or nobody behind it."""
    index = indexed(*world(), *objects_in(case(name)))
    found = {finding.code.name for finding in analyse(index, ANALYSERS)}
    for host, port in index.mesh.routes if CURL in index.mesh.workloads else ():
        asked = Request.to(f"http://{host.replace('*', 'any')}:{port}/", "GET", ())
        for outcome in decide(index.mesh, CURL, asked, domain=index.domain).outcomes:
            end = outcome.result
            if isinstance(end, Answered) and end.reason in BEFALLS:
                assert BEFALLS[end.reason] & found, (host, port, end)


@pytest.mark.parametrize("redirection", ["pending", ""])
def test_who_is_on_its_way_into_the_mesh_is_no_outsider(redirection: str) -> None:
    """Before ztunnel has a pod, whatever comes of it: STRICT is not why."""
    joining = f"""
apiVersion: v1
kind: Pod
metadata: {{name: curl, namespace: test, annotations: {{ambient.istio.io/redirection: "{redirection}"}}}}
spec: {{nodeName: ambientlab, serviceAccountName: curl}}
status: {{phase: Running, podIP: 10.244.0.10, conditions: [{{type: Ready, status: "True"}}]}}
---
"""
    bad = (HERE / "AML0023.bad.yaml").read_text()
    [told] = [one for one in everything(indexed(*world(), *objects_in(joining + bad))) if one.code.id == "AML0023"]
    assert told.message.startswith("httpbin/httpbin-686d6fc899-2x7hk cannot connect to ")
