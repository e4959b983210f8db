"""Explanations of routes, policies and requests drawn at random, as `mesh.decide` is held to Envoy on them."""

from __future__ import annotations

import copy
import json

from hypothesis import HealthCheck, given, seed, settings

from ambientlab.api.objects import Object
from ambientlab.cli.explain.document import document
from ambientlab.cli.explain.drawing import draw
from ambientlab.cli.layout import WIDTH
from ambientlab.cli.output import json_text
from ambientlab.mesh import explain
from ambientlab.mesh.decide import Request, decide
from ambientlab.mesh.explain import Asker, Place
from support import route_worlds
from support.decisions import CURL, indexed

WORLD = route_worlds.world("10.1.2")


@seed(1)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(route_worlds.objects(), route_worlds.request())
def test_whatever_is_asked_is_explained_as_it_is_decided(objects: list[Object], request: Request) -> None:
    index = indexed(*WORLD, *copy.deepcopy(objects))
    found = explain.explain(index, Asker(CURL), request)
    assert found.decision == decide(index.mesh, CURL, request)
    assert json.loads(json_text(document(found)))["kind"] == "Explanation"
    # an address has no places to break it at
    assert all(len(line) <= WIDTH for line in draw(found).splitlines()[1:])
    refused = [p for p in found.decision.passages if not p.verdict.allowed and p.verdict.decisive is not None]
    denying = [one for one in found.applied if one.part == "denies the request" and one.place is Place.WAYPOINT]
    assert len(denying) == len(refused)
