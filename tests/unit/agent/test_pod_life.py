"""What happens to a pod from its creation to its removal."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest

from ambientlab.api import kinds
from ambientlab.node.agent import launch, status
from ambientlab.node.runtime import Sandbox


def shell(script: str, name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


async def test_a_pod_becomes_ready_and_says_so(world: Any) -> None:
    await world.create("web", {"name": "main", "image": "busybox", "command": ["sleep", "1000"]})
    pod = await world.ready("web")
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["podIP"] == "127.1.0.2"
    assert status["podIPs"] == [{"ip": "127.1.0.2"}]
    assert status["hostIP"] == "10.244.0.1"
    assert status["qosClass"] == "BestEffort"
    assert [c["type"] for c in status["conditions"]] == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    (container,) = status["containerStatuses"]
    assert container["ready"]
    assert container["started"]
    assert container["restartCount"] == 0
    assert container["containerID"].startswith("ambientlab://")
    assert world.hook.calls == ["ready web 127.1.0.2"]
    await world.until(lambda: len(world.events()) == 3)
    assert world.events() == [
        'Container image "busybox" already present on machine and can be accessed by the pod',
        "Container created",
        "Container started",
    ]


async def test_a_start_costs_few_status_writes(world: Any) -> None:
    await world.create("web", {"name": "main", "image": "busybox", "command": ["sleep", "1000"]})
    await world.ready("web")
    patches = [patch for verb, kind, patch in world.client.writes if (verb, kind) == ("patch status", "Pod")]
    assert len(patches) <= 3
    assert "startTime" not in patches[-1]["status"]


async def test_deletion_ends_the_process_and_removes_the_object(world: Any) -> None:
    await world.create("web", shell("trap 'exit 0' TERM; echo up; while true; do sleep 0.01; done"))
    await world.said(await world.ready("web"), b"up")
    await world.client.delete(kinds.POD, "web", "default")
    await world.until(lambda: world.pod("web") is None)
    assert "signal 15" in world.runtime.calls
    assert "signal 9" not in world.runtime.calls
    assert world.runtime.sandboxes == []
    assert world.hook.calls[-1] == "removing web"
    assert world.events("Killing") == ["Stopping container main"]
    assert list((world.path / "state" / "logs").iterdir()) == []
    patches = [patch["status"] for verb, kind, patch in world.client.writes if (verb, kind) == ("patch status", "Pod")]
    states = [patch["containerStatuses"][0]["state"] for patch in patches if "containerStatuses" in patch]
    assert states[-1]["terminated"]["exitCode"] == 0


async def test_a_pod_whose_sandbox_ends_begins_again_in_another(world: Any) -> None:
    first = shell("true", "first")
    await world.create("web", shell("trap 'exit 0' TERM; while :; do sleep 0.01; done"), initContainers=[first])
    await world.ready("web")
    address = world.status("web")["podIP"]
    world.runtime.calls.clear()
    world.runtime.lost.set()
    await world.until(lambda: world.container("web").get("restartCount") == 1 and world.condition("web", "Ready"))
    await world.ready("web")
    sandbox = [call for call in world.runtime.calls if call != "signal 15"]
    assert sandbox == ["remove_sandbox", "create_sandbox", "start first", "start main"]
    assert world.hook.calls == [f"ready web {address}", "removing web", f"ready web {world.status('web')['podIP']}"]
    assert world.events("SandboxChanged") == ["Pod sandbox changed, it will be killed and re-created."]
    await world.client.delete(kinds.POD, "web", "default")
    await world.until(lambda: world.pod("web") is None)
    assert world.runtime.sandboxes == []


async def test_what_must_not_restart_is_over_when_its_sandbox_ends(world: Any) -> None:
    await world.create("job", shell("exec sleep 1000"), restartPolicy="Never")
    await world.ready("job")
    world.runtime.lost.set()
    await world.until(lambda: world.status("job").get("phase") == "Failed" and not world.runtime.sandboxes)
    assert world.runtime.calls.count("create_sandbox") == 1
    assert world.container("job")["restartCount"] == 0


async def test_a_pod_goes_whatever_is_left_of_its_sandbox(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def remove_sandbox(sandbox: Sandbox) -> None:
        raise OSError(errno.EBUSY, "delete link 16: Device or resource busy")

    await world.create("web", shell("exec sleep 1000"))
    await world.ready("web")
    address = world.status("web")["podIP"]
    monkeypatch.setattr(world.runtime, "remove_sandbox", remove_sandbox)
    await world.client.delete(kinds.POD, "web", "default")
    await world.until(lambda: world.pod("web") is None)
    assert address not in world.addresses.free


async def test_a_fault_in_what_is_told_of_a_pod_is_told_itself(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def pod_status(*_: object) -> dict[str, Any]:
        raise KeyError("type")

    monkeypatch.setattr(status, "pod_status", pod_status)
    await world.create("web", shell("exec sleep 1000"))
    await world.until(lambda: world.events("FailedSync") == ["error syncing pod: 'type'"])
    worker = world.agent.worker(world.pod("web"))
    await asyncio.wait_for(worker.reported(), 5)


@pytest.mark.parametrize("role", ["initContainers", "ephemeralContainers"])
async def test_a_fault_in_what_starts_a_container_is_told(
    world: Any, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Of those that others do not wait for."""
    made = launch.container_spec

    def container_spec(context: Any, container: Any, program: Any, run: int) -> Any:
        if container["name"] == "beside":
            raise KeyError("image")
        return made(context, container, program, run)

    monkeypatch.setattr(launch, "container_spec", container_spec)
    beside = shell("exec sleep 1000", "beside") | ({"restartPolicy": "Always"} if role == "initContainers" else {})
    await world.create("web", shell("exec sleep 1000"), **{role: [beside]})
    await world.until(lambda: world.events("FailedSync") == ["error syncing pod: 'image'"])


