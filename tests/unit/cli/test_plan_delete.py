"""`plan delete` asks about what `kubectl delete` would delete, and in its words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ambientlab.api.objects import Object
from ambientlab.cli.main import cli
from support.explanations import cluster
from support.object_server import Answer, ObjectServer, answers

Run = Callable[..., Result]
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/hello/httproutes"
SERVICE = "/api/v1/namespaces/hello/services/helloworld"


def route(name: str, **labels: str) -> Object:
    parent = {"group": "", "kind": "Service", "name": "helloworld"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "hello", "labels": labels},
        "spec": {"parentRefs": [parent], "rules": [{"matches": [{"path": {"value": f"/{name}"}}]}]},
    }


HERE = [route("a", team="x"), route("b", team="x"), route("c", team="y")]


@pytest.fixture
def judged() -> dict[str, Answer]:
    """What the API answers to writes; others are taken as they come."""
    return {}


@pytest.fixture
def served() -> dict[str, Answer]:
    found = answers([*cluster().cluster(), *HERE])
    named: dict[str, Answer] = {f"{ROUTES}/{one['metadata']['name']}": (200, one) for one in HERE}
    [service] = found["/api/v1/services"][1]["items"]
    for name in ("z", "helloworld"):
        named[f"{ROUTES}/{name}"] = 404, {"message": f'httproutes.gateway.networking.k8s.io "{name}" not found'}
    return {**found, **named, SERVICE: (200, service), ROUTES: (200, {"items": HERE})}


@pytest.fixture
def run(server: ObjectServer, tmp_path: Path) -> Run:
    file = server.kubeconfig(tmp_path)
    runner = CliRunner(env={"XDG_STATE_HOME": str(tmp_path), "KUBECONFIG": str(file)})

    def ran(*arguments: str, text: str = "") -> Result:
        return runner.invoke(cli, ["plan", "delete", "--context", "test", *arguments], input=text)

    return ran


def deleted(done: Result) -> list[str]:
    found = json.loads(done.stdout)
    assert {one["verb"] for one in found["objects"]} <= {"deleted"}
    return [f"{one['object']['kind']} {one['object']['name']}" for one in found["objects"]]


WRITTEN = json.dumps({"apiVersion": "v1", "kind": "List", "items": [HERE[0], HERE[1], HERE[0]]})


@pytest.mark.parametrize(
    ("arguments", "text", "found"),
    [
        (["httproute", "a", "b"], "", ["HTTPRoute a", "HTTPRoute b"]),
        (["httproutes.v1.gateway.networking.k8s.io", "a"], "", ["HTTPRoute a"]),
        (["svc,httproute", "helloworld", "--ignore-not-found"], "", ["Service helloworld"]),
        (["HTTPRoute/a", "service/helloworld", "httproute/a"], "", ["HTTPRoute a", "Service helloworld"]),
        (["-f", "-"], WRITTEN, ["HTTPRoute a", "HTTPRoute b"]),
        (["-f", "-", "-l", "team=y"], WRITTEN, []),
        (["httproute", "--all"], "", ["HTTPRoute a", "HTTPRoute b", "HTTPRoute c"]),
        (["httproute", "z", "--ignore-not-found"], "", []),
    ],
)
def test_objects_are_named_as_for_kubectl(run: Run, arguments: list[str], text: str, found: list[str]) -> None:
    done = run(*arguments, "-n", "hello", "-o", "json", text=text)
    assert deleted(done) == found
    assert done.exit_code == (2 if found else 0), done.output


def test_what_has_labels_is_asked_of_the_api(run: Run, served: dict[str, Answer]) -> None:
    served[f"{ROUTES}?labelSelector=team%3Dx"] = (200, {"items": HERE[:2]})
    assert deleted(run("httproute", "-l", "team=x", "-n", "hello", "-o", "json")) == ["HTTPRoute a", "HTTPRoute b"]
    served["/apis/gateway.networking.k8s.io/v1/httproutes?labelSelector=team%3Dy"] = (200, {"items": HERE[2:]})
    assert deleted(run("httproute", "-l", "team=y", "-A", "-o", "json")) == ["HTTPRoute c"]
    refused = run("httproute", "-l", "team=z", "-n", "hello")
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_it_is_the_plan_of_deletions(run: Run, server: ObjectServer) -> None:
    done = run("-f", "-", "-n", "hello", text=json.dumps(HERE[0]))
    told = " ".join(done.stdout.split())
    assert done.exit_code == 2, done.output
    assert "- HTTPRoute hello/a deleted" in told
    assert "Nothing was written." in told
    assert server.written == [("DELETE", f"{ROUTES}/a?dryRun=All")]


def test_what_is_refused_is_told_where_it_is_written(run: Run, judged: dict[str, Answer]) -> None:
    judged[f"DELETE {ROUTES}/a"] = (403, {"message": 'admission webhook "x" denied the request: it is kept'})
    text = f"a: [\n---\n{json.dumps(HERE[0])}\n---\n{json.dumps(route('z'))}\n---\n{{kind: Service}}"
    done = run("-f", "-", "-o", "json", text=text)
    found = [
        (one["line"], one["object"], one["message"].partition(": ")[0]) for one in json.loads(done.stdout)["refused"]
    ]
    assert done.exit_code == 1
    assert found == [
        (2, "", "it is no YAML"),
        (3, "HTTPRoute hello/a", 'admission webhook "x" denied the request'),
        (5, "HTTPRoute hello/z", 'httproutes.gateway.networking.k8s.io "z" not found'),
        (7, "Service without a name", "it has no metadata.name, without which nothing can be deleted"),
    ]


def test_a_kind_that_is_not_there_is_no_object_that_is_not(run: Run) -> None:
    done = run("tlsroute", "a", "-n", "hello", "--ignore-not-found", "-o", "json")
    [refused] = json.loads(done.stdout)["refused"]
    assert (done.exit_code, refused["object"]) == (1, "TLSRoute hello/a")


def test_other_kinds_are_the_clusters(run: Run, served: dict[str, Answer]) -> None:
    rollout: dict[str, Any] = {"name": "rollouts", "kind": "Rollout", "namespaced": True, "shortNames": ["ro"]}
    served["/apis"] = (200, {"groups": [{"preferredVersion": {"groupVersion": "argoproj.io/v1"}}]})
    served["/apis/argoproj.io/v1"] = (200, {"resources": [{**rollout, "name": "rollouts/status"}, rollout]})
    meta = {"name": "helloworld-v1", "namespace": "hello"}
    live = {"apiVersion": "argoproj.io/v1", "kind": "Rollout", "metadata": meta}
    served["/apis/argoproj.io/v1/namespaces/hello/rollouts/helloworld-v1"] = (200, live)
    assert deleted(run("ro/helloworld-v1", "-n", "hello", "-o", "json")) == ["Rollout helloworld-v1"]
    unknown = run("what/x", "-n", "hello")
    assert (unknown.exit_code, unknown.stderr.splitlines()[0]) == (
        1,
        'Error: the server doesn\'t have a resource type "what"',
    )


@pytest.mark.parametrize(("cascade", "code"), [("background", 2), ("foreground", 2), ("orphan", 0)])
def test_what_they_own_may_stay(
    run: Run, served: dict[str, Answer], server: ObjectServer, cascade: str, code: int
) -> None:
    apps = {"groups": [{"name": "apps", "preferredVersion": {"groupVersion": "apps/v1"}}]}
    served["/apis"] = (200, apps)
    meta = {"name": "helloworld-v1", "namespace": "hello"}
    spec = {"replicas": 1, "template": {"spec": {"containers": []}}}
    live = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    served["/apis/apps/v1/namespaces/hello/deployments/helloworld-v1"] = (200, live)
    done = run("deploy/helloworld-v1", "-n", "hello", "-o", "json", "--cascade", cascade)
    assert (deleted(done), done.exit_code) == (["Deployment helloworld-v1"], code), done.output
    [body] = server.bodies
    assert json.loads(body)["propagationPolicy"] == cascade.capitalize()


def test_what_has_fields_is_asked_of_the_api(run: Run, served: dict[str, Answer]) -> None:
    served[f"{ROUTES}?fieldSelector=metadata.name%3Db"] = (200, {"items": HERE[1:2]})
    fields = ("--field-selector", "metadata.name=b", "-n", "hello", "-o", "json")
    assert deleted(run("httproute", *fields)) == ["HTTPRoute b"]
    both = f"{ROUTES}?labelSelector=team%3Dx&fieldSelector=metadata.name%3Db"
    served[both] = (200, {"items": []})
    assert deleted(run("httproute", "-l", "team=x", *fields)) == []
    assert deleted(run("-f", "-", *fields, text=WRITTEN)) == ["HTTPRoute a", "HTTPRoute b"], "as kubectl has it"


@pytest.mark.parametrize(
    "options",
    [["--force"], ["--now", "--wait=false"], ["--grace-period=0", "--force"], ["--grace-period", "9", "--timeout=1m"]],
)
def test_how_long_it_takes_is_no_part_of_it(run: Run, options: list[str]) -> None:
    assert deleted(run("httproute", "a", "-n", "hello", "-o", "json", *options)) == ["HTTPRoute a"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name objects to delete, or manifests with -f or -k"),
        (["httproute"], "resource(s) were provided, but no name was specified"),
        (["httproute", "a/b"], "there is no need to specify a resource type as a separate argument"),
        (["httproute/a/b"], "arguments in resource/name form may not have more than one slash"),
        (["httproute/"], "arguments in resource/name form must have a single resource and name"),
        (["svc,httproute/a"], "arguments in resource/name form must have a single resource and name"),
        (["httproute", "a", "-f", "-"], "you may not specify resource arguments as well"),
        (["httproute", "a", "--all"], "name cannot be provided when a selector is specified"),
        (["httproute", "--all", "-l", "a=b"], "cannot set --all and --selector at the same time"),
        (["httproute", "--all", "--field-selector", "a=b"], "cannot set --all and --field-selector at the same time"),
        (["httproute", "a", "--now", "--grace-period=3"], "--now and --grace-period cannot be specified together"),
        (["httproute", "a", "--now", "--force"], "--force and --grace-period greater than 0 cannot be specified"),
        (["-l", "a=b"], "at least one resource must be specified to use a selector"),
        (["httproute", "a", "-A"], "a resource cannot be retrieved by name across all namespaces"),
        (["httproute", ".."], "invalid resource name \"..\": [may not be '..']"),
        (["-f", "-", "-l", "a=b=c"], "found '=', expected: ',' or 'end of string'"),
        (["httproute", "a", "-n", "helo"], 'there is no namespace "helo"'),
        (["-f", "-"], "there are no objects in what -f and -k name"),
        (["--prune"], "No such option"),
    ],
)
def test_what_makes_no_sense_is_told(run: Run, arguments: list[str], told: str) -> None:
    done = run(*arguments, text=json.dumps(HERE[0]) if "-l" in arguments else "")
    assert (done.exit_code, told in done.stderr) == (1, True), done.output


def test_options_come_behind_the_word() -> None:
    done = CliRunner().invoke(cli, ["plan", "-n", "hello", "delete", "svc", "a"])
    assert (done.exit_code, "options of delete come behind it" in done.stderr) == (1, True)
