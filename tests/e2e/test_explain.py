"""What `explain` foresees is what is measured, and what it offers does what it says: what one test has typed is there
for the next (`walk`)."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import hello_rules
from support.mesh import Mesh
from support.splits import fits
from support.waiting import eventually, first

pytestmark = pytest.mark.walk

HELLO = "helloworld.hello:5000/hello"
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: hello}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld, port: 5000}]
  rules:
  - backendRefs: [{name: helloworld-v1, port: 5000, weight: 3}, {name: helloworld-v2, port: 5000, weight: 1}]
"""


def explained(mesh: Mesh, url: str, *arguments: str) -> Any:
    done = mesh.ambientlab("explain", url, "--from", "test/curl", "-o", "json", *arguments)
    assert done.code == 0, done.text
    return json.loads(done.out)


def foreseen(found: Any) -> dict[str, Fraction]:
    """Shares of what curl prints: the version that answers, or else the status."""
    shares: dict[str, Fraction] = {}
    for outcome in found["outcomes"]:
        name = outcome["labels"].get("version", "200") if outcome["kind"] == "Delivered" else str(outcome["status"])
        shares[name] = shares.get(name, Fraction(0)) + Fraction(outcome["share"]["fraction"])
    return shares


def measured(mesh: Mesh, url: str, requests: int = 50) -> Iterator[str]:
    """The version that answers, or else the status."""
    for line in mesh.sample(url, requests, "-f", "-o", "-", "-w", "%{onerror}%{http_code}\\n"):
        found = re.search(r"version: (v\d)|(\d{3})$", line)
        yield (found[1] or found[2]) if found else "200"


def agree(mesh: Mesh, url: str, shares: dict[str, Fraction]) -> Any:
    """Foreseen, told and measured are the same."""
    found = explained(mesh, url)
    assert foreseen(found) == shares
    fits(measured(mesh, url), {name: float(share * 100) for name, share in shares.items()})
    return found


def causes(found: Any) -> set[tuple[str, str]]:
    return {(each["object"]["kind"], each["cause"]) for each in found["ignored"] + found["problems"]}


def commands(found: Any) -> list[str]:
    return [command for remedy in found["remedies"] for command in remedy["commands"]]


EVEN = {"v1": Fraction(1, 2), "v2": Fraction(1, 2)}
SPLIT = {"v1": Fraction(95, 100), "v2": Fraction(5, 100)}


def test_the_labs_question_is_answered_and_what_is_offered_answers_it(hello: Mesh) -> None:
    hello.apply(hello_rules.SPLIT)
    found = agree(hello, HELLO, EVEN)
    assert found["waypoint"]["used"] is None
    assert causes(found) == {
        ("VirtualService", "NoWaypoint"),
        ("DestinationRule", "NoWaypoint"),
        ("Namespace", "ClientSideWaypoint"),
    }
    assert found["client"]["ztunnel"].startswith("istio-system/ztunnel-")
    done = hello.shell("\n".join(["set -e", *commands(found)]))
    assert done.code == 0, done.text
    found = agree(hello, HELLO, SPLIT)
    assert (found["waypoint"]["used"], found["ignored"], found["problems"]) == ("hello/waypoint", [], [])


def test_a_missing_backend_is_answered_and_what_is_offered_makes_it(hello: Mesh) -> None:
    hello.kubectl("expose", "deployment", "helloworld-v1", "-n", "hello", "--port=5000")
    hello.apply(ROUTE)
    found = agree(hello, HELLO, {"v1": Fraction(3, 4), "500": Fraction(1, 4)})
    assert causes(found) == {("HTTPRoute", "MissingBackend"), ("VirtualService", "Shadowed")}
    assert "kubectl expose deployment helloworld-v2 -n hello --port=5000" in commands(found)
    # the other way out of it: without the route the VirtualService decides again
    [shadowed] = [each for each in found["ignored"] if each["cause"] == "Shadowed"]
    for remedy in shadowed["remedies"]:
        done = hello.shell("\n".join(["set -e", *remedy["commands"]]))
        assert done.code == 0, done.text
    agree(hello, HELLO, SPLIT)


