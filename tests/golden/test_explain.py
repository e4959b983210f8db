"""Explanations as they are drawn and as JSON, compared with what is on file: 80 columns, no colour.

AMBIENTLAB_REFRESH_GOLDENS=1 writes them anew, to be read before they are committed.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ambientlab.cli.explain.document import document
from ambientlab.cli.explain.drawing import draw
from ambientlab.cli.layout import WIDTH, broken
from ambientlab.cli.output import json_text
from ambientlab.cluster import NODE_NAME, RUNTIME
from ambientlab.mesh import explain
from ambientlab.mesh.explain import Asker, Explanation, UnknownError, Unseen, remedies
from ambientlab.mesh.index import RESOURCES, MeshIndex, ObjectRef
from ambientlab.mesh.index.coverage import name_of
from ambientlab.mesh.ir import Key
from support.decisions import CURL, case, indexed, objects_in, world
from support.explanations import HELLO, cluster, explained, explained_in
from support.typed_lab import after

NEIGHBOUR = "hello/helloworld-v1-5787f49bd8-ln7qr"
HERE = Path(__file__).parent / "explain"
REFRESH = bool(os.environ.get("AMBIENTLAB_REFRESH_GOLDENS"))
FORBIDDEN = ("tcproutes", "tlsroutes")
POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: let-test, namespace: hello}
spec: {action: ALLOW, rules: [{from: [{source: {namespaces: [test]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: not-to-v1, namespace: hello}
spec: {selector: {matchLabels: {version: v1}}, action: DENY, rules: [{from: [{source: {namespaces: [test]}}]}]}
"""
HTTPBIN = "httpbin.httpbin:8000/get"


def golden(
    name: str, url: str, headers: Sequence[str] = (), method: str = "GET", source: str = str(CURL)
) -> Explanation:
    """About the objects of a golden case."""
    index = indexed(*world(), *objects_in(case(name)))
    return explained_in(index, url, source=source, headers=headers, method=method)


def unseen() -> Explanation:
    found = explained(cluster(waypoint=False))
    why, look = "not permitted, and so not taken into account", ("kubectl auth can-i --list",)
    forbidden = [Unseen(f"{name}.gateway.networking.k8s.io", why, look) for name in FORBIDDEN]
    ztunnel = "not Ready on node-2, where pods are captured: nothing carries what they send"
    return replace(
        found, unseen=(*forbidden, Unseen("ztunnel", ztunnel, ("kubectl get pods -A -o wide -l app=ztunnel",)))
    )


def canary() -> Explanation:
    made = cluster("istioctl waypoint apply -n hello --name next")
    service = made.objects[("Service", "hello", "helloworld")]["metadata"]
    service["labels"]["istio.io/use-waypoint-canary"] = "next"
    service["annotations"] = {"istio.io/use-waypoint-canary-weight": "10"}
    return explained(made)


def nearest() -> Explanation:
    made = cluster(waypoint=False)
    made.objects[("Service", "hello", "helloworld")]["spec"]["trafficDistribution"] = "PreferClose"
    return explained(made)


def out_of_reach() -> Explanation:
    """The mesh of this machine, which nothing leads out of."""
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE_NAME},
        "spec": {},
        "status": {"nodeInfo": {"containerRuntimeVersion": f"{RUNTIME}1"}},
    }
    return explained_in(indexed(*world(), node, *objects_in(case("serviceentry_dns"))), "http://mirror.example.com/")


def at_ztunnel() -> Explanation:
    made = cluster(waypoint=False)
    made.apply(POLICIES)
    return explained(made)


