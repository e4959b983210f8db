"""What holds for every test: the folder it is in says what it needs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
MARKED = ("netns", "e2e")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a shell's background jobs, and all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(FOLDER).parts[0]
        if kind in MARKED:
            item.add_marker(kind)
