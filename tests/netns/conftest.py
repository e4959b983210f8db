"""Scenarios run in a subprocess that becomes a node, as this user and, when this is root, as an ordinary one too."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORLD = Path(__file__).parents[1] / "support" / "node_world.py"


@pytest.fixture(params=["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"])
def user(request):
    return request.param


@pytest.fixture
def node_command(user):
    """The command line and environment that run a scenario function in a node."""

    def command(scenario, *descriptors):
        environment = os.environ | {"PYTHONPATH": str(WORLD.parents[1])}
        argv = [sys.executable, "-P", str(WORLD), inspect.getfile(scenario), scenario.__name__, user]
        return {"args": [*argv, *map(str, descriptors)], "env": environment, "text": True}

    return command


@pytest.fixture
def run_scenario(node_command):
    """Run a scenario, a coroutine function of a World, to its end; its failure is the test's."""

    def run(scenario):
        done = subprocess.run(**node_command(scenario), capture_output=True, timeout=100, check=False)
        if done.returncode != 0:
            pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)

    return run