EXPLANATIONS: dict[str, Callable[[], Explanation]] = {
    "fifty_fifty": lambda: explained(after("Look at what really happens"), source=None),
    "ambient_alone": lambda: explained(after("Ambient mode alone")),
    "split": lambda: explained(after("Add a waypoint")),
    "backends_missing": lambda: explained(after("The same split as an HTTPRoute")),
    "two_services": lambda: explained(after("Both Services")),
    "without_the_label": lambda: explained(after("Without the label")),
    "delay_and_abort": lambda: explained(after("Delay and abort together"), HTTPBIN),
    "came_close": lambda: explained(after("Faults for some users only"), HTTPBIN, headers=["end-user: jasons"]),
    "outside_the_mesh": lambda: explained(
        cluster("kubectl label pod curl -n test istio.io/dataplane-mode=none"), source="test/curl"
    ),
    "denied": lambda: golden("authorization", f"http://{HELLO}"),
    "canary": canary,
    "nearest": nearest,
    "bad_token": lambda: golden("authentication", f"http://{HELLO}", ["Authorization: Bearer x.y"]),
    "at_ztunnel": at_ztunnel,
    "filters": lambda: golden("actions", "helloworld.hello:5000/mirror"),
    "rewrite": lambda: golden("actions", "helloworld-v1.hello:5000/r/x"),
    "redirect": lambda: golden("actions", "helloworld.hello:5000/redirect/x"),
    "no_such_port": lambda: explained(cluster(), "helloworld.hello"),
    "pod_address": lambda: explained(cluster(), "http://10.244.2.2:5000/hello"),
    "itself": lambda: explained(cluster(), "http://10.244.2.2:5000/hello", source="hello/helloworld-v1"),
    "external": lambda: golden("serviceentry_dns", "http://mirror.example.com/"),
    "out_of_reach": out_of_reach,
    "meaning_of_all": lambda: golden("serviceentry_meanings", "routed.example.com"),
    "own_meaning": lambda: golden("serviceentry_meanings", "routed.example.com", source=NEIGHBOUR),
    "connections": lambda: golden("tcproute", "http://echo.hello:9000"),
    "not_seen": unseen,
}


@pytest.fixture(params=EXPLANATIONS)
def named(request: pytest.FixtureRequest) -> tuple[str, Explanation]:
    return request.param, EXPLANATIONS[request.param]()


def test_explanations(named: tuple[str, Explanation]) -> None:
    name, found = named
    text = draw(found) + "\n"
    for suffix, content in (("txt", text), ("json", json_text(document(found)) + "\n")):
        path = HERE / f"{name}.{suffix}"
        if REFRESH:
            path.write_text(content)
        assert content == path.read_text()
    assert "\033" not in text
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    drawn = text.partition("To change that\n")[2].partition("Not seen")[0]
    commands = "\n".join(command for remedy in found.remedies for command in remedy.commands)
    assert pasted(drawn) == pasted(commands)


def pasted(script: str) -> list[list[Any]]:
    """The words of each command as a shell takes them, JSON texts as their values."""
    programs = "; ".join(
        f"""{name}() {{ printf '%s\\0' {name} "$@" '' >&3; }}""" for name in ("kubectl", "istioctl", "sed")
    )
    shell = ["bash", "-c", f"exec 3>&1; {programs}\n{script}"]
    done = subprocess.run(shell, check=True, capture_output=True, text=True)
    commands = [call.split("\0") for call in done.stdout.removesuffix("\0\0").split("\0\0")]
    return sorted([json.loads(word) if word.startswith("[{") else word for word in words] for words in commands)


ROUTE = ObjectRef("HTTPRoute", "hello", "split-between-two")


@pytest.mark.parametrize(
    "command",
    [
        remedies.patch(ROUTE, ("add", "/metadata/annotations", {"a": 'it\'s "many" words, each with a gap ' * 3})),
        remedies.move(ROUTE, "a-namespace-of-somebody-else"),
        remedies.label(ROUTE, "a=b", "istio.io/use-waypoint=none", "istio.io/waypoint-for=all", overwrite=True),
    ],
)
def test_broken_commands_mean_the_same_to_a_shell(command: str) -> None:
    lines = list(broken(command, "  "))
    assert len(lines) > 1
    assert pasted("\n".join(lines)) == pasted(command)


@pytest.mark.parametrize(
    "name", sorted(path.name.removesuffix(".in.yaml") for path in HERE.parent.glob("cases/*.in.yaml"))
)
def test_whatever_there_is_can_be_explained(name: str) -> None:
    """Every service of every golden case, for a client in the mesh and for one outside of it."""
    index = indexed(*world(), *objects_in(case(name)))
    for service in index.mesh.services.values():
        host = service.host.replace("*", "any")
        for asker in (Asker(CURL if CURL in index.mesh.workloads else None), Asker(None)):
            request = explain.request(f"http://{host}:{service.ports[0].number if service.ports else 80}/")
            try:
                found = explain.explain(index, asker, request)
            except UnknownError:
                continue
            long = [line for line in draw(found).splitlines() if len(line) > WIDTH and " " in line.strip()]
            assert long == []
            assert json.loads(json_text(document(found)))["kind"] == "Explanation"
            assert sum(outcome.probability for outcome in found.decision.outcomes) == 1
            for finding in (*found.ignored, *found.problems):
                assert finding.message
                assert finding.object.kind == "ConfigMap" or _there(index, finding.object), finding


def _there(index: MeshIndex, ref: ObjectRef) -> bool:
    key = Key(ref.namespace, ref.name)
    return any(
        key in index.sources[resource] for resource in RESOURCES if name_of(resource.group, resource.kind) == ref.kind
    )
