"""A session, by its other end."""

from __future__ import annotations

import pytest

from support.peer import Peer


@pytest.fixture
def peer() -> Peer:
    return Peer()
