"""Starting, stopping and being killed: what a person sees, and what is there afterwards."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ambientlab.host import inspect
from support.mesh import Mesh
from support.node_world import name_of
from support.waiting import eventually


def launcher(mesh: Mesh) -> int:
    pid = json.loads((mesh.root / "state/ambientlab/ambientlab/process.json").read_text())["pid"]
    assert isinstance(pid, int)
    return pid


def gone(pids: list[int]) -> None:
    """Wait for the kernel to say that each has ended."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        readable, _, _ = select.select([handle], [], [], 20)
        os.close(handle)
        assert readable, f"process {pid} is still there"


def test_up_twice_and_the_state_survives_down(home: Mesh) -> None:
    first = home.ambientlab("up")
    assert first.code == 0, first.text
    assert first.out == "", "talk goes to stderr"
    assert 'Set kubectl context to "ambientlab-ambientlab"' in first.err
    second = home.ambientlab("up")
    assert second.code == 0
    assert "runs already" in second.err
    assert "Starting" not in second.err
    unwritable = home.ambientlab("up", "--kubeconfig", "/proc/none/config")
    assert unwritable.code == 1
    assert "mesh 'ambientlab' runs, without its context in your kubeconfig: cannot write /proc/none" in unwritable.err
    assert f"export KUBECONFIG={home.root}/state/ambientlab/ambientlab/kubeconfig\n" in unwritable.err
    uid = home.json("create", "configmap", "kept", "--from-literal=a=b")["metadata"]["uid"]
    status = json.loads(home.ambientlab("status", "-o", "json").out)
    assert status[0]["status"] == "Running"
    assert status[0]["podsReady"] == status[0]["pods"] >= 3
    logs = [home.ambientlab("logs", component, "--tail", "1") for component in ("daemon", "istiod", "istio-cni")]
    assert [len(log.out.splitlines()) for log in logs] == [1, 1, 1], logs
    pids = inspect.tree(launcher(home))
    assert home.ambientlab("down").code == 0
    gone(pids)
    assert "ambientlab" not in (home.root / "kubeconfig").read_text().replace("current-context: ''", "")
    assert home.ambientlab("up", "-q").text == ""
    assert home.json("get", "configmap", "kept")["metadata"]["uid"] == uid


