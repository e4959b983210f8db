"""A mesh of its own in a temporary directory, for runs that leave nothing behind: `scripts/lab`, tests, benches."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ambientlab.host import lifecycle
from ambientlab.host.paths import DEFAULT_NAME, known_meshes, mesh_paths

_VARIABLES = ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "KUBECONFIG", "KUBECACHEDIR", "AMBIENTLAB_NAME")


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
    """A private temporary directory that this process's environment points into; its mesh is stopped at the end."""
    root = Path(tempfile.mkdtemp(prefix="ambientlab-"))
    (root / "run").mkdir(mode=0o700)
    with _environment(variables(root)):
        try:
            yield root
        finally:
            for name in known_meshes():
                lifecycle.down(mesh_paths(name), purge=True, kubeconfig_path=None)
            shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