def test_a_client_outside_passes_the_waypoint_by(hello: Mesh) -> None:
    hello.kubectl("label", "pod", "curl", "-n", "test", "istio.io/dataplane-mode=none")
    try:
        found = first(lambda: explained(hello, HELLO), lambda now: not now["client"]["captured"], "curl outside")
        assert foreseen(found) == EVEN
        assert ("VirtualService", "ClientNotCaptured") in causes(found)
        fits(measured(hello, HELLO), {name: float(share * 100) for name, share in EVEN.items()})
    finally:
        for command in commands(explained(hello, HELLO)):
            hello.shell(command)
    eventually(lambda: explained(hello, HELLO)["client"]["captured"], "curl is back")


def test_it_is_drawn_anew_when_something_changes(hello: Mesh) -> None:
    command = [sys.executable, "-P", "-m", "ambientlab.cli.main", "explain", HELLO, "--from", "test/curl", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=hello.env) as watching:
        try:
            assert watching.stdout is not None
            _until(watching.stdout, "VirtualService hello/split (any request)")
            hello.kubectl("delete", "virtualservice", "split", "-n", "hello")
            _until(watching.stdout, "route: none")
        finally:
            watching.terminate()


def _until(lines: Iterable[str], text: str) -> None:
    assert any(text in line for line in lines), f"{text} was not drawn"


TO_V1 = "rules: [{backendRefs: [{name: helloworld-v1, port: 5000}]}]"
ALL_TO_V1 = "http: [{route: [{destination: {host: helloworld-v1.hello.svc.cluster.local, port: {number: 5000}}}]}]"


def meant(kind: str, spec: str, namespace: str = "hello") -> str:
    version = {"HTTPRoute": "gateway.networking.k8s.io/v1", "VirtualService": "networking.istio.io/v1"}
    return f"""
apiVersion: {version.get(kind, "security.istio.io/v1")}
kind: {kind}
metadata: {{name: meant, namespace: {namespace}}}
spec: {{{spec}}}
"""


@pytest.mark.parametrize(
    ("text", "cause", "end"),
    [
        (
            meant(
                "HTTPRoute",
                f'parentRefs: [{{group: "", kind: Service, name: helloworld, namespace: hello}}], {TO_V1}',
                "test",
            ),
            "WrongNamespace",
            "v1",
        ),
        (
            meant("HTTPRoute", f'parentRefs: [{{group: "", kind: Service, name: helloworld, port: 80}}], {TO_V1}'),
            "OtherPort",
            "v1",
        ),
        (meant("VirtualService", f"hosts: [helloworld.hello], {ALL_TO_V1}"), "OtherHost", "v1"),
        (meant("VirtualService", f"hosts: [helloworld], exportTo: [test], {ALL_TO_V1}"), "NotExported", "v1"),
        (
            meant(
                "AuthorizationPolicy",
                "selector: {matchLabels: {app: helloworld}}, action: DENY, "
                "rules: [{to: [{operation: {methods: [GET]}}]}]",
            ),
            "SelectorWithL7",
            "403",
        ),
    ],
    ids=lambda value: value if value.isalnum() and not value.islower() else "",
)
def test_what_is_offered_gives_the_object_its_effect(hello: Mesh, text: str, cause: str, end: str) -> None:
    kind = yaml.safe_load(text)["kind"]
    hello.apply(text)
    try:
        found = explained(hello, HELLO)
        assert foreseen(found) == EVEN
        assert {*measured(hello, HELLO, 30)} == {"v1", "v2"}
        [finding] = [one for one in found["ignored"] if (one["object"]["kind"], one["cause"]) == (kind, cause)]
        for remedy in finding["remedies"]:
            done = hello.shell("\n".join(["set -e", *remedy["commands"]]))
            assert done.code == 0, done.text
        first(lambda: foreseen(explained(hello, HELLO)), lambda now: now == {end: 1}, "its effect is foreseen")
        first(lambda: {*measured(hello, HELLO, 10)}, lambda now: now == {end}, "its effect is there")
    finally:
        hello.kubectl("delete", kind, "meant", "-n", "hello", "--ignore-not-found")
        hello.kubectl("delete", kind, "meant", "-n", "test", "--ignore-not-found")


