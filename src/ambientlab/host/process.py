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
import time
from dataclasses import dataclass
from pathlib import Path

from ambientlab.host.paths import MeshPaths

_BETWEEN_LOOKS = 0.002  # seconds


@dataclass(frozen=True, slots=True)
class Running:
    """The launcher of a running mesh. `started` is its start time in clock ticks since boot (proc(5), field 22)."""

    pid: int
    started: int
    port: int


def acquire(paths: MeshPaths, patience: float = 0.0) -> int | None:
    """The lock's descriptor, or None where a mesh of this name runs, or nothing is left of its state, for as long as
    `patience` seconds."""
    deadline = time.monotonic() + patience
    while (descriptor := _acquired(paths)) is None and time.monotonic() < deadline:
        time.sleep(_BETWEEN_LOOKS)
    return descriptor


def _acquired(paths: MeshPaths) -> int | None:
    """The file may have been deleted, and made anew, since it was opened: then others hold another lock."""
    ours = False
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(descriptor), os.stat(paths.lock))
    except (BlockingIOError, FileNotFoundError):
        return None
    finally:
        if not ours:
            os.close(descriptor)
    return descriptor if ours else None


def locked(paths: MeshPaths) -> bool:
    """Whether any process of the mesh lives."""
    if not os.path.exists(paths.lock):
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


def stop(process: Running, patience: float) -> None:
    """SIGTERM to the launcher, then after `patience` seconds SIGKILL. The kernel ends its tree a moment after it."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if _started(process.pid) != process.started:
            return
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not _gone(handle, patience):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            _gone(handle, patience)
    finally:
        os.close(handle)


def _gone(handle: int, patience: float) -> bool:
    readable, _, _ = select.select([handle], [], [], patience)
    return bool(readable)


def _started(pid: int) -> int:
    """0 for a process that is gone, or whose parent alone has not noticed."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    state, *fields = stat.rpartition(b")")[2].split()
    return 0 if state in (b"Z", b"X") else int(fields[18])
