"""The real kubectl against an API server in this process: core kinds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from ambientlab.api.client import Event
from ambientlab.api.kinds import DEPLOYMENT, POD
from support.kubectl_world import KUBECTL, World, serving

HELLO = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, labels: {app: helloworld}}
spec:
  ports: [{port: 5000, name: http}]
  selector: {app: helloworld}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: helloworld-v1, labels: {app: helloworld, version: v1}}
spec:
  replicas: 1
  selector: {matchLabels: {app: helloworld, version: v1}}
  template:
    metadata: {labels: {app: helloworld, version: v1}}
    spec:
      containers:
      - name: helloworld
        image: docker.io/istio/examples-helloworld-v1:1.0
        resources: {requests: {cpu: "100m"}}
        ports: [{containerPort: 5000}]
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


async def test_apply_says_created_unchanged_configured(world: World) -> None:
    assert await world.ok("apply", "-f", "-", stdin=HELLO) == (
        "service/helloworld created\ndeployment.apps/helloworld-v1 created\n"
    )
    assert await world.ok("apply", "-f", "-", stdin=HELLO) == (
        "service/helloworld unchanged\ndeployment.apps/helloworld-v1 unchanged\n"
    )
    assert await world.ok("apply", "-f", "-", stdin=HELLO.replace("replicas: 1", "replicas: 2")) == (
        "service/helloworld unchanged\ndeployment.apps/helloworld-v1 configured\n"
    )


async def test_get_prints_the_columns_people_know(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=HELLO)
    service = (await world.ok("get", "svc")).splitlines()
    assert service[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert service[1].split()[:2] == ["helloworld", "ClusterIP"]
    assert service[1].split()[2].startswith(("10.96.", "10.97.", "10.98.", "10.99.", "10.10", "10.11"))
    assert service[1].split()[3:5] == ["<none>", "5000/TCP"]
    deployment = (await world.ok("get", "deploy")).splitlines()
    assert deployment[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert await world.ok("get", "deploy", "-o", "name") == "deployment.apps/helloworld-v1\n"
    shown = (await world.ok("get", "ns", "--show-labels")).splitlines()
    assert shown[1].split()[-1] == "kubernetes.io/metadata.name=default"
    ran = await world.run("get", "pods")
    assert (ran.out, ran.err) == ("", "No resources found in default namespace.\n")


async def test_label_and_annotate(world: World) -> None:
    await world.ok("create", "ns", "hello")
    labels = ("istio.io/dataplane-mode=ambient", "istio.io/use-waypoint=waypoint")
    assert await world.ok("label", "ns", "hello", *labels, "--overwrite") == "namespace/hello labeled\n"
    assert await world.ok("annotate", "ns", "hello", "a=b") == "namespace/hello annotated\n"
    assert await world.ok("get", "ns", "-l", "istio.io/dataplane-mode=ambient", "-o", "name") == "namespace/hello\n"
    assert await world.ok("label", "ns", "hello", "istio.io/dataplane-mode-") == "namespace/hello unlabeled\n"
    assert await world.ok("get", "ns", "-l", "istio.io/dataplane-mode=ambient", "-o", "name") == ""


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("json", '[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "new"}]'),
        ("strategic", '{"spec": {"template": {"spec": {"containers": [{"name": "helloworld", "image": "new"}]}}}}'),
        ("merge", '{"spec": {"template": {"spec": {"containers": [{"name": "helloworld", "image": "new"}]}}}}'),
    ],
)
async def test_patch_of_each_kind(world: World, kind: str, patch: str) -> None:
    await world.ok("apply", "-f", "-", stdin=HELLO)
    assert await world.ok("patch", "deploy", "helloworld-v1", "--type", kind, "-p", patch) == (
        "deployment.apps/helloworld-v1 patched\n"
    )
    found = json.loads(await world.ok("get", "deploy", "helloworld-v1", "-o", "json"))
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "new"
    assert ("ports" in container) == (kind != "merge")
    assert found["metadata"]["generation"] == 2


async def test_edit_with_an_editor(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=HELLO)
    editor = world.home / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/replicas: 1/replicas: 7/" "$1"\n')
    editor.chmod(0o755)
    env = {**world.env, "KUBE_EDITOR": str(editor), "TMPDIR": str(world.home)}
    assert await world.ok("edit", "deploy", "helloworld-v1", env=env) == "deployment.apps/helloworld-v1 edited\n"
    jsonpath = "jsonpath={.spec.replicas}"
    assert await world.ok("get", "deploy", "helloworld-v1", "-o", jsonpath) == "7"


async def test_scale(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=HELLO)
    assert await world.ok("scale", "deploy", "helloworld-v1", "--replicas", "3", "--current-replicas", "1") == (
        "deployment.apps/helloworld-v1 scaled\n"
    )
    failed = await world.fails("scale", "deploy", "helloworld-v1", "--replicas", "5", "--current-replicas", "1")
    assert "Expected replicas to be 1, was 3" in failed


async def test_server_side_apply_names_the_conflicting_manager(world: World) -> None:
    deployment = HELLO.partition("---")[2]
    assert await world.ok("apply", "--server-side", "-f", "-", stdin=HELLO) == (
        "service/helloworld serverside-applied\ndeployment.apps/helloworld-v1 serverside-applied\n"
    )
    changed = deployment.replace("replicas: 1", "replicas: 4")
    failed = await world.fails("apply", "--server-side", "--field-manager", "other", "-f", "-", stdin=changed)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas' in failed
    await world.ok("apply", "--server-side", "--force-conflicts", "--field-manager", "other", "-f", "-", stdin=changed)
    found = json.loads(await world.ok("get", "deploy", "helloworld-v1", "-o", "json", "--show-managed-fields"))
    owners = {
        entry["manager"]
        for entry in found["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
    assert owners == {"other"}


async def test_server_side_apply_after_client_side_apply_conflicts_as_on_kube(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=HELLO)
    changed = HELLO.partition("---")[2].replace("replicas: 1", "replicas: 4")
    failed = await world.fails("apply", "--server-side", "--field-manager", "me", "-f", "-", stdin=changed)
    assert 'conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas' in failed


async def test_server_side_apply_drops_what_it_no_longer_names(world: World) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {a: x, b: z}}\ndata: {one: '1', two: '2'}"
    await world.ok("apply", "--server-side", "-f", "-", stdin=text)
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {a: x}}\ndata: {one: '1'}"
    await world.ok("apply", "--server-side", "-f", "-", stdin=text)
    found = json.loads(await world.ok("get", "cm", "c", "-o", "json"))
    assert found["data"] == {"one": "1"}
    assert found["metadata"]["labels"] == {"a": "x"}


async def test_delete_and_ignore_not_found(world: World) -> None:
    await world.ok("create", "configmap", "c")
    assert (await world.ok("delete", "cm", "c")).startswith('configmap "c" deleted')
    assert await world.fails("delete", "cm", "c") == 'Error from server (NotFound): configmaps "c" not found\n'
    assert await world.ok("delete", "cm", "c", "--ignore-not-found") == ""
    assert await world.fails("get", "deploy", "c") == ('Error from server (NotFound): deployments.apps "c" not found\n')


async def test_creating_twice_is_refused(world: World) -> None:
    await world.ok("create", "sa", "x")
    failed = await world.fails("create", "sa", "x")
    assert failed == 'error: failed to create serviceaccount: serviceaccounts "x" already exists\n'


async def test_dry_run_stores_nothing(world: World) -> None:
    assert await world.ok("create", "sa", "x", "--dry-run=server") == "serviceaccount/x created (server dry run)\n"
    await world.fails("get", "sa", "x")


async def test_a_pod_gets_its_service_account_and_waits_for_the_kubelet_to_go(world: World) -> None:
    await world.ok("run", "p", "--image", "curl")
    pod = json.loads(await world.ok("get", "pod", "p", "-o", "json"))
    assert pod["spec"]["serviceAccountName"] == "default"
    volume = pod["spec"]["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    assert pod["spec"]["containers"][0]["volumeMounts"][0]["name"] == volume["name"]
    assert pod["status"]["phase"] == "Pending"
    client = world.server.client
    await client.patch(POD, "p", "default", {"spec": {"nodeName": "n"}})
    deleting = asyncio.ensure_future(world.ok("delete", "pod", "p", "--grace-period", "7"))
    gone = asyncio.Event()
    marked: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()

    def see(event: Event) -> None:
        meta = event.object["metadata"]
        if event.type == "DELETED":
            gone.set()
        elif "deletionTimestamp" in meta and not marked.done():
            marked.set_result(meta)

    stop = client.watch(POD, see)
    assert (await marked)["deletionGracePeriodSeconds"] == 7
    await client.delete(POD, "p", "default", grace_seconds=0)
    assert (await deleting).startswith('pod "p" deleted')
    await gone.wait()
    stop()


async def test_pods_need_a_service_account_and_a_living_namespace(world: World) -> None:
    failed = await world.fails("run", "p", "--image", "x", "--overrides", '{"spec": {"serviceAccountName": "nobody"}}')
    assert failed == (
        'Error from server (Forbidden): pods "p" is forbidden: error looking up service account default/nobody: '
        'serviceaccount "nobody" not found\n'
    )
    failed = await world.fails("run", "p", "--image", "x", "-n", "nowhere")
    assert failed == 'Error from server (NotFound): namespaces "nowhere" not found\n'
    await world.ok("create", "ns", "going")
    await world.ok("delete", "ns", "going", "--wait=false")
    failed = await world.fails("create", "cm", "c", "-n", "going")
    assert 'configmaps "c" is forbidden: unable to create new content in namespace going because it is being' in failed


async def test_wait_returns_when_the_condition_comes(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=HELLO)
    waiting = asyncio.ensure_future(
        world.ok("wait", "--for=condition=Available", "deploy/helloworld-v1", "--timeout=30s")
    )
    condition = {"type": "Available", "status": "True", "reason": "x", "message": "y"}
    await world.server.client.patch(
        DEPLOYMENT, "helloworld-v1", "default", {"status": {"conditions": [condition]}}, subresource="status"
    )
    assert await waiting == "deployment.apps/helloworld-v1 condition met\n"
    found = json.loads(await world.ok("get", "deploy", "helloworld-v1", "-o", "json"))
    assert found["metadata"]["generation"] == 1


async def test_watch_prints_each_change(world: World) -> None:
    await world.ok("create", "cm", "c")
    process = await asyncio.create_subprocess_exec(
        KUBECTL, "get", "cm", "-w", env=world.env, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert (await process.stdout.readline()).split() == [b"NAME", b"DATA", b"AGE"]
        assert (await process.stdout.readline()).split()[:2] == [b"c", b"0"]
        await world.ok("patch", "cm", "c", "--type", "merge", "-p", '{"data": {"a": "b"}}')
        assert (await process.stdout.readline()).split()[:2] == [b"c", b"1"]
        await world.ok("create", "cm", "d")
        assert (await process.stdout.readline()).split()[:2] == [b"d", b"0"]
    finally:
        process.terminate()
        await process.communicate()


async def test_explain_api_resources_version_and_describe(world: World) -> None:
    assert "Number of desired pods" in await world.ok("explain", "deployment.spec.replicas")
    names = await world.ok("api-resources", "-o", "name")
    assert {"pods", "deployments.apps", "customresourcedefinitions.apiextensions.k8s.io"} <= set(names.split())
    assert "horizontalpodautoscalers.autoscaling" not in names
    assert "Server Version: v1.37.0" in await world.ok("version")
    await world.ok("apply", "-f", "-", stdin=HELLO)
    assert "Replicas:               1 desired" in await world.ok("describe", "deploy", "helloworld-v1")


async def test_who_am_i_and_may_i(world: World) -> None:
    assert "kubernetes-admin" in await world.ok("auth", "whoami")
    assert await world.ok("auth", "can-i", "create", "pods") == "yes\n"


async def test_a_service_account_has_a_name_and_no_rights(world: World) -> None:
    env = world.as_token((await world.ok("create", "token", "default")).strip())
    assert "system:serviceaccount:default:default" in await world.ok("auth", "whoami", env=env)
    assert (await world.run("auth", "can-i", "list", "pods", env=env)).out == "no\n"
    assert await world.fails("get", "pods", env=env) == (
        'Error from server (Forbidden): pods is forbidden: User "system:serviceaccount:default:default" cannot list '
        'resource "pods" in API group "" in the namespace "default"\n'
    )
    failed = await world.fails("get", "pods", env=world.as_token("not.a.token"))
    assert "You must be logged in to the server" in failed


async def test_services_keep_and_share_out_addresses(world: World) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {clusterIP: 10.96.3.4, ports: [{port: 80}]}"
    await world.ok("apply", "-f", "-", stdin=text.replace("NAME", "a"))
    failed = await world.fails("apply", "-f", "-", stdin=text.replace("NAME", "b"))
    assert "failed to allocate IP 10.96.3.4: provided IP is already allocated" in failed
    await world.ok("delete", "svc", "a")
    await world.ok("apply", "-f", "-", stdin=text.replace("NAME", "b"))
    await world.ok("create", "service", "nodeport", "np", "--tcp=80")
    port = int(await world.ok("get", "svc", "np", "-o", "jsonpath={.spec.ports[0].nodePort}"))
    assert 30000 <= port < 32768
    failed = await world.fails("apply", "-f", "-", stdin=text.replace("NAME", "c").replace("10.96.3.4", "10.1.1.1"))
    assert "is not in the valid range" in failed


async def test_everything_is_there_after_a_restart(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=HELLO)
    before = yaml.safe_load(await world.ok("get", "svc,deploy", "-o", "yaml"))
    await world.stop()
    await world.start()
    after = yaml.safe_load(await world.ok("get", "svc,deploy", "-o", "yaml"))
    assert after["items"] == before["items"]


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, labels: {app: db}}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
OLD = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: old, labels: {app: db}}\n"


async def test_prune_looks_for_all_kinds_that_kubectl_has_it_look_for(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=CLAIM + OLD)
    said = await world.ok("apply", "--prune", "-l", "app=db", "-f", "-", stdin=CLAIM)
    assert said == "persistentvolumeclaim/data unchanged\nconfigmap/old pruned\n"


async def test_claims_are_there_to_be_read_and_checked(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=CLAIM)
    head, row = (await world.ok("get", "pvc")).splitlines()
    columns = "NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE"
    assert " ".join(head.split()) == columns
    assert row.split()[:3] == ["data", "Pending", "<unset>"]
    bad = CLAIM.replace("name: data", "name: bad").replace("[ReadWriteOnce]", "[Once]").replace("1Gi", "0")
    refused = await world.run("apply", "-f", "-", stdin=bad)
    modes = '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'
    assert f'spec.accessModes: Unsupported value: "Once": supported values: {modes}' in refused.err
    assert 'spec.resources[storage]: Invalid value: "0": must be greater than zero' in refused.err
    refused = await world.run("apply", "-f", "-", stdin=CLAIM.replace("1Gi", "2Gi"))
    assert "spec: Forbidden: spec is immutable after creation" in refused.err
    empty = CLAIM.partition("spec:")[0].replace("name: data", "name: empty")
    refused = await world.run("apply", "-f", "-", stdin=empty)
    assert "spec.accessModes: Required value: at least 1 access mode is required" in refused.err
    assert "spec.resources[storage]: Required value" in refused.err


@pytest.mark.parametrize("kind", ["pv", "rc", "sts", "jobs", "cj", "ing"])
async def test_what_nobody_here_runs_is_listed_as_none(world: World, kind: str) -> None:
    assert (await world.run("get", kind, "-A")).err == "No resources found\n"


async def test_what_nobody_here_runs_is_refused(world: World) -> None:
    refused = await world.run("create", "job", "a", "--image=busybox")
    assert refused.err == (
        "error: failed to create job: ambientlab has no jobs.batch, and takes none; "
        "what makes pods here are Deployments, ReplicaSets and DaemonSets\n"
    )
    refused = await world.run("create", "ingress", "a", "--rule=a.example/*=web:80")
    assert (
        refused.err
        == "error: failed to create ingress: ambientlab has no ingresses.networking.k8s.io, and takes none\n"
    )


@pytest.mark.parametrize("kind", ["netpol", "role", "clusterrole", "hpa", "pdb", "quota", "storageclass"])
async def test_what_is_not_there_at_all_is_unknown(world: World, kind: str) -> None:
    assert (await world.run("get", kind, "-A")).err == f'error: the server doesn\'t have a resource type "{kind}"\n'
