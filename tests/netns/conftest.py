"""Scenarios run in a subprocess that becomes a node, as this user and, when this is root, as an ordinary one too."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORLD = Path(__file__).with_name("nodeworld.py")


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.netns)


@pytest.fixture(params=["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"])
def user(request) -> str:
    return request.param


@pytest.fixture
def world_command(user):
    """The command line that runs a scenario function in a node."""

    def command(scenario, *arguments: str) -> list[str]:
        return [sys.executable, str(WORLD), inspect.getfile(scenario), scenario.__name__, user, *arguments]

    return command


@pytest.fixture
def in_node(world_command):
    """Run a scenario, a coroutine function of a World, to its end; its failure is the test's."""

    def run(scenario, *arguments: str) -> None:
        done = subprocess.run(
            world_command(scenario, *arguments), capture_output=True, text=True, timeout=110, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)

    return run
