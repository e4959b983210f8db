"""Istio's own codes: for each, objects that give it, in the words that `istioctl analyze` prints, and others that do
not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, DESTINATIONRULE
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cli.istio.analyze import line
from ambientlab.mesh.analysis import analyse
from ambientlab.mesh.analysis.istio import ANALYSERS, CODES
from ambientlab.mesh.index import index
from support.decisions import case, indexed, world

GOLDEN = Path(__file__).parent
CASES: list[dict[str, Any]] = yaml.load((GOLDEN / "istio_findings.yaml").read_text(), yaml.CSafeLoader)
NAMES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("cases/*.in.yaml"))
REFUSED = "IST0106"
"""What the API refuses: of files alone, and not found in an index."""


def lines(*objects: Object) -> list[str]:
    index = indexed(*world(), *objects)
    found = sorted((line(index, finding) for finding in analyse(index, ANALYSERS)), key=lambda one: one.order)
    return [one.text() for one in found]


def beside_the_world(objects: Sequence[Object]) -> list[str]:
    known = lines()
    return [one for one in lines(*objects) if one not in known]


@pytest.mark.parametrize("given", CASES, ids=lambda given: str(given["code"]))
def test_the_bad_objects_have_the_code_and_the_good_ones_have_nothing(given: dict[str, Any]) -> None:
    assert beside_the_world(given["bad"]) == given["lines"]
    assert any(f"[{given['code']}]" in one for one in given["lines"])
    assert beside_the_world(given["good"]) == []


def test_every_code_has_a_case() -> None:
    assert [given["code"] for given in CASES] == sorted({*CODES} - {REFUSED})


@pytest.mark.parametrize("name", NAMES)
def test_whatever_there_is_can_be_analysed(name: str) -> None:
    from support.decisions import objects_in

    for finding in analyse(indexed(*world(), *objects_in(case(name))), ANALYSERS):
        assert finding.message
        assert finding.remedies[0].commands


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        (AUTHORIZATIONPOLICY, {"rules": [{"from": [{}]}]}),
        (DESTINATIONRULE, {"host": "a", "trafficPolicy": {"portLevelSettings": [{"tls": {"mode": "SIMPLE"}}]}}),
    ],
)
def test_what_no_webhook_has_looked_at_can_be_analysed(resource: Resource, spec: dict[str, Any]) -> None:
    """Clusters have their objects from before, or without Istio's webhook; schemas are kept."""
    obj = {"metadata": {"name": "x", "namespace": "hello", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}
    known = index({resource: [obj]}, failed=lambda name, key, error: None)
    assert [finding.object.name for finding in analyse(known, ANALYSERS)].count("x") > 0