@pytest.mark.parametrize("victim", ["launcher", "node-init", "daemon", "zygote", "ztunnel", "pause"])
def test_kill_9_leaves_nothing_behind_and_loses_nothing(home: Mesh, victim: str) -> None:
    assert home.ambientlab("up").code == 0
    home.kubectl("create", "configmap", "acknowledged")
    root = launcher(home)
    pids = inspect.tree(root)
    target = find(pids, victim)
    os.kill(target, signal.SIGKILL)
    if victim in ("ztunnel", "pause"):
        gone([target])
        restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
        home.kubectl("wait", "-n", "istio-system", restarted, "pod", "-l", "app=ztunnel", "--timeout=30s")
        home.kubectl("wait", "-n", "istio-system", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
        assert launcher(home) == root, "a pod's death is the kubelet's business, not the mesh's"
        return
    gone(pids)
    done = home.ambientlab("up")
    assert done.code == 0, done.text
    home.kubectl("get", "configmap", "acknowledged")


def find(pids: list[int], victim: str) -> int:
    if victim == "ztunnel":
        return next(pid for pid in pids if name_of(pid) == "envoy")
    if victim == "daemon":
        init = next(pid for pid in pids if name_of(pid) == "node-init")
        children = [int(pid) for pid in Path(f"/proc/{init}/task/{init}/children").read_text().split()]
        return next(pid for pid in children if name_of(pid) != "zygote")
    return next(pid for pid in pids if name_of(pid) == victim)


def test_up_is_not_content_with_what_is_left_of_a_mesh(home: Mesh) -> None:
    assert home.ambientlab("up", "-q").code == 0
    root = launcher(home)
    pids = inspect.tree(root)
    os.kill(root, signal.SIGSTOP)  # it cannot see what happens
    os.kill(find(pids, "daemon"), signal.SIGKILL)
    gone(pids[1:])
    command = [sys.executable, "-P", "-m", "ambientlab.cli.main", "up", "-q"]
    with subprocess.Popen(command, env=home.env, stderr=subprocess.PIPE, text=True) as up:
        with pytest.raises(subprocess.TimeoutExpired):
            up.wait(2)
        os.kill(root, signal.SIGCONT)
        assert up.wait(60) == 0, up.communicate()[1]
    assert launcher(home) != root
    assert home.kubectl("get", "ns", "default", "-o", "name") == "namespace/default\n"


@pytest.mark.parametrize("killed", [True, False])
def test_a_mesh_that_starts_can_be_stopped(home: Mesh, killed: bool) -> None:
    """Also one whose `up` is gone, with a terminal that was closed."""
    command = [sys.executable, "-P", "-m", "ambientlab.cli.main", "up"]
    with subprocess.Popen(command, env=home.env, stderr=subprocess.PIPE, text=True) as up:
        eventually((home.root / "state/ambientlab/ambientlab/process.json").exists, "the launcher's record")
        pids = inspect.tree(launcher(home))
        if killed:
            up.kill()
        done = home.ambientlab("down")
        assert (done.code, done.err) == (0, "Mesh 'ambientlab' stopped.\n")
        gone(pids)
        assert up.stderr is not None
        said = up.stderr.read()
    assert killed or up.returncode == 0 or "Error: the mesh ended before it was ready" in said, said


def test_a_taken_port_is_named(home: Mesh) -> None:
    assert home.ambientlab("up").code == 0
    assert home.ambientlab("down").code == 0
    port = json.loads((home.root / "state/ambientlab/ambientlab/mesh.json").read_text())["port"]
    with socket.create_server(("127.0.0.1", port)):
        done = home.ambientlab("up")
    assert done.code == 1
    assert f"port {port} on 127.0.0.1" in done.err
    assert "ss -ltnp" in done.err
    assert "Traceback" not in done.err


def test_a_home_that_cannot_be_written_is_named(home: Mesh) -> None:
    blocked = home.root / "blocked"
    blocked.write_text("")
    made = Mesh(home.root, {**home.env, "XDG_STATE_HOME": str(blocked)})
    done = made.ambientlab("up")
    assert done.code == 1
    assert str(blocked) in done.err
    assert "XDG_STATE_HOME" in done.err
    assert "Traceback" not in done.err


def test_a_broken_kubeconfig_is_named_and_kept(home: Mesh) -> None:
    (home.root / "kubeconfig").write_text("users: [")
    done = home.ambientlab("up")
    assert done.code == 1
    assert "is not YAML" in done.err
    assert (home.root / "kubeconfig").read_text() == "users: ["
    assert home.ambientlab("status", "--name", "ambientlab").code == 1, "nothing was started"
    (home.root / "kubeconfig").unlink()


def test_commands_say_what_to_do_without_a_mesh(home: Mesh) -> None:
    for words in (["kubectl", "get", "pods"], ["istioctl", "version"], ["shell"]):
        done = home.ambientlab(*words)
        assert done.code == 1
        assert "is not running" in done.err
        assert "ambientlab up" in done.err
    assert home.ambientlab("down").code == 0
    assert home.ambientlab("status", "--name", "nobody").code == 1
    assert home.ambientlab("up", "--name", "../x").code == 2


def test_doctor_finds_this_machine_able(home: Mesh) -> None:
    done = home.ambientlab("doctor")
    assert done.code == 0, done.text
    for word in ("namespaces", "kubectl", "envoy", "state directory"):
        assert f"✓ {word}" in done.out


def ambientlab_on_another_machine(home: Mesh, change: str, *arguments: str) -> str:
    """What the failing command says in a user namespace where `change` has been made."""
    script = (
        "import os, sys; from ambientlab.node.linux import syscalls\n"
        f"syscalls.enter_user_namespace(syscalls.NEWNS)\n{change}\n"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'ambientlab.cli.main', *sys.argv[1:]])"
    )
    command = [sys.executable, "-P", "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=home.env, check=False, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("command", ["up", "doctor"])
def test_without_user_namespaces_the_setting_and_its_fix_are_named(home: Mesh, command: str) -> None:
    change = "open('/proc/sys/user/max_user_namespaces', 'w').write('0')"
    assert "sysctl -w user.max_user_namespaces" in ambientlab_on_another_machine(home, change, command)


def test_a_read_only_home_is_named(home: Mesh) -> None:
    state = home.root / "state"
    state.mkdir()
    change = f"syscalls.mount('tmpfs', {str(state)!r}, 'tmpfs', syscalls.MS_RDONLY)"
    said = ambientlab_on_another_machine(home, change, "up")
    assert "Read-only file system" in said
    assert "XDG_STATE_HOME" in said


def test_a_full_disk_is_named(home: Mesh) -> None:
    state = home.root / "state"
    state.mkdir()
    change = f"syscalls.mount('tmpfs', {str(state)!r}, 'tmpfs', 0, 'size=256k')"
    said = ambientlab_on_another_machine(home, change, "up")
    assert "is full: free some space" in said


def test_several_ups_at_once_are_one_mesh(home: Mesh) -> None:
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: home.ambientlab("up", "-q"), range(4)))
    assert [done.code for done in results] == [0] * 4, [done.text for done in results]
    assert len(json.loads(home.ambientlab("status", "-o", "json").out)) == 1


def test_a_start_over_garbage_names_it_or_makes_it_anew(home: Mesh) -> None:
    assert home.ambientlab("up", "-q").code == 0
    assert home.ambientlab("down").code == 0
    state = home.root / "state/ambientlab/ambientlab"
    for name in ("mesh.json", "process.json"):
        (state / name).write_bytes(b"\xff{")
    (home.root / "run/ambientlab/ambientlab/xds").mkdir(parents=True)
    (home.root / "run/ambientlab/ambientlab/xds/xds.sock").write_text("not a socket")
    done = home.ambientlab("up", "-q")
    assert "Traceback" not in done.text
    assert "exists and is not a socket" in done.err
    assert home.ambientlab("down").code == 0
    assert home.ambientlab("up", "-q").text == ""
    assert home.ambientlab("down").code == 0
    (state / "state.db").write_bytes(b"garbage" * 1000)
    done = home.ambientlab("up", "-q")
    assert done.code == 1
    assert "Traceback" not in done.text
    assert "state.db" in done.err
