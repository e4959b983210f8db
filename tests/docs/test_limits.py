"""docs/limits.md names the tests that show each limit."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_limit_is_shown_by_tests_that_are_there() -> None:
    _, *limits = (ROOT / "docs/limits.md").read_text().split("\n## ")
    for limit in limits:
        named = re.findall(r"`(tests/\S+\.py)::(\w+)`", limit)
        assert named, limit
        for file, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), test
