"""How tests are picked: `walk` of tests/conftest.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]
WALK = "tests/e2e/test_waypoints.py"
FIRST, SECOND, THIRD = (
    f"{WALK}::test_a_waypoint_that_nobody_asked_for_changes_nothing",
    f"{WALK}::test_the_label_brings_traffic_to_it",
    f"{WALK}::test_what_istioctl_says_of_it",
)
ALONE = "tests/unit/test_collection.py::test_a_step_brings_those_before_it"


@pytest.mark.parametrize(
    ("picked", "run"),
    [
        ([THIRD], [FIRST, SECOND, THIRD]),
        ([ALONE.partition("::")[0], WALK, "-k", "brings"], [FIRST, SECOND]),
    ],
    ids=["by name", "by word"],
)
def test_a_step_brings_those_before_it(picked: list[str], run: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *picked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER.parent)
    assert [line for line in done.stdout.splitlines() if line.startswith(WALK)] == run
    assert done.returncode == 0
