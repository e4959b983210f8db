"""The command `plan`, against an API that serves objects and judges writes as it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambientlab.cli.main import cli
from support.explanations import cluster
from support.object_server import Answer, ObjectServer, answers

Run = Callable[..., Result]
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: hello}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld}]
  rules: [{matches: [{path: {type: PathPrefix, value: /api}}], timeouts: {request: 2s}, backendRefs: [BACKEND]}]
"""
GOOD = ROUTE.replace("BACKEND", "{name: helloworld, port: 5000}")
BAD = ROUTE.replace("BACKEND", "{name: helloworld, port: 0}").replace("split", "bad")
FORBIDDEN: Answer = (403, {"kind": "Status", "message": "httproutes is forbidden: User x cannot create"})


@pytest.fixture
def served() -> dict[str, Answer]:
    """What a cluster answers to reading; tests may change it."""
    return answers(cluster().cluster())


@pytest.fixture
def judged() -> dict[str, Answer]:
    """What it answers to writes, by method and path; others are taken as they come."""
    return {}


@pytest.fixture
def server(served: dict[str, Answer], judged: dict[str, Answer]) -> Iterator[ObjectServer]:
    made = ObjectServer(served, judged=judged)
    yield made
    made.close()


@pytest.fixture
def run(server: ObjectServer, tmp_path: Path) -> Run:
    file = server.kubeconfig(tmp_path)
    runner = CliRunner(env={"XDG_STATE_HOME": str(tmp_path), "KUBECONFIG": str(file)})

    def ran(*arguments: str, text: str = "") -> Result:
        return runner.invoke(cli, ["plan", "--context", "test", *arguments], input=text)

    return ran


def test_it_asks_for_nothing_but_dry_runs(run: Run, server: ObjectServer) -> None:
    done = run("-f", "-", "--delete", "svc/helloworld", "-n", "hello", text=GOOD)
    assert done.exit_code in (1, 2), done.output
    assert {method for method, _ in server.written} == {"POST", "DELETE"}
    assert all("dryRun=All" in path for _, path in server.written)


def test_what_changes_is_told(run: Run) -> None:
    done = run("-f", "-", text=GOOD)
    assert done.exit_code == 2, done.output
    told = " ".join(done.stdout.split())
    assert "+ HTTPRoute hello/split created" in told
    assert "requests like GET /api (path is below /api)" in told
    assert "timeout none → 2 s" in told
    assert "Nothing was written." in told


def test_who_may_not_write_is_told_what_ambientlab_thinks(run: Run, judged: dict[str, Answer]) -> None:
    judged["POST /apis/gateway.networking.k8s.io/v1/namespaces/hello/httproutes"] = FORBIDDEN
    done = run("-f", "-", "-o", "json", text=f"{GOOD}---{BAD}")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(one["object"]["name"], one["unasked"]) for one in found["objects"]] == [
        ("split", "the API does not let you try it")
    ]
    split = [d["after"] for effect in found["effects"] for d in effect["differences"] if d["aspect"] == "split"]
    assert split == ["404 (no route matches)"], "what is not below /api"
    [refused] = found["refused"]
    assert (refused["object"], refused["line"], refused["document"]) == ("HTTPRoute hello/bad", 9, 2)
    assert "port" in refused["message"]


def test_what_the_server_says_is_said(run: Run, judged: dict[str, Answer]) -> None:
    collection = "POST /apis/gateway.networking.k8s.io/v1/namespaces/hello/httproutes"
    judged[collection] = (422, {"kind": "Status", "message": 'HTTPRoute "split" is invalid:\n spec: no'})
    done = run("-f", "-", text=GOOD)
    assert done.exit_code == 1
    told = " ".join(done.stdout.split())
    assert 'HTTPRoute hello/split stdin:2 (document 1) HTTPRoute "split" is invalid: spec: no' in told
    assert "No change for traffic: 1 service untouched; 1 object refused." in told


NAMELESS = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"


@pytest.mark.parametrize(
    ("arguments", "text", "code", "told"),
    [
        ([], "", 2, "name manifests with -f or -k, or objects to delete with --delete"),
        (["-f", "none.yaml"], "", 1, "cannot read none.yaml: No such file or directory"),
        (["-f", "-", "--prune"], GOOD, 2, "--prune takes either -l, for what has these labels, or --all"),
        (["-f", "-", "--all"], GOOD, 2, "-l, --all and --prune-allowlist are for --prune"),
        (["--delete", "nothing"], "", 1, "'nothing' names no object: it is written as in httproute/split"),
        (["-f", "-", "--context", "other"], GOOD, 1, "there is no context 'other' in the kubeconfig; it has test"),
        (["-f", "-", "-n", "helo"], NAMELESS, 1, 'there is no namespace "helo"\n  → there are hello, '),
        (["-f", "-", "--prune", "--all", "--prune-allowlist", "x"], GOOD, 1, "invalid GroupVersionKind format: x"),
    ],
)
def test_what_is_wrong_is_told(run: Run, arguments: list[str], text: str, code: int, told: str) -> None:
    done = run(*arguments, text=text)
    assert (done.exit_code, told in done.stderr) == (code, True), done.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "it is no YAML"),
        ("- a", "it is no object"),
        ("kind: Service", "it has no metadata.name, without which nothing can be applied"),
        ("{apiVersion: v9, kind: What, metadata: {name: x}}", 'no matches for kind "What" in version "v9"'),
    ],
)
def test_what_is_no_object_is_refused(run: Run, text: str, told: str) -> None:
    done = run("-f", "-", text=f"{text}\n---{GOOD}")
    assert done.exit_code == 1
    assert told in " ".join(done.stdout.split())
    assert "+ HTTPRoute hello/split" in done.stdout


def test_what_cannot_be_seen_is_told(run: Run, served: dict[str, Answer]) -> None:
    served["/apis/security.istio.io/v1/authorizationpolicies"] = (403, {})
    done = run("-f", "-", text=GOOD)
    assert done.exit_code == 2
    assert "authorizationpolicies.security.istio.io: not permitted" in " ".join(done.stdout.split())


def test_namespaces_must_agree(run: Run) -> None:
    done = run("-f", "-", "-n", "other", text=GOOD)
    assert done.exit_code == 1
    assert 'the namespace from the provided object "hello" does not match' in " ".join(done.stdout.split())
