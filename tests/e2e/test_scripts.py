"""README's first command on a clean clone: as whoever runs the tests, and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ambientlab import labs
from ambientlab.host.isolated import variables

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """Where any user may look: pytest's own temporary directories are closed to others."""
    made = Path(tempfile.mkdtemp(prefix="ambientlab-clone-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def ordinary_user() -> int:
    """Who runs the tests, or somebody without rights if that is root."""
    return NOBODY if os.geteuid() == 0 else os.geteuid()


def verified(output: str) -> None:
    steps = len(labs.load("traffic-management").steps)
    assert f"{steps} of {steps} steps verified" in output, output[-6000:]
    assert "FAIL" not in output


def test_the_lab_on_a_clean_clone_as_an_ordinary_user(place: Path) -> None:
    clone = place / "ambientlab"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    user = ordinary_user()
    home = place / "home"
    home.mkdir()
    if user != os.geteuid():
        for path in (home, clone, *clone.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)
    inherited = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "LANG", "LC_"))}
    # The system's own interpreter: one below root's home is closed to everybody else.
    env = {**inherited, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": "/usr/bin/python3"}
    identity: dict[str, Any] = {} if user == os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run(
        ["scripts/lab"], cwd=clone, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        **identity,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    verified(done.stdout)
    assert not list(home.glob(".local/state/*")), "an isolated run leaves no state behind"


def test_the_lab_here(place: Path) -> None:
    (place / "run").mkdir(mode=0o700)
    env = {**os.environ, **variables(place), "NO_COLOR": "1"}
    done = subprocess.run(
        ["scripts/lab", "traffic-management"], cwd=ROOT, env=env, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    verified(done.stdout)


def test_a_lab_that_does_not_exist_is_named() -> None:
    done = subprocess.run(["scripts/lab", "nothing"], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "no lab 'nothing'; there are: traffic-management" in done.stderr
