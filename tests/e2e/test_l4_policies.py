"""Policies at ztunnel in a whole mesh, by kubectl: who may connect, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import clients
from support.mesh import Mesh
from support.waiting import eventually, first

URL = "http://helloworld.hello.svc.cluster.local:5000/hello"
WORLD = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: outside}}
---
apiVersion: v1
kind: Pod
metadata: {{name: stranger, namespace: outside}}
spec: {{containers: [{{name: curl, image: curlimages/curl, command: [sleep, infinity]}}]}}
---{clients.CLIENTS}"""
CLIENTS = (("test", "curl"), ("test", "bob"), ("hello", "neighbour"), ("outside", "stranger"))
"""Three of the mesh and one that is not."""


def policy(name: str, spec: str, namespace: str = "hello", kind: str = "AuthorizationPolicy") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


@pytest.fixture(scope="module")
def ambient(lab: Mesh) -> Mesh:
    lab.kubectl("label", "namespace", "hello", "istio.io/dataplane-mode=ambient")
    lab.helloworld()
    lab.apply(WORLD)
    for namespace in ("test", "hello", "outside"):
        lab.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", namespace, "--timeout=30s")
    return lab


@pytest.fixture
def clean(ambient: Mesh) -> Iterator[Mesh]:
    yield ambient
    for namespace in ("hello", "istio-system"):
        ambient.kubectl("delete", "authorizationpolicies,peerauthentications", "--all", "-n", namespace)


def admitted(mesh: Mesh, namespace: str, pod: str) -> bool:
    command = ["curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", URL]
    answer = mesh.kubectl("exec", pod, "-n", namespace, "--", *command, check=False)
    assert answer.startswith(("200", "000")), answer
    return answer.startswith("200")


def until(mesh: Mesh, *wanted: bool) -> None:
    """Which of the clients get in."""

    def answers() -> tuple[bool, ...]:
        with ThreadPoolExecutor(len(CLIENTS)) as threads:
            return tuple(threads.map(lambda client: admitted(mesh, *client), CLIENTS))

    first(answers, lambda found: found == wanted, f"answers {wanted}")


def logged(mesh: Mesh, *words: str) -> None:
    def there() -> bool:
        log = mesh.kubectl("logs", "ds/ztunnel", "-n", "istio-system", "--tail=200")
        return any(all(word in line for word in words) for line in log.splitlines())

    eventually(there, f"line with {words}")


def condition(mesh: Mesh, name: str, kind: str = "ZtunnelAccepted") -> tuple[str, str, str]:
    def found() -> tuple[str, str, str] | None:
        status = mesh.json("get", "ap", name, "-n", "hello").get("status", {})
        conditions = {c["type"]: (c["status"], c["reason"], c["message"]) for c in status.get("conditions", [])}
        return conditions.get(kind)

    result = first(found, lambda answer: answer is not None, f"condition {kind} of {name}")
    assert result is not None
    return result


def test_principals_namespaces_and_ports(clean: Mesh) -> None:
    until(clean, True, True, True, True)
    clean.apply(policy("allow", "{rules: [{from: [{source: {principals: [cluster.local/ns/test/sa/bob]}}]}]}"))
    until(clean, False, True, False, False)
    assert condition(clean, "allow") == ("True", "Accepted", "attached to ztunnel")
    error = "connection closed due to policy rejection: allow policies exist, but none allowed"
    logged(clean, 'direction="inbound"', 'src.identity="spiffe://cluster.local/ns/test/sa/default"', error)
    logged(clean, 'direction="outbound"', 'src.workload="curl"', 'error="http status: 401 Unauthorized"')
    clean.apply(policy("allow", "{rules: [{from: [{source: {namespaces: [test]}}]}]}"))
    until(clean, True, True, False, False)
    clean.apply(policy("deny", '{action: DENY, rules: [{to: [{operation: {ports: ["5000"]}}]}]}'))
    until(clean, False, False, False, False)
    logged(clean, "connection closed due to policy rejection: explicitly denied by: hello/deny")
    clean.apply(policy("deny", '{action: DENY, rules: [{to: [{operation: {ports: ["80"]}}]}]}'))
    until(clean, True, True, False, False)


def test_strict_mtls_keeps_out_who_is_not_in_the_mesh(clean: Mesh) -> None:
    clean.apply(policy("default", "{mtls: {mode: STRICT}}", "istio-system", "PeerAuthentication"))
    until(clean, True, True, True, False)
    logged(clean, "explicitly denied by: istio-system/istio_converted_static_strict")
    clean.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", "hello", "--timeout=30s")
    ports = '{selector: {matchLabels: {app: helloworld}}, portLevelMtls: {"5000": {mode: PERMISSIVE}}}'
    clean.apply(policy("helloworld", ports, "hello", "PeerAuthentication"))
    until(clean, True, True, True, True)


