"""Every lab that ships is sound: it loads, its manifests parse, its commands are bash, what can fail is made to."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from ambientlab import labs
from ambientlab.labs import traffic
from ambientlab.labs.model import Lab, Traffic
from ambientlab.traffic import stats

HERE_DOCUMENT = re.compile(r"<<'EOF'\n(.*?)\nEOF\n", re.DOTALL)


@pytest.fixture(params=labs.names())
def lab(request: pytest.FixtureRequest) -> Lab:
    return labs.load(request.param)


def manifests(lab: Lab) -> list[str]:
    written = [match for step in lab.steps for command in step.commands for match in HERE_DOCUMENT.findall(command)]
    return [asset.content for asset in (*lab.assets, *lab.manifests)] + written


def test_every_manifest_parses(lab: Lab) -> None:
    texts = manifests(lab)
    assert len(texts) > 3
    for text in texts:
        for document in yaml.safe_load_all(text):
            assert document["apiVersion"]
            assert document["kind"]
            assert document["metadata"]["name"]


def test_every_command_is_bash(lab: Lab) -> None:
    for step in lab.steps:
        for command in step.commands:
            subprocess.run(["bash", "-n"], input=command.encode(), check=True)


def test_every_file_a_command_applies_exists_by_then(lab: Lab) -> None:
    there = {asset.name for asset in lab.assets}
    applied: set[str] = set()
    for step in lab.steps:
        for command in step.commands:
            there.update(re.findall(r"^cat > (\S+)", command, re.MULTILINE))
            applied.update(re.findall(r"-f (\S+\.yaml)", command))
            assert applied <= there
    assert applied


def test_every_step_is_checked_and_can_fail(lab: Lab) -> None:
    for step in lab.steps:
        assert step.checks, step.title
        assert step.text.strip(), step.title
    observing = [step.title for step in lab.steps if not step.fails_before]
    assert len(observing) <= 2, observing


def test_no_check_takes_long_to_judge(lab: Lab) -> None:
    for step in lab.steps:
        for check in step.checks:
            if isinstance(check, Traffic):
                assert stats.outcomes(check.requests, len(check.outcomes)) < 200_000


def test_all_to_one_version_never_passes_for_a_split(lab: Lab) -> None:
    for step in lab.steps:
        for check in step.checks:
            if isinstance(check, Traffic):
                shares = traffic.shares(check.outcomes)
                favourite = shares.index(max(shares))
                alone = [check.requests if index == favourite else 0 for index in range(len(shares))]
                if shares[favourite] < 100:
                    assert stats.p_value(alone, shares) < traffic.SIGNIFICANCE, step.title


def test_the_transcript_is_typed_as_it_was() -> None:
    """What the lab's text tells people to type, character by character."""
    typed = "\n".join(command for step in labs.load("traffic-management").steps for command in step.commands)
    for line in (
        "kubectl apply -f helloworld.yaml -n hello",
        "kubectl get pods -n hello",
        "kubectl get svc -n hello",
        "k apply -f hello-dr.yaml",
        "kubectl get destinationrules",
        "kubectl get destinationrules -n hello",
        "k apply -f hellovs.yaml",
        "kubectl get virtualservice -n hello",
        "for i in {1..10}; do kubectl exec curl -n test -- curl -s helloworld.hello.svc.cluster.local:5000/hello; done",
        "kubectl get ns --show-labels",
        "kubectl label ns hello istio.io/dataplane-mode=ambient istio.io/use-waypoint=waypoint --overwrite",
        "istioctl waypoint apply -n hello",
        "kubectl get deploy waypoint -n hello",
        "kubectl delete virtualservice hello-world-vs -n hello --ignore-not-found",
        "kubectl delete destinationrule hello-world-dr -n hello --ignore-not-found",
        "kubectl get crd httproutes.gateway.networking.k8s.io -o name",
        "kubectl apply -n hello -f helloworld.yaml",
        "kubectl apply -f hello-httproute-split-traffic.yaml",
        "kubectl get httproutes -n hello",
    ):
        assert line in typed.splitlines()
