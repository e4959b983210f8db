"""A mesh that is reached through its kubeconfig alone, by somebody who may do what docs/clusters.md asks for.

A gate before its API permits what the ClusterRoles permit, counts, and notes every request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from click.testing import Result as Invoked

from ambientlab.cli.main import cli
from support.gate import Gate, Permission, permissions
from support.mesh import Mesh, Result

HELLO = "helloworld.hello.svc.cluster.local:5000/hello"
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: hello}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld, port: 5000}]
  rules: [{backendRefs: [{name: helloworld, port: 5000}]}]
"""
WITHOUT_PYTHON = """
apiVersion: v1
kind: ConfigMap
metadata: {name: programs, namespace: test}
data: {curl: "#!/bin/sh\\nexec /usr/bin/curl \\"$@\\"\\n"}
---
apiVersion: v1
kind: Pod
metadata: {name: slim, namespace: test}
spec:
  volumes: [{name: programs, configMap: {name: programs, defaultMode: 0755}}]
  containers:
  - name: slim
    image: busybox
    command: [/bin/sleep, infinity]
    env: [{name: PATH, value: /programs}]
    volumeMounts: [{name: programs, mountPath: /programs}]
"""
PAGE = (Path(__file__).parents[2] / "docs/clusters.md").read_text()
READER, PLANNER, SENDER = (
    permissions(yaml.safe_load(role)) for role in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)


@pytest.fixture(scope="module")
def hello(lab: Mesh) -> Mesh:
    lab.kubectl("apply", "-n", "hello", "-f", lab.manifest("helloworld.yaml"))
    lab.apply(ROUTE + "---" + WITHOUT_PYTHON)
    lab.kubectl("wait", "-n", "hello", "--for=condition=Available", "deploy", "--all")
    lab.kubectl("wait", "-n", "test", "--for=condition=Ready", "pod/slim")
    return lab


@pytest.fixture
def gate(hello: Mesh) -> Iterator[Gate]:
    made = Gate(hello.root / "kubeconfig", READER)
    yield made
    made.close()


@pytest.fixture
def elsewhere(gate: Gate, hello: Mesh, tmp_path: Path) -> Mesh:
    """A home without a mesh, and a kubeconfig with the gate."""
    gate.kubeconfig(tmp_path / "kubeconfig")
    variables = {"XDG_STATE_HOME": str(tmp_path / "state"), "KUBECONFIG": str(tmp_path / "kubeconfig")}
    return Mesh(tmp_path, hello.env | variables)


def here(elsewhere: Mesh, *arguments: str) -> Invoked:
    """The command within this process, which is quicker."""
    return CliRunner(env=elsewhere.env).invoke(cli, [arguments[0], "--context", "gate", *arguments[1:]])


FOR_ANALYZE = Permission("networking.istio.io", "gateways", "list")


@pytest.mark.parametrize(
    ("command", "needed"),
    [(("explain", HELLO, "--from", "test/curl"), READER - {FOR_ANALYZE}), (("analyze",), READER)],
    ids=["explain", "analyze"],
)
def test_a_reader_reads_each_thing_once_and_writes_nothing(
    elsewhere: Mesh, gate: Gate, command: tuple[str, ...], needed: set[Permission]
) -> None:
    done = elsewhere.ambientlab(command[0], "--context", "gate", *command[1:])
    assert "Not seen" not in done.out, done.text
    assert "HTTPRoute hello/split" in done.out
    assert {method for method, _ in gate.seen} == {"GET"}
    paths = [path for _, path in gate.seen]
    assert len(paths) == len(set(paths)) == len(needed)
    assert gate.used == needed


ALL_TO_V1 = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: planned, namespace: hello}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld, port: 5000}]
  rules: [{matches: [{path: {value: /hello}}], backendRefs: [{name: helloworld-v1, port: 5000}]}]
