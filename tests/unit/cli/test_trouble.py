"""What the commands say of clusters that cannot be read or where half of an Istio is: the table in docs/clusters.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from ambientlab.cli.main import cli
from support.object_server import ObjectServer
from support.recorded import recorded

PAGE = Path(__file__).parents[3] / "docs/clusters.md"
EXPLAIN = ("explain", "cart.shop.svc.cluster.local/items")
ANALYZE = ("analyze", "--fail-on", "never")
TRAFFIC = ("traffic", "cart.shop/items", "--from", "web/front")

Answers = dict[str, tuple[int, Any]]
Change = Callable[[Answers], Mapping[str, Any]]
"""Of what a cluster answers; returns what is different in the kubeconfig's cluster."""


def refusing(status: int, message: str) -> Change:
    def change(answers: Answers) -> Mapping[str, Any]:
        for path in answers:
            answers[path] = (status, {"kind": "Status", "message": message})
        return {}

    return change


def without(*parts: str) -> Change:
    """Kinds whose path has a part."""

    def change(answers: Answers) -> Mapping[str, Any]:
        for path in [path for path in answers if any(part in path for part in parts)]:
            del answers[path]
        return {}

    return change


def without_pods(app: str) -> Change:
    def change(answers: Answers) -> Mapping[str, Any]:
        pods = answers["/api/v1/pods"][1]
        pods["items"] = [pod for pod in pods["items"] if app not in pod["metadata"].get("labels", {}).values()]
        return {}

    return change


def forbidden(path: str) -> Change:
    def change(answers: Answers) -> Mapping[str, Any]:
        answers[path] = (403, {"kind": "Status", "message": "no"})
        return {}

    return change


def elsewhere(server: str) -> Change:
    return lambda _: {"server": server}


TROUBLE: list[tuple[str, Change, int, str, str]] = [
    (
        "the API does not answer",
        elsewhere("http://127.0.0.1:1"),
        1,
        "cannot reach the API of context test at http://127.0.0.1:1: Connection refused",
        "kubectl --context test version",
    ),
    (
        "the API does not answer",
        elsewhere("https://nowhere.invalid"),
        1,
        "cannot reach the API of context test at https://nowhere.invalid: ",
        "kubectl --context test version",
    ),
    (
        "the API does not know who asks, or the credentials have expired",
        refusing(401, "Unauthorized"),
        1,
        "the API does not know who asks: Unauthorized",
        "kubectl --context test auth whoami",
    ),
    (
        "the API does not know who asks, or the credentials have expired",
        refusing(500, "getting credentials: exec: executable gcloud failed with exit code 1"),
        1,
        "kubectl comes by no credentials: exec: executable gcloud failed with exit code 1",
        "kubectl --context test get namespaces",
    ),
    (
        "nothing at all is permitted",
        refusing(403, "namespaces is forbidden"),
        1,
        "the API permits nothing of what is needed: namespaces is forbidden",
        "docs/clusters.md has the ClusterRole it takes",
    ),
    (
        "something is not permitted",
        forbidden("/api/v1/nodes"),
        0,
        "nodes: not permitted, so it is not known which endpoints are near",
        "kubectl --context test auth can-i --list",
    ),
    (
        "no istiod, ztunnel or istio-cni, or none that is Ready",
        without_pods("istiod"),
        0,
        "istiod: no pod has the label app=istiod, so nothing tells proxies of changes",
        "kubectl --context test get pods -A -l app=istiod",
    ),
    (
        "no istiod, ztunnel or istio-cni, or none that is Ready",
        without_pods("ztunnel"),
        0,
        "ztunnel: no pod has the label app=ztunnel, so nothing carries what is captured",
        "kubectl --context test get daemonsets -A -l app=ztunnel",
    ),
    (
        "no istiod, ztunnel or istio-cni, or none that is Ready",
        without_pods("istio-cni-node"),
        0,
        "istio-cni: no pod has the label k8s-app=istio-cni-node, so no pod is put into the mesh",
        "kubectl --context test get daemonsets -A -l k8s-app=istio-cni-node",
    ),
    (
        "no kinds of Gateway API, or of Istio",
        without("gateway.networking"),
        0,
        "Gateway API: the cluster does not have its kinds, and so no waypoint",
        "kubectl --context test apply --server-side -f",
    ),
    (
        "no kinds of Gateway API, or of Istio",
        without("istio.io"),
        0,
        "Istio's kinds: the cluster does not have them",
        "istioctl --context test install --set profile=ambient",
    ),
]


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    made = ObjectServer(recorded("istio-1.24"))
    yield made
    made.close()


def run(directory: Path, *arguments: str) -> Result:
    runner = CliRunner(env={"XDG_STATE_HOME": str(directory), "KUBECONFIG": str(directory / "kubeconfig")})
    return runner.invoke(cli, [arguments[0], "--context", "test", *arguments[1:]])


def words(text: str) -> str:
    """Without the breaks of lines, those of commands included."""
    return " ".join(text.replace("\\\n", " ").split())


@pytest.mark.parametrize("command", [EXPLAIN, ANALYZE], ids=["explain", "analyze"])
@pytest.mark.parametrize(("_what", "change", "code", "told", "step"), TROUBLE, ids=[each[3][:40] for each in TROUBLE])
def test_trouble_is_a_line_and_a_next_step(
    server: ObjectServer,
    tmp_path: Path,
    command: tuple[str, ...],
    _what: str,
    change: Change,
    code: int,
    told: str,
    step: str,
) -> None:
    changed(server, tmp_path, change)
    done = run(tmp_path, *command)
    said = done.stderr if code else done.stdout
    assert (done.exit_code, words(told) in words(said), step in words(said)) == (code, True, True), done.output
    assert done.stdout if not code else not done.stdout
    assert "Traceback" not in done.output


def test_traffic_that_cannot_be_sent_is_a_line_and_a_next_step(server: ObjectServer, tmp_path: Path) -> None:
    changed(server, tmp_path, elsewhere("http://127.0.0.1:1"))
    done = run(tmp_path, *TRAFFIC, "--expect", "none")
    first, *steps = done.stderr.splitlines()
    assert (done.exit_code, done.stdout) == (2, "")
    assert first.startswith("Error: The connection to the server 127.0.0.1:1 was refused")
    assert steps == ["  → see which pods there are: kubectl --context test get pods -n web"]


def changed(server: ObjectServer, directory: Path, change: Change) -> None:
    different = change(server.answers)
    file = server.kubeconfig(directory)
    config = yaml.safe_load(file.read_text())
    config["clusters"][0]["cluster"] |= different
    file.write_text(yaml.safe_dump(config))


def test_the_page_has_every_trouble_and_its_exit_code() -> None:
    rows = re.findall(r"^\| (.+?) \| (\d+) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    told = {what: int(code) for what, code in rows}
    here = {what: code for what, _, code, _, _ in TROUBLE}
    elsewhere = {"the kubeconfig has no such context": 1, "the cluster has no such host or pod": 65}
    assert told == here | elsewhere