def test_an_open_connection_ends_with_a_policy_of_its_namespace(clean: Mesh) -> None:
    """And goes on with one that selects the pod, as in ztunnel 1.31."""
    until(clean, True, True, True, True)
    report = "%{stderr}%{http_code} %{num_connects}\\n"
    requests = ["curl", "-sS", "-o", "/dev/null", "-w", report, "--rate", "20/s", f"{URL}?[1-400]"]
    with clean.background("exec", "curl", "-n", "test", "--", *requests) as running:
        assert running.process.stdout is not None
        assert running.process.stdout.readline().split() == ["200", "1"]
        clean.apply(policy("selected", "{selector: {matchLabels: {app: helloworld}}, action: DENY, rules: [{}]}"))
        until(clean, False, False, False, False)
        for _ in range(20):
            assert running.process.stdout.readline().split() == ["200", "0"]
        clean.apply(policy("namespace", "{action: DENY, rules: [{}]}"))
        answers = (line.split()[0] for line in running.process.stdout)
        assert next(answer for answer in answers if answer != "200") in ("000", "curl:")
    logged(clean, "(spiffe://cluster.local/ns/test/sa/default)->", ":5000 (Kubernetes//Pod/hello/helloworld-v")
    logged(clean, 'direction="inbound"', 'error="connection closed due to policy change"')


def test_what_asks_about_requests(clean: Mesh) -> None:
    selector, rules = "{matchLabels: {app: helloworld}}", "[{to: [{operation: {methods: [GET]}}]}]"
    clean.apply(policy("get", f"{{selector: {selector}, action: DENY, rules: {rules}}}"))
    status, reason, message = condition(clean, "get")
    assert (status, reason) == ("True", "UnsupportedValue")
    assert message.startswith(
        "ztunnel does not support HTTP attributes (found: methods). In ambient mode you must use a"
    )
    assert "no connection matches this rule" in condition(clean, "get", "ambientlab.io/Finding")[2]
    until(clean, True, True, True, True)
    clean.apply(policy("get", "{rules: [{to: [{operation: {methods: [GET]}}]}]}"))
    until(clean, False, False, False, False)
    assert "rules matching HTTP attributes are omitted" in condition(clean, "get")[2]
    clean.apply(policy("audit", "{action: AUDIT, rules: [{}]}"))
    assert condition(clean, "audit") == ("False", "UnsupportedValue", "ztunnel does not support the AUDIT action")


def test_a_waypoint_has_its_own_identity(clean: Mesh) -> None:
    clean.kubectl("label", "namespace", "hello", "istio.io/use-waypoint=waypoint")
    clean.waypoint("hello")
    clean.apply(policy("only-the-waypoint", "{rules: [{from: [{source: {serviceAccounts: [waypoint]}}]}]}"))
    pod = clean.json("get", "pods", "-n", "hello", "-l", "app=helloworld")["items"][0]["status"]["podIP"]
    until(clean, True, True, True, False)
    direct = clean.kubectl(
        "exec", "curl", "-n", "test", "--", "curl", "-sS", "-m", "10", f"http://{pod}:5000/hello", check=False
    )
    assert "Hello" not in direct
    clean.apply(policy("only-the-waypoint", "{rules: [{from: [{source: {namespaces: [test]}}]}]}"))
    code = ["curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", URL]
    first(lambda: clean.kubectl("exec", "curl", "-n", "test", "--", *code), lambda found: found == "503", "503")
    clean.kubectl("label", "namespace", "hello", "istio.io/use-waypoint-")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}", "bad CIDR range (10.0.0.0/33)"),
        ("{rules: [{from: [{source: {ipBlocks: [10.0.0.256]}}]}]}", "bad IP address (10.0.0.256)"),
        ('{rules: [{to: [{operation: {ports: ["70000"]}}]}]}', "bad port (70000)"),
        ("{action: DENY}", "DENY action without `rules` is meaningless as it will never be triggered"),
        ("{rules: [{from: [{source: {}}]}]}", "`from.source` must not be empty, found at rule 0"),
        (
            "{rules: [{from: [{source: {namespaces: [a], serviceAccounts: [b]}}]}]}",
            "Cannot set serviceAccounts with namespaces or principals",
        ),
        (
            "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, group: '', name: x}]}",
            "only one of targetRefs or selector can be set",
        ),
        ("{selector: {matchLabels: {a: 'b*'}}}", "wildcard not allowed in label value match"),
    ],
)
def test_bad_policies_are_refused(ambient: Mesh, spec: str, words: str) -> None:
    assert words in ambient.kubectl("apply", "-f", "-", stdin=policy("bad", spec), check=False)


def test_a_selector_for_nobody_is_told(clean: Mesh) -> None:
    clean.apply(policy("nobody", "{selector: {matchLabels: {app: missing}}, action: DENY, rules: [{}]}"))
    assert condition(clean, "nobody", "ambientlab.io/Finding")[2] == "spec.selector: no effect: it selects no pod"
    until(clean, True, True, True, True)