async def test_a_container_that_gets_no_descriptors_keeps_none(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = os.pipe2
    pipes = iter(range(2))

    def pipe2(flags: int) -> tuple[int, int]:
        if next(pipes, None) is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return made(flags)

    await world.create("first", shell("exec sleep 1000"))
    await world.ready("first")
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pipe2", pipe2)
    await world.create("web", shell("exec cat", stdin=True), restartPolicy="Never")
    await world.until(lambda: world.status("web").get("phase") == "Failed")
    message = "failed to start container: Too many open files"
    assert world.container("web")["state"]["terminated"]["message"] == message
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(world: Any) -> None:
    await world.create("stubborn", shell("trap '' TERM; echo up; while true; do sleep 0.01; done"))
    await world.said(await world.ready("stubborn"), b"up")
    await world.client.delete(kinds.POD, "stubborn", "default", grace_seconds=5)
    await world.until(lambda: "signal 15" in world.runtime.calls)
    assert "signal 9" not in world.runtime.calls
    world.clock.advance(5)
    await world.until(lambda: world.pod("stubborn") is None)
    assert "signal 9" in world.runtime.calls


PROXY = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.31.0"}


async def test_a_proxy_finishes_what_is_under_way_before_it_ends(world: Any) -> None:
    await world.create("waypoint", PROXY)
    await world.ready("waypoint")
    await world.client.delete(kinds.POD, "waypoint", "default")
    await world.until(lambda: world.draining)
    world.clock.advance(1)
    assert "signal 15" not in world.runtime.calls
    world.idle.set()
    await world.until(lambda: world.pod("waypoint") is None)
    assert "signal 15" in world.runtime.calls


async def test_a_proxy_that_stays_busy_has_five_seconds(world: Any) -> None:
    await world.create("waypoint", PROXY)
    await world.ready("waypoint")
    await world.client.delete(kinds.POD, "waypoint", "default")
    await world.until(lambda: world.draining)
    world.clock.advance(4.9)
    await asyncio.sleep(0)
    assert "signal 15" not in world.runtime.calls
    world.clock.advance(0.2)
    await world.until(lambda: world.pod("waypoint") is None)


async def test_a_proxy_that_starts_when_it_should_end_is_told_again(world: Any) -> None:
    """The first process of a container does not hear of a signal before it has said what to do about it."""
    world.idle.set()
    script = "trap '' TERM; echo deaf; read _ < fifo; trap 'exit 0' TERM; echo hears; while :; do sleep 0.01; done"
    await world.create("waypoint", {**PROXY, "command": ["sh", "-c", f"cd {world.path}; mkfifo fifo; {script}"]})
    await world.said(await world.ready("waypoint"), b"deaf", "istio-proxy")
    await world.client.delete(kinds.POD, "waypoint", "default")
    await world.until(lambda: "signal 15" in world.runtime.calls)
    (world.path / "fifo").write_text("\n")
    await world.said(world.pod("waypoint"), b"hears", "istio-proxy")
    await world.elapse(0.5)
    await world.until(lambda: world.pod("waypoint") is None)
    assert "signal 9" not in world.runtime.calls


async def test_a_forced_deletion_of_a_busy_proxy_does_not_wait(world: Any) -> None:
    await world.create("waypoint", PROXY)
    await world.ready("waypoint")
    await world.client.delete(kinds.POD, "waypoint", "default")
    await world.until(lambda: world.draining)
    await world.client.delete(kinds.POD, "waypoint", "default", grace_seconds=0)
    await world.until(lambda: world.runtime.live == {})


async def test_a_forced_deletion_does_not_wait(world: Any) -> None:
    await world.create("stubborn", shell("trap '' TERM; while true; do sleep 0.01; done"))
    await world.ready("stubborn")
    await world.client.delete(kinds.POD, "stubborn", "default")
    await world.until(lambda: "signal 15" in world.runtime.calls)
    await world.client.delete(kinds.POD, "stubborn", "default", grace_seconds=0)
    await world.until(lambda: not world.runtime.sandboxes)
    await world.until(
        lambda: not (world.path / "state/logs").exists() or not list((world.path / "state/logs").iterdir())
    )
    assert world.runtime.live == {}


async def test_init_containers_run_one_after_the_other_before_the_others(world: Any) -> None:
    await world.create(
        "web",
        shell("exec sleep 1000"),
        initContainers=[shell("true", "first"), shell("true", "second")],
    )
    pod = await world.ready("web")
    assert [call for call in world.runtime.calls if call.startswith("start")] == [
        "start first",
        "start second",
        "start main",
    ]
    states = [each["state"]["terminated"]["reason"] for each in pod["status"]["initContainerStatuses"]]
    assert states == ["Completed", "Completed"]
    assert all(each["ready"] for each in pod["status"]["initContainerStatuses"])


async def test_a_failing_init_container_keeps_the_pod_pending_and_is_tried_again(world: Any) -> None:
    marker = world.path / "marker"
    await world.create("web", shell("exec sleep 1000"), initContainers=[shell(f"test -e {marker}", "wait")])
    waiting = lambda: world.container("web", 0, "initContainerStatuses")["state"].get("waiting", {})  # noqa: E731
    await world.until(lambda: waiting().get("reason") == "CrashLoopBackOff")
    assert world.status("web")["phase"] == "Pending"
    assert world.condition("web", "Initialized") == "False"
    assert world.container("web")["state"]["waiting"]["reason"] == "PodInitializing"
    marker.touch()
    world.clock.advance(10)
    await world.ready("web")


async def test_a_sidecar_starts_first_and_ends_last(world: Any) -> None:
    sidecar = shell("exec sleep 1000", "proxy", restartPolicy="Always")
    await world.create("job", shell("exit 0"), initContainers=[sidecar], restartPolicy="Never")
    await world.until(lambda: world.status("job").get("phase") == "Succeeded")
    await world.until(lambda: not world.runtime.sandboxes)
    starts = [call for call in world.runtime.calls if call.startswith(("start", "signal"))]
    assert starts == ["start proxy", "start main", "signal 15"]


async def test_sidecars_have_what_the_others_leave_of_the_grace_period(world: Any) -> None:
    def stubborn(name: str) -> str:
        return f"trap '' TERM; touch {world.path}/{name}; while :; do sleep 0.01; done"

    hook = {"preStop": {"exec": {"command": ["touch", str(world.path / "told")]}}}
    sidecar = shell(stubborn("sidecar"), "proxy", restartPolicy="Always", lifecycle=hook)
    await world.create("web", shell(stubborn("main")), initContainers=[sidecar], terminationGracePeriodSeconds=10)
    await world.ready("web")
    await world.until(lambda: {"sidecar", "main"} <= {path.name for path in world.path.iterdir()})
    began = world.clock.time()
    await world.client.delete(kinds.POD, "web", "default")
    await world.until((world.path / "told").exists)  # its hook waits for nobody
    await world.elapse_until(lambda: world.pod("web") is None)
    assert 12 <= world.clock.time() - began < 15
    assert sorted(call for call in world.runtime.calls if "signal" in call) == ["signal 15"] * 2 + ["signal 9"] * 2


async def test_a_pod_that_must_not_restart_succeeds_or_fails(world: Any) -> None:
    await world.create("good", shell("exit 0"), restartPolicy="Never")
    await world.create("bad", shell("exit 3"), restartPolicy="Never")
    await world.until(lambda: world.status("good").get("phase") == "Succeeded")
    await world.until(lambda: world.status("bad").get("phase") == "Failed")
    assert world.container("bad")["state"]["terminated"]["exitCode"] == 3
    assert world.container("bad")["state"]["terminated"]["reason"] == "Error"
    await world.until(lambda: not world.runtime.sandboxes)
    assert world.condition("good", "Ready") == "False"


async def test_crashes_are_retried_at_once_then_after_10_then_20_seconds(world: Any) -> None:
    await world.create("crash", shell("exit 1"))
    waiting = lambda: world.container("crash")["state"].get("waiting", {})  # noqa: E731
    await world.until(lambda: waiting().get("reason") == "CrashLoopBackOff")
    assert world.container("crash")["restartCount"] == 1
    assert waiting()["message"].startswith("back-off 10s restarting failed container=main pod=crash_default(")
    assert world.container("crash")["lastState"]["terminated"]["exitCode"] == 1
    assert world.status("crash")["phase"] == "Running"
    world.clock.advance(10)
    await world.until(lambda: waiting().get("message", "").startswith("back-off 20s"))
    assert world.container("crash")["restartCount"] == 2
    await world.until(lambda: world.events("BackOff"))
    assert world.events("BackOff")[0].startswith("Back-off restarting failed container main in pod crash_default(")


async def test_a_program_that_does_not_exist_is_reported_as_the_runtime_says_it(world: Any) -> None:
    await world.create("typo", {"name": "main", "image": "busybox", "command": ["slep"]}, restartPolicy="Never")
    await world.until(lambda: world.status("typo").get("phase") == "Failed")
    ended = world.container("typo")["state"]["terminated"]
    assert ended["reason"] == "StartError"
    assert ended["exitCode"] == 128
    assert 'exec: "slep": executable file not found in $PATH' in ended["message"]


async def test_an_image_that_is_not_built_in_is_named_with_those_that_are(world: Any) -> None:
    await world.create("web", {"name": "main", "image": "nginx:1.29"})
    waiting = lambda: world.container("web")["state"].get("waiting", {})  # noqa: E731
    await world.until(lambda: waiting().get("reason") == "ErrImagePull")
    await world.until(lambda: world.events("Failed"))
    message = world.events("Failed")[0]
    assert message.startswith('Failed to pull image "nginx:1.29": ')
    assert "docker.io/istio/examples-helloworld-v1" in message
    world.clock.advance(1)
    await world.until(lambda: waiting().get("reason") == "ImagePullBackOff")
    await world.until(lambda: world.events("BackOff"))
    assert world.events("BackOff") == ['Back-off pulling image "nginx:1.29"']
    assert world.status("web")["phase"] == "Pending"


async def test_an_unknown_image_with_pull_policy_never(world: Any) -> None:
    await world.create("web", {"name": "main", "image": "nginx", "imagePullPolicy": "Never"})
    await world.until(lambda: world.events("ErrImageNeverPull"))
    assert world.container("web")["state"]["waiting"]["reason"] == "ErrImageNeverPull"


async def test_another_image_replaces_the_process(world: Any) -> None:
    await world.create("web", {"name": "main", "image": "nginx", "command": ["sleep", "1000"]})
    await world.until(lambda: world.container("web")["state"].get("waiting", {}).get("reason") == "ErrImagePull")
    pod = world.pod("web")
    fixed = {**pod["spec"]["containers"][0], "image": "busybox"}
    await world.client.patch(kinds.POD, "web", "default", {"spec": {"containers": [fixed]}})
    world.clock.advance(1)
    await world.ready("web")


async def test_another_image_restarts_a_running_container(world: Any) -> None:
    await world.create("web", shell("trap 'exit 0' TERM; echo up; while true; do sleep 0.01; done"))
    pod = await world.ready("web")
    await world.said(pod, b"up")
    fixed = {**pod["spec"]["containers"][0], "image": "debian:12"}
    await world.client.patch(kinds.POD, "web", "default", {"spec": {"containers": [fixed]}})
    await world.until(lambda: world.container("web").get("restartCount") == 1)
    await world.until(lambda: world.container("web")["image"] == "debian:12" and world.container("web")["ready"])
    assert world.events("Killing") == ["Container main definition changed, will be restarted"]


async def test_a_failing_hook_fails_the_sandbox_which_is_made_again(world: Any) -> None:
    world.hook.refuses = 1
    await world.create("web", shell("exec sleep 1000"))
    await world.until(lambda: world.events("FailedCreatePodSandBox"))
    assert world.events("FailedCreatePodSandBox") == ["Failed to create pod sandbox: no node proxy"]
    await world.elapse(1)
    await world.ready("web")
    assert [call.split()[0] for call in world.hook.calls] == ["ready", "removing", "ready"]


async def test_after_a_restart_of_the_node_pods_run_again_and_count_it(world: Any) -> None:
    await world.create("web", shell("exec sleep 1000"))
    await world.create("done", shell("exit 0"), restartPolicy="OnFailure")
    await world.ready("web")
    await world.until(lambda: world.status("done").get("phase") == "Succeeded")
    world.clock.advance(1)
    await world.restart()
    await world.until(
        lambda: world.container("web").get("restartCount") == 1 and world.condition("web", "Ready") == "True"
    )
    lost = world.container("web")["lastState"]["terminated"]
    assert (lost["reason"], lost["exitCode"]) == ("Unknown", 255)
    await world.until(lambda: world.events("SandboxChanged"))
    assert world.events("SandboxChanged") == ["Pod sandbox changed, it will be killed and re-created."]
    assert world.status("done")["phase"] == "Succeeded"
    assert [call for call in world.runtime.calls if call == "start main"] == ["start main"] * 3


async def test_once_started_no_status_tells_of_a_former_life(world: Any) -> None:
    await world.create("web", shell("exec sleep 1000"))
    await world.create("istiod", {"name": "discovery", "image": "docker.io/istio/pilot:1.30.0"})
    await world.ready("web")
    await world.ready("istiod")
    await world.stop()
    world.runtime.failures = [OSError("not yet")] * 1
    world.renew()
    await world.agent.start()
    assert world.condition("web", "Ready") == "False"
    await world.start()
    await world.until(lambda: world.container("istiod").get("restartCount") == 1)
    await world.elapse(1)
    await world.ready("web")


async def test_a_pod_deleted_while_the_node_was_down_is_removed(world: Any) -> None:
    await world.create("web", shell("exec sleep 1000"))
    await world.ready("web")
    await world.stop()
    await world.client.delete(kinds.POD, "web", "default")
    await world.restart()
    await world.until(lambda: world.pod("web") is None)


async def test_a_pod_whose_namespace_is_gone_is_deleted(world: Any) -> None:
    await world.create("orphan", shell("exec sleep 1000"), namespace="gone")
    await world.until(lambda: world.client.get(kinds.POD, "orphan", "gone") is None)
    assert world.runtime.calls == []


async def test_a_component_runs_without_a_process_and_shows_its_log(world: Any) -> None:
    await world.create("istiod", {"name": "discovery", "image": "docker.io/istio/pilot:1.30.0"})
    pod = await world.ready("istiod")
    assert world.runtime.calls == []
    assert pod["status"]["podIP"] == "10.244.0.1"
    await world.client.delete(kinds.POD, "istiod", "default")
    await world.until(lambda: world.pod("istiod") is None)


async def test_pods_start_in_parallel(world: Any) -> None:
    for n in range(10):
        await world.create(f"web-{n}", shell("exec sleep 1000"))
    for n in range(10):
        await world.ready(f"web-{n}")
    assert len({world.status(f"web-{n}")["podIP"] for n in range(10)}) == 10


async def test_a_readiness_gate_keeps_the_pod_from_being_ready(world: Any) -> None:
    await world.create("web", shell("exec sleep 1000"), readinessGates=[{"conditionType": "example.com/gate"}])
    await world.until(lambda: world.condition("web", "ContainersReady") == "True")
    assert world.condition("web", "Ready") == "False"
    gate = {"type": "example.com/gate", "status": "True"}
    conditions = [*world.status("web")["conditions"], gate]
    await world.client.patch(kinds.POD, "web", "default", {"status": {"conditions": conditions}}, subresource="status")
    pod = await world.ready("web")
    assert gate in pod["status"]["conditions"]


async def test_a_deadline_ends_the_pod(world: Any) -> None:
    await world.create("job", shell("exec sleep 1000"), activeDeadlineSeconds=60, restartPolicy="Never")
    await world.ready("job")
    world.clock.advance(60)
    await world.until(lambda: world.status("job").get("reason") == "DeadlineExceeded")
    await world.until(lambda: world.status("job").get("phase") == "Failed")


async def test_a_deadline_counts_from_the_start_of_the_pod(world: Any) -> None:
    await world.create("job", shell("exec sleep 1000"), activeDeadlineSeconds=60, restartPolicy="OnFailure")
    await world.ready("job")
    world.clock.advance(50)
    await world.restart()
    await world.ready("job")
    world.clock.advance(10)
    await world.until(lambda: world.status("job").get("reason") == "DeadlineExceeded")


async def test_an_ephemeral_container_joins_a_running_pod(world: Any) -> None:
    await world.create("web", shell("exec sleep 1000"))
    await world.ready("web")
    debug = shell("exec sleep 1000", "debug")
    await world.client.patch(kinds.POD, "web", "default", {"spec": {"ephemeralContainers": [debug]}})
    await world.until(lambda: world.container("web", 0, "ephemeralContainerStatuses")["state"].get("running"))
