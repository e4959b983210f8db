"""What `down` says of a mesh that is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambientlab.host import kubeconfig, lifecycle
from ambientlab.host.kubeconfig import Credentials
from ambientlab.host.paths import mesh_paths


def test_a_context_that_stays_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    paths, config = mesh_paths("x"), tmp_path / "config"
    kubeconfig.merge(config, paths.context, Credentials("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY"))
    (tmp_path / f".config.{os.getpid()}").mkdir()  # where it would be written
    with pytest.raises(lifecycle.LifecycleError, match="mesh 'x' is stopped, with its context left behind: cannot wr"):
        lifecycle.down(paths, purge=False, kubeconfig_path=config)
