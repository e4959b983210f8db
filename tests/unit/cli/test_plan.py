"""The command `plan`, against an API that serves objects and judges writes as it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambientlab.api.kinds import TCPROUTE
from ambientlab.cli.main import cli
from support.explanations import cluster
from support.istio_pods import MESH_CONFIG, istio
from support.object_server import Answer, ObjectServer, answers, of_before

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
CREATION = "POST /apis/gateway.networking.k8s.io/v1/namespaces/hello/httproutes"


@pytest.fixture
def served() -> dict[str, Answer]:
    """What a cluster answers to reading; tests may change it."""
    return answers(cluster().cluster())


@pytest.fixture
def judged() -> dict[str, Answer]:
    """What it answers to writes, by method and path; others are taken as they come."""
    return {}


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


def refusal(status: int, message: str) -> Answer:
    return status, {"kind": "Status", "message": message}


FORBIDDEN = 'httproutes.gateway.networking.k8s.io "split" is forbidden: User "x" cannot create resource "httproutes"'
NO_DRY_RUN = 'admission webhook "policy.example.com" does not support dry run'


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (refusal(403, FORBIDDEN), "the API does not let you try it"),
        (refusal(400, NO_DRY_RUN), NO_DRY_RUN),
    ],
)
def test_what_the_api_is_not_asked_is_told_what_ambientlab_thinks(
    run: Run, judged: dict[str, Answer], refused: Answer, why: str
) -> None:
    judged[CREATION] = refused
    done = run("-f", "-", "-o", "json", text=f"{GOOD}---{BAD}")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(one["object"]["name"], one["unasked"]) for one in found["objects"]] == [("split", why)]
    split = [d["after"] for effect in found["effects"] for d in effect["differences"] if d["aspect"] == "split"]
    assert split == ["404 (no route matches)"], "what is not below /api"
    [bad] = found["refused"]
    assert (bad["object"], bad["line"], bad["document"]) == ("HTTPRoute hello/bad", 9, 2)
    assert "port" in bad["message"]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, 'admission webhook "validation.gatekeeper.sh" denied the request: no splits on Fridays'),
        (403, 'httproutes "split" is forbidden: exceeded quota: routes, requested: 1, used: 9, limited: 9'),
        (409, 'httproutes "split" already exists'),
        (500, "Internal error occurred: failed calling webhook"),
    ],
)
def test_what_admission_refuses_is_refused(run: Run, judged: dict[str, Answer], status: int, message: str) -> None:
    judged[CREATION] = refusal(status, message)
    done = run("-f", "-", "-o", "json", text=GOOD)
    found = json.loads(done.stdout)
    assert (done.exit_code, found["objects"], [one["message"] for one in found["refused"]]) == (1, [], [message])


def test_what_the_server_says_is_said(run: Run, judged: dict[str, Answer]) -> None:
    judged[CREATION] = (422, {"kind": "Status", "message": 'HTTPRoute "split" is invalid:\n spec: no'})
    done = run("-f", "-", text=GOOD)
    assert done.exit_code == 1
    told = " ".join(done.stdout.split())
    assert 'HTTPRoute hello/split stdin:2 (document 1) HTTPRoute "split" is invalid: spec: no' in told
    assert "No change for traffic: 1 service untouched; 1 object refused." in told


NAMELESS = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"


@pytest.mark.parametrize(
    ("arguments", "text", "code", "told"),
    [
        ([], "", 1, "name manifests with -f or -k, or objects to delete with --delete"),
        (["-f", "none.yaml"], "", 1, "cannot read none.yaml: No such file or directory"),
        (["-f", "-,none.yaml"], GOOD, 1, "cannot read none.yaml: No such file or directory"),
        (["-f", "-,"], GOOD, 1, "-f -, names a file that has no name"),
        (["-f", "none.yaml,\nx"], "", 1, "cannot read none.yaml: No such file or directory"),
        (["-f", f"none.yaml,{'x' * 300}"], "", 1, "cannot read none.yaml: No such file or directory"),
        (["-f", ""], "", 1, "-f '' names a file that has no name"),
        (["-f", "-", "--force-conflicts"], GOOD, 1, "--force-conflicts and --field-manager are for --server-side"),
        (["--nonsense"], "", 1, "No such option"),
        (["-f", "-"], "# nothing\n---\n", 1, "there are no objects in what -f and -k name"),
        (["-f", "https://example.com/x.yaml"], "", 1, "curl -fsSL https://example.com/x.yaml | ambientlab ... -f -"),
        (["-f", "-", "--prune"], GOOD, 1, "--prune takes either -l, for what has these labels, or --all"),
        (["-f", "-", "--all"], GOOD, 1, "-l, --all and --prune-allowlist are for --prune"),
        (["--delete", "svc/.."], "", 1, "invalid resource name \"..\": [may not be '..']"),
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
        ("{apiVersion: v1, kind: Service, metadata: {name: x, namespace: 7}}", "its metadata.namespace 7 is no text"),
        ("{apiVersion: v1, kind: Service, metadata: 5}", "it has no metadata.name"),
        ("{apiVersion: v1, kind: Namespace, metadata: x}", "it has no metadata.name"),
        (
            f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: x}}, data: {'[' * 300}{']' * 300}}}",
            "it cannot be sent to the API: Recursion limit reached",
        ),
        ("--- {kind: Service}", "invalid Yaml document separator: {kind: Service}"),
        ("{apiVersion: v1, kind: Service, metadata: {name: ..}}", "invalid resource name \"..\": [may not be '..']"),
        ("{apiVersion: v1, kind: Service, metadata: {name: x, namespace: ..}}", 'invalid namespace ".."'),
        ("{apiVersion: v1, kind: Service, metadata: {name: a/b}}", "[may not contain '/']"),
        ("{apiVersion: ../../x, kind: What, metadata: {name: x}}", 'no matches for kind "What" in version "../../x"'),
    ],
)
def test_what_is_no_object_is_refused(run: Run, text: str, told: str) -> None:
    done = run("-f", "-", "-n", "hello", text=f"{text}\n---{GOOD}")
    assert done.exit_code == 1
    assert told in " ".join(done.stdout.split())
    assert "+ HTTPRoute hello/split" in done.stdout


def test_a_kind_that_cannot_be_looked_for_is_told(run: Run, served: dict[str, Answer]) -> None:
    served["/apis/example.com/v1"] = refusal(503, "service unavailable")
    done = run("-f", "-", text="{apiVersion: example.com/v1, kind: What, metadata: {name: x}}")
    told = 'no matches for kind "What" in version "example.com/v1" can be looked for: service unavailable'
    assert (done.exit_code, told in " ".join(done.stdout.split())) == (1, True), done.output


def test_lists_that_may_not_be_read_leave_nothing_unpruned_in_silence(run: Run, served: dict[str, Answer]) -> None:
    served["/api/v1/namespaces/hello/services?labelSelector="] = refusal(403, "services is forbidden")
    done = run("-f", "-", "--prune", "--all", "--prune-allowlist", "core/v1/Service", text=GOOD)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "what to prune is not known: services is forbidden" in done.stderr


def test_what_kustomize_makes_is_in_no_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [route.yaml]\n")
    done = run("-k", str(tmp_path))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: accumulating resources")
    (tmp_path / "route.yaml").write_text(GOOD.replace("name: split", "name: .."))
    [refused] = json.loads(run("-k", str(tmp_path), "-o", "json").stdout)["refused"]
    assert refused["file"] == f"kubectl kustomize {tmp_path}"


def test_what_cannot_be_seen_is_told(run: Run, served: dict[str, Answer]) -> None:
    served["/apis/security.istio.io/v1/authorizationpolicies"] = (403, {})
    done = run("-f", "-", text=GOOD)
    assert done.exit_code == 2
    assert "authorizationpolicies.security.istio.io: not permitted" in " ".join(done.stdout.split())


def test_namespaces_must_agree(run: Run) -> None:
    done = run("-f", "-", "-n", "other", text=GOOD)
    assert done.exit_code == 1
    assert 'the namespace from the provided object "hello" does not match' in " ".join(done.stdout.split())


NEW = "apiVersion: v1\nkind: Namespace\nmetadata: {name: new}"
CREATION_IN_NEW = CREATION.replace("/hello/", "/new/")


def test_of_what_is_not_there_the_namespace_alone_may_come(run: Run, judged: dict[str, Answer]) -> None:
    manifests = f"{NEW}\n---{GOOD.replace('namespace: hello', 'namespace: new')}"
    judged[CREATION_IN_NEW] = refusal(404, 'namespaces "new" not found')
    [_, route] = json.loads(run("-f", "-", "-o", "json", text=manifests).stdout)["objects"]
    assert route["unasked"] == "namespace new is only to come"
    judged[CREATION_IN_NEW] = refusal(404, "the server could not find the requested resource")
    [refused] = json.loads(run("-f", "-", "-o", "json", text=manifests).stdout)["refused"]
    assert refused["message"] == "the server could not find the requested resource"


def test_an_object_goes_once(run: Run, served: dict[str, Answer], judged: dict[str, Answer]) -> None:
    [service] = served["/api/v1/services"][1]["items"]
    place = "/api/v1/namespaces/hello/services/helloworld"
    served[place], judged[f"DELETE {place}"] = (200, service), (200, {})
    done = run("--delete", "svc/helloworld", "--delete", "Service/helloworld", "-n", "hello", "-o", "json")
    [gone] = json.loads(done.stdout)["objects"]
    assert (gone["verb"], gone["object"]["name"]) == ("deleted", "helloworld")


TCP = """
apiVersion: v1
kind: Service
metadata: {name: raw, namespace: hello}
spec: {selector: {app: helloworld}, ports: [{name: tcp, port: 5000}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: nowhere, namespace: hello}
spec: {parentRefs: [{group: "", kind: Service, name: raw}], rules: [{backendRefs: [{name: gone, port: 5000}]}]}
"""


@pytest.mark.parametrize(("version", "processed"), [("1.30.1", True), ("1.31.0", False)])
def test_what_this_istio_does_not_process_has_no_effect(
    run: Run, served: dict[str, Answer], version: str, processed: bool
) -> None:
    objects = [*cluster().cluster(), *istio(version), MESH_CONFIG]
    served.clear()
    served.update(of_before(answers(objects), TCPROUTE, "v1alpha2"))
    found = json.loads(run("-f", "-", "-o", "json", text=TCP).stdout)
    [_, route] = found["objects"]
    told = {d["after"] for effect in found["effects"] for d in effect["differences"] if d["aspect"] == "split"}
    assert ("no response (there is no such destination)" in told) is processed
    why = [text.partition(", since")[0] for text in route["warnings"]]
    assert why == ([] if processed else ["no effect: Istio 1.31 processes none"])
