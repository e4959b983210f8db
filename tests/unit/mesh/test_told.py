"""What istiod alone knows of an object is read off its status, and nothing else of it."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.api.objects import Object
from ambientlab.mesh.analysis import ANALYSERS, analyse
from ambientlab.mesh.explain import Cause
from ambientlab.mesh.index.told import told
from support.decisions import indexed, objects_in, world
from support.explanations import explained_in

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: some, namespace: hello, generation: 2}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld, port: 5000}]
  rules:
  - backendRefs: [{name: helloworld, port: 5000}]
    sessionPersistence: {sessionName: some}
"""
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: some, namespace: hello, generation: 2}
spec:
  targetRefs: [{kind: Service, group: "", name: helloworld}]
  jwtRules: [{issuer: a.example, jwksUri: "http://keys.example.com/"}]
"""
SAID = "waypoint hello/waypoint refuses its routes for helloworld.hello.svc.cluster.local:5000: no; never"
KEYS = "its keys are missing, so that no token is valid"


def found(reason: str, message: str, generation: int | None = 2, type_: str = "ambientlab.io/Finding") -> Object:
    condition: dict[str, Any] = {"type": type_, "status": "True", "reason": reason, "message": message}
    return condition | ({} if generation is None else {"observedGeneration": generation})


def with_status(text: str, status: Object) -> list[Object]:
    [obj] = objects_in(text)
    return [*world(), obj | {"status": status}]


CASES = [
    (ROUTE, {"parents": [{"conditions": [found("Refused", SAID)]}] * 2}, "", SAID),
    (TOKENS, {"conditions": [found("KeysMissing", f"spec.jwtRules[0]: {KEYS}")]}, "spec.jwtRules[0]", KEYS),
    (TOKENS, {"conditions": [found("CredentialNotFound", "connections fail", None)]}, "", "connections fail"),
    (TOKENS, {"ancestors": [{"conditions": [found("Several", f"{KEYS}; {SAID}")]}]}, "", f"{KEYS}; {SAID}"),
]


@pytest.mark.parametrize(("text", "status", "field", "message"), CASES)
def test_it_is_told_by_all(text: str, status: Object, field: str, message: str) -> None:
    objects = with_status(text, status)
    index = indexed(*objects)
    [diagnostic] = told(index)
    assert (diagnostic.field, diagnostic.message) == (field, message)
    assert message in {finding.message for finding in analyse(index, ANALYSERS)}
    explained = explained_in(index, "http://helloworld.hello:5000/hello")
    assert (Cause.INVALID, message) in {(finding.cause, finding.message) for finding in explained.ignored}


POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: some, namespace: hello, generation: 2}
spec: {targetRefs: [{kind: Service, group: "", name: helloworld}], action: DENY, rules: [{}]}
"""


@pytest.mark.parametrize(("reason", "unseen"), [("Refused", True), ("Several", True), ("KeysMissing", False)])
def test_what_a_waypoint_refuses_decides_nothing_that_can_be_foreseen(reason: str, unseen: bool) -> None:
    index = indexed(*with_status(POLICY, {"conditions": [found(reason, SAID)]}))
    told = [each.what for each in explained_in(index, "http://helloworld.hello:5000/hello").unseen]
    assert told == (["what is in force of AuthorizationPolicy hello/some"] if unseen else [])


def test_what_the_index_says_itself_is_not_said_again() -> None:
    [known] = {d.text for d in indexed(*with_status(ROUTE, {})).diagnostics() if d.object.name == "some"}
    for message, left in ((f"{known}; {SAID}", [SAID]), (f"{SAID}; {known}", [SAID]), (known, [])):
        index = indexed(*with_status(ROUTE, {"conditions": [found("Several", message)]}))
        assert [each.message for each in told(index)] == left


@pytest.mark.parametrize(
    "condition",
    [
        found("Refused", SAID, 1),
        found("Refused", SAID, type_="ambientlab.io/Unsupported"),
        found("Ignored", "a reason that the index gives"),
        found("Refused", ""),
    ],
)
def test_nothing_else_is(condition: Object) -> None:
    assert list(told(indexed(*with_status(ROUTE, {"conditions": [condition]})))) == []
