"""Policies of security.istio.io in a whole mesh: pods with identities of their own, and connections that stay open."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise

import pytest

from support import jwt
from support.clients import CLIENTS
from support.mesh import Mesh
from support.waiting import first

URL = "http://helloworld.hello.svc.cluster.local:5000/hello"
CODE = ["-o", "/dev/null", "-w", "%{http_code}"]


def policy(name: str, spec: str, namespace: str = "hello") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


TARGET = "targetRefs: [{kind: Service, group: '', name: helloworld}]"


def allow(source: str) -> str:
    return f"{{{TARGET}, rules: [{{from: [{{source: {{{source}}}}}]}}]}}"


@pytest.fixture(scope="module")
def guarded(hello_behind_waypoint: Mesh) -> Mesh:
    lab = hello_behind_waypoint
    lab.apply(CLIENTS)
    lab.kubectl("wait", "--for=condition=Ready", "pod/bob", "-n", "test", "--timeout=30s")
    lab.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", "hello", "--timeout=30s")
    return lab


@pytest.fixture
def clean(guarded: Mesh) -> Iterator[Mesh]:
    yield guarded
    for namespace in ("hello", "istio-system"):
        guarded.kubectl("delete", "authorizationpolicies,requestauthentications", "--all", "-n", namespace)


def code(mesh: Mesh, namespace: str, pod: str, *arguments: str) -> str:
    return mesh.kubectl("exec", pod, "-n", namespace, "--", "curl", "-sS", "-m", "10", *CODE, *arguments, URL)


def codes(mesh: Mesh) -> tuple[str, str, str]:
    """Of the clients of namespace test, curl and bob, and of the one in the service's namespace."""
    return code(mesh, "test", "curl"), code(mesh, "test", "bob"), code(mesh, "hello", "neighbour")


def until(mesh: Mesh, *wanted: str) -> None:
    first(lambda: codes(mesh), lambda found: found == wanted, f"answers {wanted}")


def test_identities_of_pods(clean: Mesh) -> None:
    until(clean, "200", "200", "200")
    clean.apply(policy("allow-bob", allow("principals: [cluster.local/ns/test/sa/bob]")))
    until(clean, "403", "200", "403")
    clean.apply(policy("allow-bob", allow("namespaces: [test]")))
    until(clean, "200", "200", "403")
    (condition,) = clean.json("get", "ap", "allow-bob", "-n", "hello")["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["message"]) == (
        "WaypointAccepted",
        "True",
        "bound to hello/waypoint",
    )
    answer = clean.kubectl("exec", "neighbour", "-n", "hello", "--", "curl", "-sS", URL)
    assert answer == "RBAC: access denied"


def test_a_policy_reaches_open_connections_and_cuts_none(clean: Mesh) -> None:
    deny = policy("stop", f"{{{TARGET}, action: DENY, rules: [{{to: [{{operation: {{methods: [GET]}}}}]}}]}}")
    report = "%{stderr}%{http_code} %{num_connects}\\n"
    requests = ["curl", "-sS", "-o", "/dev/null", "-w", report, "--rate", "50/s", f"{URL}?[1-150]"]
    with clean.background("exec", "curl", "-n", "test", "--", *requests) as running:
        assert running.process.stdout is not None
        first = running.process.stdout.readline()
        clean.apply(deny)
        lines = [first, *running.finish()]
    answers = [line.split() for line in lines]
    assert len(answers) == 150
    assert {status for status, _ in answers} == {"200", "403"}
    assert sum(a != b for (a, _), (b, _) in pairwise(answers)) == 1
    assert sum(int(connects) for _, connects in answers) == 1


def test_a_policy_for_every_waypoint_and_its_log_line(clean: Mesh) -> None:
    waypoints = "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]"
    clean.apply(policy("closed", f"{{{waypoints}, action: DENY, rules: [{{}}]}}", "istio-system"))
    until(clean, "403", "403", "403")
    log = clean.kubectl("logs", "deploy/waypoint", "-n", "hello", "--tail=1")
    assert "rbac_access_denied_matched_policy[ns[istio-system]-policy[closed]-rule[0]]" in log


def test_a_policy_that_a_waypoint_refuses_is_told_by_whoever_is_asked(clean: Mesh) -> None:
    """Envoy takes no empty set of keys. It goes on without the policies that come with one."""
    clean.apply(f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: hello}}
spec: {{{TARGET}, jwtRules: [{{issuer: me, jwks: '{{"keys":[]}}'}}]}}
""")
    clean.apply(policy("closed", f"{{{TARGET}, action: DENY, rules: [{{}}]}}"))
    refused = "--for=jsonpath={.status.conditions[?(@.type=='ambientlab.io/Finding')].reason}=Refused"
    clean.kubectl("wait", "-n", "hello", refused, "authorizationpolicy/closed", "--timeout=30s")
    assert code(clean, "test", "curl") == "200"
    for command in (("analyze", "-n", "hello"), ("explain", URL, "--from", "test/curl")):
        said = " ".join(clean.ambientlab(*command).out.split())
        assert "AuthorizationPolicy hello/closed" in said
        assert "waypoint hello/waypoint refuses the policies of helloworld.hello.svc.cluster.local" in said
    assert "what is in force of AuthorizationPolicy hello/closed" in said


def test_keys_that_a_service_of_the_cluster_serves(clean: Mesh) -> None:
    """httpbin answers /base64/... with what is encoded there."""
    clean.kubectl("apply", "-n", "hello", "-f", clean.manifest("httpbin.yaml"))
    clean.kubectl("wait", "-n", "hello", "--for=condition=Available", "deploy/httpbin", "--timeout=30s")
    keys = jwt.keys(b"the-secret-of-the-issuer")
    uri = f"http://httpbin.hello:8000/base64/{base64.urlsafe_b64encode(keys.encode()).decode()}"
    clean.apply(f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: hello}}
spec: {{{TARGET}, jwtRules: [{{issuer: me, jwksUri: "{uri}"}}]}}
""")
    good, bad = (["-H", f"authorization: Bearer {jwt.token(secret)}"] for secret in (b"the-secret-of-the-issuer", b"x"))
    first(
        lambda: (code(clean, "test", "curl", *good), code(clean, "test", "curl", *bad)),
        lambda found: found == ("200", "401"),
        "verdict on tokens",
    )
    assert code(clean, "test", "curl") == "200"
