"""A mesh of its own in a temporary directory, for runs that leave nothing behind: `scripts/lab`, tests, benches."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ambientlab.host import ending, lifecycle
from ambientlab.host.paths import DEFAULT_NAME, known_meshes, mesh_paths

_LONGEST = 48
"""Bytes of a place for temporary files where the path of a mesh's socket is none too long for one."""


def variables(root: Path) -> dict[str, str]:
    """Everything ambientlab and kubectl would write, below `root`."""
    return {
        "XDG_STATE_HOME": str(root / "state"),
        "XDG_RUNTIME_DIR": str(root / "run"),
        "XDG_CACHE_HOME": str(root / "cache"),
        "KUBECACHEDIR": str(root / "cache" / "kube"),
        "KUBECONFIG": str(root / "kubeconfig"),
        "AMBIENTLAB_NAME": DEFAULT_NAME,
    }


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A private temporary directory that this process's environment points into; its meshes are stopped at the end."""
    usual = tempfile.gettempdir()
    root = Path(tempfile.mkdtemp(prefix="ambientlab-", dir=usual if len(os.fsencode(usual)) <= _LONGEST else "/tmp"))
    (root / "run").mkdir(mode=0o700)
    with _environment(variables(root)), ending.in_order():
        try:
            yield root
        finally:
            with contextlib.ExitStack() as undoing:  # each whatever becomes of the others
                undoing.callback(shutil.rmtree, root, ignore_errors=True)
                for name in known_meshes():
                    undoing.callback(lifecycle.down, mesh_paths(name), purge=True, kubeconfig_path=None)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
