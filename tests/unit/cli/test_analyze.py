"""The command `analyze`, against objects that are served by HTTP, and on files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ambientlab.api.kinds import TCPROUTE
from ambientlab.cli.main import cli
from support.explanations import cluster
from support.istio_pods import MESH_CONFIG, istio
from support.object_server import Answer, ObjectServer, answers, of_before
from support.sarif import check

Run = Callable[..., Result]
ROUTE = """# what is asked for
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: split
spec:
  parentRefs:
  - {group: "", kind: Service, name: helloworld}
  rules:
  - backendRefs:
    - name: helloworld
      port: 5000
    - name: nowhere
      port: 5000
"""
BROKEN = """---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: odd}
spec: {parentRefs: 7}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HttpRoute
metadata: {name: misspelt}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: elsewhere}
spec: {}
---
a: [
"""


@pytest.fixture
def served() -> dict[str, Answer]:
    """What a cluster answers; tests may change it. Its namespace hello has a waypoint that nothing uses."""
    return answers(cluster("kubectl label ns hello istio.io/use-waypoint-").cluster())


@pytest.fixture
def run(served: dict[str, Answer], tmp_path: Path) -> Iterator[Run]:
    server = ObjectServer(served)
    file = server.kubeconfig(tmp_path)
    runner = CliRunner(env={"XDG_STATE_HOME": str(tmp_path), "KUBECONFIG": str(file)})
    yield lambda *arguments, **options: runner.invoke(cli, ["analyze", *arguments], **options)
    server.close()


def live(*arguments: str) -> list[str]:
    return ["--context", "test", *arguments]


def codes(done: Result) -> list[str]:
    return [finding["code"] for finding in json.loads(done.stdout)["findings"]]


def test_it_tells_what_is_wrong_why_and_what_to_type(run: Run) -> None:
    done = run(*live())
    assert done.exit_code == 79
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0] == "! Gateway hello/waypoint"
    assert lines[0].endswith("  warning AML0002 UnusedWaypoint")
    assert "  kubectl --context test label namespace hello istio.io/use-waypoint=waypoint" in lines
    assert lines[-1].startswith("1 warning in ")
    assert [line for line in lines if len(line) > 80] == []


def test_files_are_as_if_they_were_applied(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "route.yaml"
    file.write_text(ROUTE)
    done = run(*live("-f", str(file), "-n", "hello", "-o", "json"))
    missing, unused, useless = json.loads(done.stdout)["findings"]
    assert (missing["code"], missing["location"]) == ("AML0015", {"file": str(file), "line": 13})
    assert (unused["code"], unused["location"]) == ("AML0002", None)
    assert (useless["code"], useless["location"]) == ("AML0001", {"file": str(file), "line": 8})
    label = "apiVersion: v1\nkind: Namespace\nmetadata: {name: hello, labels: {istio.io/use-waypoint: waypoint}}\n"
    done = run(*live("-f", "-", "-o", "json"), input=label)
    assert (done.exit_code, codes(done)) == (0, [])


def test_without_a_cluster_the_files_are_all_there_is(run: Run) -> None:
    done = run("--offline", "-f", "-", "-o", "json", input=ROUTE)
    assert codes(done) == ["AML0011", "AML0015", "AML0015"]


def test_istios_own_findings_are_told_where_there_are_no_others(run: Run) -> None:
    text = """
apiVersion: v1
kind: Namespace
metadata: {name: hello, annotations: {istio.io/misspelt: "true"}, labels: {istio.io/dataplane-mode: ambient}}
"""
    done = run("--offline", "-f", "-", "-o", "json", input=text)
    [finding] = json.loads(done.stdout)["findings"]
    assert (finding["code"], finding["message"]) == ("IST0108", "Unknown annotation: istio.io/misspelt")
    assert finding["documentation"] == "https://istio.io/latest/docs/reference/config/analysis/ist0108/"


def test_deployments_of_files_are_looked_at_beside_their_pods(run: Run) -> None:
    template = "{metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: curl}]}}"
    deployment = (
        "apiVersion: apps/v1\nkind: Deployment\n"
        "metadata:\n  name: d\n  annotations:\n    istio.io/foo: bar\n"
        f"spec: {{selector: {{matchLabels: {{app: d}}}}, template: {template}}}\n"
    )
    [finding] = json.loads(run("--offline", "-f", "-", "-o", "json", input=deployment).stdout)["findings"]
    assert (finding["code"], finding["object"]) == (
        "IST0108",
        {"kind": "Deployment", "namespace": "default", "name": "d"},
    )
    assert finding["location"] == {"file": "stdin", "line": 6}


def test_what_is_no_object_is_told_and_the_rest_analysed(run: Run) -> None:
    done = run("--offline", "-f", "-", "-o", "json", "--fail-on", "never", input=ROUTE + BROKEN)
    assert done.exit_code == 65
    told = [line.split(": ")[:3] for line in done.stderr.splitlines()]
    assert told == [
        ["Error", "stdin:16", "HTTPRoute odd"],
        ["Error", "stdin:21", "HttpRoute misspelt"],
        ["Error", "stdin:31", "it is no YAML"],
    ]
    assert codes(done) == ["AML0011", "AML0015", "AML0015"]
    assert [one["what"] for one in json.loads(done.stdout)["refused"]] == ["HTTPRoute odd", "HttpRoute misspelt", ""]


@pytest.mark.parametrize(
    ("options", "code", "shown"),
    [
        ([], 79, 1),
        (["--fail-on", "error"], 0, 1),
        (["--fail-on", "never"], 0, 1),
        (["--fail-on", "info"], 79, 1),
        (["--min-severity", "error"], 0, 0),
        (["-n", "test"], 0, 0),
        (["-n", "test", "-n", "hello"], 79, 1),
        (["-A"], 79, 1),
    ],
)
def test_it_exits_by_what_is_grave(run: Run, options: list[str], code: int, shown: int) -> None:
    done = run(*live("-o", "json", *options))
    assert (done.exit_code, len(codes(done))) == (code, shown)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--offline"], 2, "Error: --offline is for -f, and for no cluster"),
        (["-A", "-n", "hello"], 2, "Error: -n and -A exclude each other"),
        (["--fail-on", "often"], 2, "Error: Invalid value for '--fail-on'"),
        (["--offline", "-f", "nowhere.yaml"], 1, "Error: cannot read nowhere.yaml: No such file or directory"),
        (["--context", "other"], 1, "Error: there is no context 'other' in the kubeconfig; it has test"),
        ([], 1, "Error: mesh 'ambientlab' is not running"),
    ],
)
def test_what_makes_no_sense_is_told(run: Run, arguments: list[str], code: int, told: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr


def test_a_namespace_that_is_not_there_is_told_with_those_that_are(run: Run, served: dict[str, Answer]) -> None:
    done = run(*live("-n", "helo"))
    assert (done.exit_code, done.stdout) == (65, "")
    assert 'Error: there is no namespace "helo"\n  → there are hello' in done.stderr
    served["/api/v1/namespaces"] = (403, {})
    assert run(*live("-n", "helo")).exit_code == 0, "nobody can tell"


def test_what_is_not_seen_is_not_taken_for_missing(run: Run, served: dict[str, Answer]) -> None:
    served["/api/v1/services"] = (403, {})
    done = run(*live("-o", "json"))
    assert (done.exit_code, codes(done)) == (0, [])
    unseen = {one["what"]: one["why"] for one in json.loads(done.stdout)["unseen"]}
    assert "not permitted" in unseen["services"]
    [doubts] = [what for what in unseen if what.startswith("AML")]
    assert "AML0002" in doubts


def test_files_of_what_this_istio_does_not_process_are_told(run: Run, served: dict[str, Answer]) -> None:
    """As objects that are there."""
    text = ROUTE.replace("HTTPRoute", "TCPRoute").replace(
        "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"
    )
    lists = answers([*cluster().cluster(), *istio(), MESH_CONFIG])
    served.clear()
    served.update(lists)
    about = [*live("-f", "-", "-n", "hello", "-o", "json")]
    read = json.loads(run(*about, input=text).stdout)
    assert "split" in {finding["object"]["name"] for finding in read["findings"]}
    served.clear()
    served.update(of_before(lists, TCPROUTE, "v1alpha2"))
    unread = json.loads(run(*about, input=text).stdout)
    assert "split" not in {finding["object"]["name"] for finding in unread["findings"]}
    assert [one["why"].partition(": ")[2] for one in unread["unseen"] if one["what"] == "TCPRoutes"] == [
        "no effect of hello/split"
    ]


def test_sarif_is_as_its_specification_has_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "route with a space.yaml"
    file.write_text(ROUTE + BROKEN)
    done = run(*live("-f", str(file), "-n", "hello", "-o", "sarif"))
    assert done.exit_code == 79
    log: dict[str, Any] = json.loads(done.stdout)
    check(log)
    [found] = log["runs"]
    assert [result["level"] for result in found["results"]] == ["error", "warning", "warning"]
    places = [result["locations"][0].get("physicalLocation") for result in found["results"]]
    uri = file.as_uri()
    assert places[0] == {"artifactLocation": {"uri": uri}, "region": {"startLine": 13}}
    assert "%20" in uri
    assert places[1] is None
    [invocation] = found["invocations"]
    levels = [one["level"] for one in invocation["toolExecutionNotifications"]]
    assert levels[:3] == ["error"] * 3
    assert set(levels[3:]) <= {"note"}
