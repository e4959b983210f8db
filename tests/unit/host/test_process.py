"""Is a mesh running: the kernel's lock answers, not a file."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ambientlab.host import process
from ambientlab.host.paths import MeshPaths, mesh_paths

HOLDER = """
import os, signal, sys
from ambientlab.host import process
from ambientlab.host.paths import mesh_paths
paths = mesh_paths("demo")
lock = process.acquire(paths)
os.set_inheritable(lock, True)
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "stubborn" else lambda *_: sys.exit(0))
process.record(paths, process.identify(os.getpid(), 1234), ready=sys.argv[1] != "starting")
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeshPaths:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found = mesh_paths("demo")
    found.create()
    return found


def hold(kind: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, kind], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_nothing_runs(paths: MeshPaths) -> None:
    assert process.running(paths) is None
    assert not process.locked(paths)


@pytest.mark.parametrize(("kind", "patience"), [("polite", 10.0), ("stubborn", 0.2)])
def test_a_running_mesh_is_seen_and_stopped(paths: MeshPaths, kind: str, patience: float) -> None:
    with hold(kind) as child:
        found = process.running(paths)
        assert found is not None
        assert (found.pid, found.port) == (child.pid, 1234)
        assert process.locked(paths)
        assert process.acquire(paths) is None
        process.stop(found, patience)
        lock = process.acquire(paths, 10)
        assert lock is not None
        os.close(lock)
        assert child.wait() == (0 if kind == "polite" else -signal.SIGKILL)
    assert process.running(paths) is None
    assert not process.locked(paths)


def test_a_reused_pid_is_not_taken_for_the_mesh(paths: MeshPaths) -> None:
    paths.process.write_text(json.dumps({"pid": os.getpid(), "started": 1, "port": 1}))
    assert process.running(paths) is None


def test_a_mesh_that_starts_is_not_used_but_can_be_stopped(paths: MeshPaths) -> None:
    with hold("starting"):
        assert process.running(paths) is None
        found = process.running(paths, ready=False)
        assert found is not None
        process.stop(found, 10)
        assert process.running(paths, ready=False) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x"}', "\x00"])
def test_a_damaged_record_is_nobody(paths: MeshPaths, content: str) -> None:
    paths.process.write_text(content)
    assert process.running(paths) is None


def test_a_mesh_that_only_its_parent_has_not_noticed_ending_does_not_run(paths: MeshPaths) -> None:
    """As where a container's first process reaps nobody."""
    with hold("polite") as child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.running(paths) is None


def test_the_lock_of_a_mesh_that_is_gone_is_nobodys(paths: MeshPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is deleted between being opened and being locked."""
    lock = fcntl.flock

    def purged(descriptor: int, operation: int) -> None:
        paths.lock.unlink()
        lock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", purged)
        assert process.acquire(paths) is None
    taken = process.acquire(paths)
    assert taken is not None
    os.close(taken)
