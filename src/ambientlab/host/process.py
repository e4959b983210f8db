"""One mesh process tree: who runs, is it still the same process, and how it is stopped.

The launcher holds `flock` on the lock file for as long as any process of its tree lives (the descriptor is inherited),
so "is it running" is a question to the kernel and never to a stale file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from ambientlab.host.paths import MeshPaths


@dataclass(frozen=True, slots=True)
class Running:
    """The launcher of a running mesh. `started` is its start time in clock ticks since boot (proc(5), field 22)."""

    pid: int
    started: int
    port: int


def acquire(paths: MeshPaths) -> int | None:
    """The lock's descriptor, or None when a mesh of this name runs."""
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def locked(paths: MeshPaths) -> bool:
    """Whether any process of the mesh lives."""
    if not paths.lock.exists():
        return False
    descriptor = acquire(paths)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def identify(pid: int, port: int) -> Running:
    """The record of a live process of this pid namespace."""
    return Running(pid, _started(pid), port)


def record(paths: MeshPaths, launcher: Running, *, ready: bool) -> None:
    """Say who runs: at first the launcher itself, so that a start that hangs can be stopped, and when the mesh is Ready
    the daemon, which cannot see its launcher's pid."""
    draft = paths.process.with_suffix(".new")
    draft.write_text(
        json.dumps({"pid": launcher.pid, "started": launcher.started, "port": launcher.port, "ready": ready})
    )
    draft.replace(paths.process)


def running(paths: MeshPaths, *, ready: bool = True) -> Running | None:
    """The launcher, if it lives and its mesh has been Ready, or also before that where `ready` does not matter; None
    until it has recorded itself."""
    try:
        data = json.loads(paths.process.read_text())
        found = Running(int(data["pid"]), int(data["started"]), int(data["port"]))
        if ready and not data["ready"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _started(found.pid) == found.started else None


def stop(process: Running, paths: MeshPaths, patience: float) -> bool:
    """SIGTERM, then after `patience` seconds SIGKILL. True when the whole tree has gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return _released(paths, patience)
    try:
        if _started(process.pid) != process.started:
            return _released(paths, patience)
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not _gone(handle, patience):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            _gone(handle, patience)
    finally:
        os.close(handle)
    return _released(paths, patience)


def _gone(handle: int, patience: float) -> bool:
    readable, _, _ = select.select([handle], [], [], patience)
    return bool(readable)


def _released(paths: MeshPaths, patience: float) -> bool:
    """Wait for the lock to be free: the kernel ends the tree's pid namespace a moment after its launcher."""
    if not paths.lock.exists():
        return True
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
    previous = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except TimeoutError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        os.close(descriptor)
    return True


def _interrupt(_signum: int, _frame: object) -> None:
    raise TimeoutError


def _started(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])
