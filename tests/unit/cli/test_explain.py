"""The command `explain`, against objects that are served by HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ambientlab.cli.main import cli
from support.explanations import HELLO, cluster
from support.istio_pods import MESH_CONFIG, istio
from support.object_server import Answer, ObjectServer, answers

Run = Callable[..., Result]


@pytest.fixture
def served() -> dict[str, Answer]:
    """What a cluster answers; tests may change it."""
    return answers([*cluster().cluster(), *istio(), MESH_CONFIG])


@pytest.fixture
def run(served: dict[str, Answer], tmp_path: Path) -> Iterator[Run]:
    server = ObjectServer(served)
    file = server.kubeconfig(tmp_path)
    runner = CliRunner(env={"XDG_STATE_HOME": str(tmp_path), "KUBECONFIG": str(file)})
    yield lambda *arguments: runner.invoke(cli, ["explain", "--context", "test", *arguments])
    server.close()


def test_it_draws_what_the_cluster_says(run: Run) -> None:
    done = run(HELLO)
    assert done.exit_code == 0, done.output
    assert "waypoint hello/waypoint" in done.stdout
    assert "Not seen" not in done.stdout
    assert done.stderr == ""


def test_what_is_to_be_pasted_is_for_the_cluster_that_was_asked(run: Run, served: dict[str, Answer]) -> None:
    served["/apis/gateway.networking.k8s.io/v1/gateways"] = (200, {"items": []})
    commands = [c for remedy in json.loads(run(HELLO, "-o", "json").stdout)["remedies"] for c in remedy["commands"]]
    assert commands
    assert all(command.split()[1:3] == ["--context", "test"] for command in commands)
    assert "  → kubectl --context test get pods -n test" in run(HELLO, "--from", "test/nobody").stderr


def test_json_is_one_document(run: Run) -> None:
    done = run(HELLO, "-o", "json", "-X", "POST", "-H", "end-user: jason", "--from", "test/curl")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["kind"], found["request"]["method"]) == (0, "Explanation", "POST")
    assert found["request"]["headers"] == [{"name": "end-user", "value": "jason"}]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere.hello"], 65, "Error: no Service and no ServiceEntry is called nowhere.hello"),
        ([HELLO, "--from", "test/nobody"], 65, "Error: there is no pod test/nobody"),
        ([HELLO, "--from", "tset/curl"], 65, 'Error: there is no namespace "tset"'),
        ([HELLO, "-n", "test"], 2, "Error: -n is the namespace of --from"),
        ([HELLO, "--from", "deploy/nobody", "-n", "test"], 65, "Error: there is no pod of Deployment test/nobody"),
        ([HELLO, "--from", "curl"], 2, "Error: 'curl' names no pod"),
        (["http://a:b"], 2, "Error: Port could not be cast"),
        ([HELLO, "-H", "x"], 2, "Error: 'x' is no header"),
        ([HELLO, "--context", "other"], 1, "Error: there is no context 'other' in the kubeconfig; it has test"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_next_step(run: Run, arguments: list[str], code: int, told: str) -> None:
    done = run(*arguments)
    lines = done.stderr.splitlines()
    assert (done.exit_code, done.stdout) == (code, "")
    assert lines[0].startswith(told)
    assert all(line.startswith("  → ") for line in lines[1:])


def unseen(done: Result) -> str:
    return " ".join(done.stdout.partition("Not seen")[2].split())


def test_a_host_in_a_namespace_that_is_not_there_is_told(run: Run) -> None:
    assert '→ there is no namespace "helo"\n  → there are ' in run("web.helo.svc:5000", "--from", "test/curl").stderr
    assert "→ Service hello/helloworld is called helloworld.hello" in run("helloworld.helo").stderr
    assert "there is no namespace" not in run("web.hello:5000", "--from", "test/curl").stderr


def test_what_may_not_be_read_is_told_and_the_rest_answered(run: Run, served: dict[str, Answer]) -> None:
    served["/apis/security.istio.io/v1/authorizationpolicies"] = (403, {})
    del served["/apis/networking.istio.io/v1/sidecars"]
    done = run(HELLO)
    assert done.exit_code == 0
    assert unseen(done) == (
        "authorizationpolicies.security.istio.io: not permitted, and so not taken into account "
        "kubectl --context test auth can-i --list"
    )


def test_what_is_not_there_may_be_what_is_not_seen(run: Run, served: dict[str, Answer]) -> None:
    served["/api/v1/services"] = (403, {})
    done = run(HELLO)
    assert (done.exit_code, done.stdout) == (65, "")
    assert "  → not seen: services: not permitted, so it is not known which hosts there are" in done.stderr


def test_an_object_that_makes_no_sense_is_told_and_the_rest_answered(run: Run, served: dict[str, Answer]) -> None:
    odd = {
        "metadata": {"name": "odd", "namespace": "hello"},
        "spec": {"http": [{"route": [{}]}], "hosts": ["helloworld"]},
    }
    served["/apis/networking.istio.io/v1/virtualservices"] = (200, {"items": [odd]})
    done = run(HELLO)
    assert (done.exit_code, "waypoint hello/waypoint" in done.stdout) == (0, True), done.output
    assert "hello/odd of VirtualServices read: it makes no sense" in " ".join(done.stdout.split())


def test_an_object_without_the_shape_of_its_kind_is_left_out(run: Run, served: dict[str, Answer]) -> None:
    odd = {"metadata": {"name": "odd", "namespace": "hello"}, "spec": {"targetRef": {"name": "helloworld"}}}
    group = "/apis/gateway.networking.k8s.io"
    served[f"{group}/v1/backendtlspolicies"] = (200, {"items": [odd]})
    done = run(HELLO)
    assert (done.exit_code, "waypoint hello/waypoint" in done.stdout) == (0, True), done.output
    assert "hello/odd of backendtlspolicies: it makes no sense" in " ".join(done.stdout.split())
    # the version that has that shape is not read at all
    del served[f"{group}/v1/backendtlspolicies"]
    served[f"{group}/v1alpha2/backendtlspolicies"] = (200, {"items": [odd]})
    served[group] = (200, {"versions": [{"version": "v1"}, {"version": "v1alpha2"}]})
    assert "Not seen" not in run(HELLO).stdout


def test_without_gateway_api_and_istios_kinds_the_next_steps_are_told(run: Run, served: dict[str, Answer]) -> None:
    for path in [path for path in served if "istio.io" in path or "gateway.networking" in path]:
        del served[path]
    done = run(HELLO)
    assert done.exit_code == 0
    assert "no waypoint:" in done.stdout
    assert "Gateway API: the cluster does not have its kinds, and so no waypoint kubectl --context test" in unseen(done)
    assert unseen(done).endswith(
        "Istio's kinds: the cluster does not have them istioctl --context test install --set profile=ambient"
    )


def test_without_a_mesh_the_next_step_is_told(tmp_path: Path) -> None:
    done = CliRunner(env={"XDG_STATE_HOME": str(tmp_path)}).invoke(cli, ["explain", HELLO])
    assert (done.exit_code, done.stderr) == (1, "Error: mesh 'ambientlab' is not running\n  → ambientlab up\n")
