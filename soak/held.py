"""What a running mesh has in its hands: processes, namespaces, mounts, devices, descriptors, files, Envoys' listeners.

Read from outside, in /proc and by the Envoys' admin sockets. What is more later than it was before has leaked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ambientlab.dataplane.admin import AdminClient
from ambientlab.dataplane.bootstrap import ADMIN_SOCKET
from ambientlab.host import inspect, process
from ambientlab.host.paths import MeshPaths

PATIENCE = 60.0
"""Seconds until what has been let go of must be gone: Envoy drains listeners, pods have their grace."""
STATS = "^(listener_manager.total_listeners_active|cluster_manager.active_clusters)$"
ROLES = frozenset({"launcher", "host-helper", "node-init", "zygote", "daemon"})
SLACK = {
    "descriptors of an envoy": 24,
    "descriptors of daemon": 6,
    "threads of daemon": 16,
    "MiB of daemon": 48,
    "MiB of envoys": 48,
}
"""What may be more and be no leak: connections that traffic keeps open, threads of pools, what allocators keep."""


def role(pid: int) -> str:
    """What a process is in the mesh, "" when it is gone."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"pause\0"):
            return "pause"
    except OSError:
        return ""
    return "daemon" if name == "ambientlab" else name


def roles(paths: MeshPaths) -> dict[int, str]:
    found = process.running(paths)
    return {pid: role(pid) for pid in inspect.tree(found.pid)} if found else {}


def _count(directory: str) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(directory))
    return 0


def _lines(file: str) -> int:
    with contextlib.suppress(OSError):
        return Path(file).read_bytes().count(b"\n")
    return 0


def _mounts(pid: int | str) -> Counter[str]:
    """By their places (proc(5), mountinfo)."""
    with contextlib.suppress(OSError):
        return Counter(line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return Counter()


def _files(root: Path) -> int:
    return sum(len(directories) + len(files) for _, directories, files in os.walk(root))


def held(paths: MeshPaths) -> dict[str, int]:
    return asyncio.run(_held(paths))


async def _held(paths: MeshPaths) -> dict[str, int]:
    now: Counter[str] = Counter()
    namespaces = set()
    for pid, name in roles(paths).items():
        now["processes"] += 1
        with contextlib.suppress(OSError):
            namespaces |= {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt", "pid", "user")}
        if name in ROLES:
            now[f"descriptors of {name}"] = _count(f"/proc/{pid}/fd")
        if name == "daemon":
            now["devices"] = _lines(f"/proc/{pid}/net/dev")
            now["mounts"] = (_mounts(pid) - _mounts("self")).total()  # it has a copy of the machine's
            now["threads of daemon"] = _count(f"/proc/{pid}/task")
            now["routes"] = _lines(f"/proc/{pid}/net/route")
            now["MiB of daemon"] = inspect.pss(pid) >> 20
        if name == "envoy":
            now["descriptors of an envoy"] = max(now["descriptors of an envoy"], _count(f"/proc/{pid}/fd"))
            now["MiB of envoys"] += inspect.pss(pid) >> 20
            now.update(await _envoy(pid))
    now["namespaces"] = len(namespaces)
    now["files of the run"] = _files(paths.run)
    now["files of the state"] = _files(paths.state / "node")
    return dict(now)


async def _envoy(pid: int) -> dict[str, int]:
    with contextlib.suppress(OSError):
        async with AdminClient(f"/proc/{pid}/root{ADMIN_SOCKET}") as admin:
            return {name.partition(".")[2]: value for name, value in (await admin.stats(STATS)).items()}
    return {}


def leaks(paths: MeshPaths, before: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """What is still more than before when there has been time to let go."""
    deadline = time.monotonic() + PATIENCE
    while True:
        now = held(paths)
        more = {
            name: (before.get(name, 0), number)
            for name, number in now.items()
            if number > before.get(name, 0) + SLACK.get(name, 0)
        }
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(0.2)
