"""Volumes as a container finds them, and what is refused."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from ambientlab.api import kinds
from ambientlab.node.agent.volumes import make_beneath

SLEEP = {"name": "main", "image": "busybox", "command": ["sleep", "1000"]}


def mounted(world: Any, target: str, container: int = -1) -> Path:
    """Where a container's mount comes from."""
    (mount,) = [m for m in world.runtime.specs[container].mounts if m.target == target]
    return Path(mount.source)


async def put(world: Any, kind: str, name: str, **data: Any) -> None:
    resource = kinds.SECRET if kind == "Secret" else kinds.CONFIGMAP
    await world.client.create(resource, {"kind": kind, "metadata": {"name": name, "namespace": "default"}, **data})


async def with_volume(world: Any, source: dict[str, Any], **mount: Any) -> Path:
    container = {**SLEEP, "volumeMounts": [{"name": "v", "mountPath": "/data", **mount}]}
    await world.create("web", container, volumes=[{"name": "v", **source}])
    await world.ready("web")
    return mounted(world, "/data")


async def test_config_maps_and_secrets_become_files(world: Any) -> None:
    await put(world, "ConfigMap", "conf", data={"a.txt": "one"}, binaryData={"b": base64.b64encode(b"\xff").decode()})
    path = await with_volume(world, {"configMap": {"name": "conf", "defaultMode": 0o640}})
    assert (path / "a.txt").read_text() == "one"
    assert (path / "b").read_bytes() == b"\xff"
    assert os.stat(path / "a.txt").st_mode & 0o777 == 0o640


async def test_a_change_is_swapped_in_whole(world: Any) -> None:
    await put(world, "Secret", "sec", data={"a": base64.b64encode(b"1").decode(), "b": ""})
    path = await with_volume(world, {"secret": {"secretName": "sec"}})
    assert (path / "a").read_text() == "1"
    await world.client.patch(
        kinds.SECRET, "sec", "default", {"data": {"a": base64.b64encode(b"2").decode(), "b": None, "c": ""}}
    )
    await world.until(lambda: (path / "a").read_text() == "2")
    assert sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("..")) == ["a", "c"]
    assert len([entry for entry in path.iterdir() if entry.name.startswith("..")]) == 2