---
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello}
spec: {ports: [{name: http, port: 5000}], selector: {app: helloworld, version: v1}}
"""


def test_a_plan_is_rehearsed_by_who_may_and_judged_by_our_own_rules_for_others(elsewhere: Mesh, gate: Gate) -> None:
    gate.permitted |= PLANNER
    told = "the API does not let you try it"
    done = elsewhere.ambientlab("plan", "--context", "gate", "-f", "-", stdin=ALL_TO_V1)
    assert (done.code, told in done.out) == (2, True), done.text
    assert {method for method, _ in gate.seen} == {"GET"}
    gate.permitted |= {
        Permission("", "services", "patch"),
        Permission("gateway.networking.k8s.io", "httproutes", "create"),
    }
    done = elsewhere.ambientlab("plan", "--context", "gate", "-f", "-", stdin=ALL_TO_V1)
    assert (done.code, told in done.out) == (2, False), done.text
    written = [(method, path) for method, path in gate.seen if method != "GET"]
    assert {method for method, _ in written} == {"POST", "PATCH"}
    assert all("dryRun=All" in path for _, path in written)


def test_traffic_is_sent_by_who_may_and_nothing_is_written(elsewhere: Mesh, gate: Gate) -> None:
    gate.permitted |= SENDER
    for source in ("test/curl", "test/slim"):
        done = _traffic(elsewhere, source, "-n", "20")
        assert done.code == 0, done.text
        found = json.loads(done.out)
        assert found["outcomes"] == {"HTTP 200": 20}
        assert [one["expected"] for one in found["expectations"]] == ["v1 50 %, v2 50 %"]
    written = {(method, path.partition("?")[0]) for method, path in gate.seen if method != "GET"}
    assert {path for _, path in written} <= {f"/api/v1/namespaces/test/pods/{pod}/exec" for pod in ("curl", "slim")}


def test_traffic_without_python_has_the_limits_of_curl(elsewhere: Mesh, gate: Gate) -> None:
    gate.permitted |= SENDER
    done = _traffic(elsewhere, "test/slim", "-c", "4")
    assert (done.code, done.out) == (2, "")
    assert "has no python3, and curl shows no bodies of parallel requests" in done.err
    done = _traffic(elsewhere, "test/slim", "-n", "40", "-c", "4", "--by", "status", "--expect-status", "200=100%")
    assert json.loads(done.out)["groups"][0]["count"] == 40, done.text
    done = _traffic(elsewhere, "test/slim", "--duration", "1s", "--rps", "20", "--by", "header:server")
    # a busy machine ends it late, but without its pace there were hundreds
    assert 0 < json.loads(done.out)["total"] < 60, done.text


def _traffic(elsewhere: Mesh, source: str, *arguments: str) -> Result:
    return elsewhere.ambientlab("traffic", "--context", "gate", "--from", source, HELLO, *arguments, "-o", "json")


def test_who_may_not_send_is_told(elsewhere: Mesh, gate: Gate) -> None:
    done = _traffic(elsewhere, "test/curl")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert "pods is forbidden" in done.err


def test_without_one_permission_the_rest_is_answered_and_what_is_not_seen_is_told(elsewhere: Mesh, gate: Gate) -> None:
    for lost in sorted(READER):
        gate.permitted = READER - {lost}
        found = here(elsewhere, "analyze", "-o", "json", "--fail-on", "never")
        assert found.exit_code == 0, f"{lost}: {found.stderr}"
        what = ".".join(filter(None, (lost.resource, lost.group)))
        what = "ConfigMap istio-system/istio" if lost.verb == "get" else what
        assert what in [one["what"] for one in json.loads(found.stdout)["unseen"]], lost
        if lost == FOR_ANALYZE:
            continue
        done = here(elsewhere, "explain", HELLO)
        told = " ".join(f"{done.stdout}{done.stderr}".split())
        services = lost == Permission("", "services", "list")
        assert done.exit_code == (65 if services else 0), f"{lost}: {told}"
        assert f"{what}: not permitted, " in told, f"{lost}: {told}"


def test_who_is_not_known_or_may_do_nothing_is_told(elsewhere: Mesh, gate: Gate, tmp_path: Path) -> None:
    gate.permitted = set()
    done = here(elsewhere, "explain", HELLO)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Error: the API permits nothing of what is needed: namespaces is forbidden" in done.stderr
    assert "docs/clusters.md" in done.stderr
    gate.kubeconfig(tmp_path / "kubeconfig", token="expired")
    done = here(elsewhere, "explain", HELLO)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the API does not know who asks: Unauthorized")
    assert "kubectl --context gate auth whoami" in done.stderr
