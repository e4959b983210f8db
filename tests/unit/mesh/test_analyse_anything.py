"""Findings about routes, policies and requests drawn at random, as `mesh.decide` is held to Envoy on them."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, seed, settings

from ambientlab.api.objects import Object
from ambientlab.cli.analyze import sarif
from ambientlab.cli.analyze.document import document
from ambientlab.cli.analyze.drawing import draw
from ambientlab.cli.analyze.report import Found, Report
from ambientlab.cli.layout import WIDTH
from ambientlab.cli.output import json_text
from ambientlab.mesh.analysis.together import everything
from ambientlab.mesh.decide import Answered, Reason, Request, decide
from support import route_worlds
from support.decisions import CURL, indexed, world
from support.sarif import check

WORLD = route_worlds.world("10.1.2")
BEFALLS = {Reason.NO_CLUSTER: {"AML0015", "AML0028"}, Reason.NO_ENDPOINT: {"AML0016"}}


@seed(1)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(route_worlds.objects(), route_worlds.request())
def test_what_befalls_a_request_is_found_and_can_be_told(objects: list[Object], request: Request) -> None:
    index = indexed(*WORLD, *copy.deepcopy(objects))
    findings = everything(index)
    codes = {finding.code.id for finding in findings}
    for outcome in decide(index.mesh, CURL, request).outcomes:
        end = outcome.result
        if isinstance(end, Answered) and end.reason in BEFALLS:
            assert BEFALLS[end.reason] & codes, end
    report = Report(tuple(map(Found, findings)), len(objects))
    assert len(json.loads(json_text(document(report)))["findings"]) == len(findings)
    check(json.loads(json_text(sarif.document(report))))
    assert [line for line in draw(report).splitlines() if len(line) > WIDTH and " " in line.strip()] == []


@pytest.mark.parametrize("parents", ["x", {"conditions": [{}]}, [None, "x", {"conditions": "x"}, {"conditions": [1]}]])
def test_a_status_may_be_anything_that_its_schema_lets_in(parents: object) -> None:
    policy: Object = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "strange", "namespace": "hello"},
        "spec": {"rules": [{}]},
        "status": {"conditions": [{"type": "ZtunnelAccepted", "status": "False", "reason": "R"}], "parents": parents},
    }
    found = [finding for finding in everything(indexed(*world(), policy)) if finding.object.name == "strange"]
    assert [(finding.code.id, finding.field) for finding in found] == [("IST0171", "status.conditions")]