async def test_a_pod_waits_for_a_config_map_and_starts_when_it_comes(world: Any) -> None:
    container = {**SLEEP, "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    await world.create("web", container, volumes=[{"name": "v", "configMap": {"name": "late"}}])
    await world.until(lambda: world.events("FailedMount"))
    assert world.events("FailedMount") == ['MountVolume.SetUp failed for volume "v" : configmap "late" not found']
    # events and statuses are written by tasks of their own
    assert await world.until(lambda: world.status("web").get("phase")) == "Pending"
    await put(world, "ConfigMap", "late", data={"x": "y"})
    await world.ready("web")


async def test_a_variable_waits_for_its_secret(world: Any) -> None:
    source = {"secretKeyRef": {"name": "late", "key": "k"}}
    await world.create("web", {**SLEEP, "env": [{"name": "K", "valueFrom": source}]})
    await world.until(lambda: world.events("Failed"))
    assert world.events("Failed") == ['Error: secret "late" not found']
    await world.until(lambda: world.container("web")["state"].get("waiting", {}).get("reason") != "ContainerCreating")
    assert world.container("web")["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'secret "late" not found',
    }
    await put(world, "Secret", "late", data={"k": base64.b64encode(b"v").decode()})
    pod = await world.ready("web")
    assert await world.output(pod, "sh", "-c", "echo $K") == (0, b"v\n", b"")


async def test_the_token_of_the_service_account(world: Any) -> None:
    await put(world, "ConfigMap", "kube-root-ca.crt", data={"ca.crt": "CA"})
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    path = await with_volume(world, {"projected": {"sources": sources}})
    assert (path / "token").read_text() == "token-1"
    assert os.stat(path / "token").st_mode & 0o777 == 0o600
    assert (path / "ca.crt").read_text() == "CA"
    assert (path / "namespace").read_text() == "default"
    (request,) = world.tokens
    assert request["account"] == "default/default"
    assert request["expirationSeconds"] == 3607
    assert request["boundObjectRef"]["name"] == "web"
    await world.elapse(3607 * 0.8)
    await world.until(lambda: (path / "token").read_text() == "token-2")


async def test_an_empty_directory_is_shared_writable_and_removed(world: Any) -> None:
    path = await with_volume(world, {"emptyDir": {}})
    (mount,) = [m for m in world.runtime.specs[-1].mounts if m.target == "/data"]
    assert not mount.read_only
    (path / "x").write_text("x")
    await world.client.delete(kinds.POD, "web", "default", grace_seconds=0)
    await world.until(lambda: not path.exists())


async def test_a_sub_path_is_made_below_its_volume(world: Any) -> None:
    path = await with_volume(world, {"emptyDir": {}}, subPathExpr="logs/$(HOSTNAME)")
    assert path.parts[-3:] == ("v", "logs", "web")
    assert path.is_dir()


@pytest.mark.parametrize("sub", ["../../x", "/etc", "a/../../b"])
async def test_a_sub_path_cannot_leave_its_volume(world: Any, sub: str) -> None:
    mounts = [{"name": "v", "mountPath": "/data", "subPath": sub}]
    await world.create("web", {**SLEEP, "volumeMounts": mounts}, volumes=[{"name": "v", "emptyDir": {}}])
    await world.until(lambda: world.events("Failed"))
    assert f'subPath "{sub}" must be a relative path without ".."' in world.events("Failed")[0]


@pytest.mark.parametrize("sub", ["out", "out/new"])
async def test_a_link_in_a_volume_cannot_lead_out_of_it(world: Any, tmp_path: Path, sub: str) -> None:
    path = await with_volume(world, {"emptyDir": {}})
    (tmp_path / "elsewhere").mkdir()
    (path / "out").symlink_to(tmp_path / "elsewhere")
    volumes = world.agent.worker(world.pod("web")).context.volumes
    mount = {"name": "v", "mountPath": "/data", "subPath": sub}
    with pytest.raises(Exception, match="leads out of its volume"):
        volumes.mounts(world.pod("web"), {**SLEEP, "volumeMounts": [mount]}, {})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_link_that_comes_while_a_sub_path_is_made_leads_nowhere(tmp_path: Path) -> None:
    volume, elsewhere = tmp_path / "v", tmp_path / "elsewhere"
    for directory in (volume / "there", elsewhere):
        directory.mkdir(parents=True)
    make_beneath(volume, volume / "there/new/one")
    assert (volume / "there/new/one").is_dir()
    (volume / "there/out").symlink_to(elsewhere)
    with pytest.raises(NotADirectoryError):
        make_beneath(volume, volume / "there/out/new")
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"hostPath": {"path": "/etc"}}, "volumes of type hostPath are not supported by ambientlab: use emptyDir"),
        ({"persistentVolumeClaim": {"claimName": "x"}}, "volumes of type persistentVolumeClaim are not supported"),
        ({"configMap": {"name": "conf", "items": [{"key": "a.txt", "path": "../x"}]}}, 'path "../x" must be relative'),
        ({"configMap": {"name": "conf", "items": [{"key": "no", "path": "x"}]}}, "non-existent configmap key: no"),
    ],
)
async def test_what_cannot_be_mounted_is_refused_with_a_reason(world: Any, source: Any, part: str) -> None:
    await put(world, "ConfigMap", "conf", data={"a.txt": "one"})
    await world.create("web", SLEEP, volumes=[{"name": "v", **source}])
    await world.until(lambda: world.events("FailedMount"))
    assert part in world.events("FailedMount")[0]
    await world.client.delete(kinds.POD, "web", "default")
    await world.until(lambda: world.pod("web") is None)
