"""What `status` tells of a mesh, from outside its namespaces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ambientlab.api.objects import condition_holds
from ambientlab.host import process
from ambientlab.host.kubectl import Kubectl, KubectlError
from ambientlab.host.lifecycle import saved_port
from ambientlab.host.paths import MeshPaths

_PATIENCE = 5.0  # seconds


def inspect(paths: MeshPaths) -> dict[str, Any]:
    """Counts are None when the mesh does not run or does not answer."""
    found = process.running(paths)
    word = "Running" if found else "Starting" if process.locked(paths) else "Stopped"
    pods = _pods(paths) if found else None
    return {
        "name": paths.name,
        "status": word,
        "pid": found.pid if found else None,
        "server": f"https://127.0.0.1:{saved_port(paths)}" if found else None,
        "context": paths.context,
        "kubeconfig": str(paths.kubeconfig),
        "pods": len(pods) if pods is not None else None,
        "podsReady": sum(condition_holds(pod, "Ready") for pod in pods) if pods is not None else None,
        "memoryMiB": memory(found.pid) >> 20 if found else None,
        "state": str(paths.state),
    }


def _pods(paths: MeshPaths) -> list[dict[str, Any]] | None:
    try:
        return Kubectl(paths.kubeconfig, until=time.monotonic() + _PATIENCE).list("pods")
    except KubectlError:
        return None


def memory(root: int) -> int:
    """Proportional set size in bytes of a process and everything below it (proc(5), smaps_rollup): shared pages of
    the Envoys and the interpreters are counted once."""
    return sum(pss(pid) for pid in tree(root))


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue  # it ended between the listing and the reading
    return found


def pss(pid: int) -> int:
    """Proportional set size of one process in bytes, 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except OSError:
        return 0
    return 0
