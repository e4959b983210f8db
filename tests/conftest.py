"""What holds for every test: the folder it is in says what it needs."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
MARKED = ("netns", "e2e")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a shell's background jobs, and all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> Generator[None]:
    for item in items:
        kind = item.path.relative_to(FOLDER).parts[0]
        if kind in MARKED:
            item.add_marker(kind)
    yield  # to whom -k and -m are for
    items[:] = with_steps_before(session, items)


def with_steps_before(session: pytest.Session, items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests of a module that is marked `walk` are steps of one way: with a step go all that lead up to it."""
    found: dict[str, pytest.Item] = {}
    for item in items:
        if item.get_closest_marker("walk") and item.nodeid not in found:
            module = item.getparent(pytest.Module)
            assert module is not None
            for step in session.genitems(module):
                if step.nodeid == item.nodeid:
                    break
                found.setdefault(step.nodeid, step)
        found.setdefault(item.nodeid, item)
    return list(found.values())
