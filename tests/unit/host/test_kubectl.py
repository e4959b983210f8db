"""What kubectl is asked, and how what it serves is kept served."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ambientlab.host import inspect, tools
from ambientlab.host.kubectl import Kubectl, KubectlError
from ambientlab.host.paths import mesh_paths


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in kubectl's place: what tests write there."""
    path = tmp_path / "kubectl"
    path.touch(0o755)
    monkeypatch.setattr(tools, "kubectl", lambda: path)
    return path


def test_a_name_is_no_flag(script: Path) -> None:
    script.write_text('#!/bin/sh\nshift "$(($# - 2))"\nprintf \'{"%s": "%s"}\' "$@"\n')
    assert Kubectl().get("namespace", "--help") == {"--": "--help"}


def test_what_serves_is_heard_to_its_end(script: Path) -> None:
    """kubectl has a line for each connection, and more than a pipe holds would keep it from serving any."""
    script.write_text("#!/bin/sh\necho Forwarding from 127.0.0.1:1234 '->' 80\nyes | head -c 200000\n")
    with Kubectl().tunnel("p", "n", 80) as served:
        assert (served.port, served.process.wait(timeout=20)) == (1234, 0)


def test_what_does_not_end_is_ended(script: Path) -> None:
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    kubectl = Kubectl(until=time.monotonic() + 0.2)
    with pytest.raises(KubectlError, match="kubectl get did not end in time"):
        kubectl.list("pods")
    with pytest.raises(KubectlError, match="kubectl ended"), kubectl.forward("p", "n", 80):
        pass


def test_what_serves_ends_in_time(script: Path) -> None:
    script.write_text("#!/bin/sh\necho Forwarding from 127.0.0.1:1234 '->' 80\nexec sleep 60\n")
    with Kubectl(until=time.monotonic() + 0.2).tunnel("p", "n", 80) as served:
        assert served.process.wait(timeout=20) < 0


def test_a_mesh_that_does_not_answer_has_a_status(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(inspect, "_PATIENCE", 0.1)
    assert inspect._pods(mesh_paths("x")) is None
