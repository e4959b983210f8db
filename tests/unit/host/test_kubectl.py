"""What kubectl is asked, and how what it serves is kept served."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambientlab.host import tools
from ambientlab.host.kubectl import Kubectl


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
