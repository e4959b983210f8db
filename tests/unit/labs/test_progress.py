"""How far a learner has come, between their commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambientlab.labs.progress import FILE, Progress


def test_it_outlives_the_command(tmp_path: Path) -> None:
    Progress.start("traffic", tmp_path).advance()
    found = Progress.load("traffic", tmp_path)
    assert found is not None
    assert (found.step, found.hints) == (1, 0)
    assert Progress.load("another", tmp_path) is None


def test_it_is_no_manifest(tmp_path: Path) -> None:
    """In the directory from which learners apply all there is."""
    Progress.start("traffic", tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.suffix not in (".json", ".yaml", ".yml")


@pytest.mark.parametrize("content", ["", "[]", '{"lab": 1}', '{"lab": "traffic", "step": -1}'])
def test_what_is_none_of_ours_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert Progress.load("traffic", tmp_path) is None
