"""What tests of several commands stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.object_server import Answer, ObjectServer


@pytest.fixture
def server(served: dict[str, Answer], judged: dict[str, Answer]) -> Iterator[ObjectServer]:
    """A cluster's API; a module says what is `served`, and how writes are `judged`."""
    made = ObjectServer(served, judged=judged)
    yield made
    made.close()