def test_a_mesh_is_explained_through_its_kubeconfig_alone(hello: Mesh, tmp_path: Path) -> None:
    elsewhere = replace(hello, env={**hello.env, "XDG_STATE_HOME": str(tmp_path), "KUBECONFIG": "/nonexistent"})
    done = elsewhere.ambientlab("explain", HELLO, "--kubeconfig", str(hello.root / "kubeconfig"))
    assert done.code == 0, done.text
    assert "waypoint hello/waypoint" in done.out
    assert elsewhere.ambientlab("explain", HELLO).code == 1


def test_a_credential_plugin_is_left_to_kubectl(hello: Mesh, tmp_path: Path) -> None:
    config = yaml.safe_load((hello.root / "kubeconfig").read_text())
    [user] = config["users"]
    plain = {name: base64.b64decode(user["user"][f"client-{name}-data"]).decode() for name in ("certificate", "key")}
    status = {"clientCertificateData": plain["certificate"], "clientKeyData": plain["key"]}
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (tmp_path / "credential").write_text(json.dumps(credential))
    user["user"] = {
        "exec": {
            "apiVersion": credential["apiVersion"],
            "command": "cat",
            "args": [str(tmp_path / "credential")],
            "interactiveMode": "Never",
        }
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    done = hello.ambientlab("explain", HELLO, "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert done.code == 0, done.text
    assert "Service hello/helloworld" in done.out
    user["user"]["exec"]["command"] = "/nonexistent"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    done = hello.ambientlab("explain", HELLO, "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert (done.code, done.out) == (1, "")


POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody-gets, namespace: hello}
spec:
  selector: {matchLabels: {app: helloworld}}
  action: DENY
  rules: [{to: [{operation: {methods: [GET]}}]}]
"""


def test_a_policy_that_lets_pass_is_found_and_cured_by_what_is_offered(hello: Mesh, tmp_path: Path) -> None:
    def found(*arguments: str) -> Any:
        done = hello.ambientlab("analyze", "-n", "hello", "-o", "json", "--kubeconfig", kubeconfig, *arguments)
        return done.code, [each for each in json.loads(done.out)["findings"] if each["object"]["name"] == "nobody-gets"]

    kubeconfig, file = str(hello.root / "kubeconfig"), tmp_path / "policy.yaml"
    file.write_text(POLICY)
    code, [foretold] = found("-f", str(file))
    assert (code, foretold["code"], foretold["location"]) == (79, "AML0020", {"file": str(file), "line": 8})
    assert found()[1] == []
    hello.apply(POLICY)
    eventually(lambda: "nobody-gets" in hello.ambientlab("istioctl", "ztunnel-config", "policy").out, "ztunnel has it")
    assert set(measured(hello, HELLO)) <= {"v1", "v2"}
    code, [told] = found()
    assert (code, told["message"]) == (79, foretold["message"])
    assert "what it denies passes" in told["message"]
    done = hello.shell("\n".join(["set -e", *(command for each in told["remedies"] for command in each["commands"])]))
    assert done.code == 0, done.text
    eventually(lambda: set(measured(hello, HELLO)) == {"403"}, "the waypoint denies")
    assert [each["code"] for each in found()[1]] == ["IST0133"]  # of methods alone: it would deny TCP as well
    hello.kubectl("delete", "authorizationpolicy", "nobody-gets", "-n", "hello")


def test_what_is_wrong_has_its_exit_code(hello: Mesh) -> None:
    assert hello.ambientlab("explain", "nowhere.hello").code == 65
    assert hello.ambientlab("explain", "http://a:b").code == 2
