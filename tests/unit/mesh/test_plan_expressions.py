"""Texts that expressions match."""

from __future__ import annotations

import pytest

from ambientlab import re2
from ambientlab.mesh.plan.expressions import texts

READ = [
    "a",
    "a|b|cd",
    "/api/v[12](/.*)?",
    "(?i)chrome.*",
    r"\d{3}-\w+\.json",
    "[^/]+/x",
    "(?P<user>[a-z]+)@example[.]com",
    "x{2,}y?",
    "^/start$",
    "[[:digit:]]+",
    "(?:a(b|c))*d",
    "[]-]",
    "[[:a]+",
    "",
]
NOT_READ = ["[", "(", "a{", "a{²}", f"a{{{'9' * 5000}}}", "\\", "[a", "(?", "*", "[[:"]
NOT_READ += ["(" * 400 + "a" + ")" * 400, "((((a{99}){99}){99}){99}){99}"]


@pytest.mark.parametrize("expression", READ)
def test_what_is_read_off_an_expression_matches_it(expression: str) -> None:
    found = texts(expression)
    assert found
    assert all(re2.fullmatch(expression, text) for text in found)


def test_ways_through_an_expression_are_told_apart() -> None:
    assert texts("a|b|cd") == ["a", "b", "cd"]
    assert texts("ab?") == ["a", "ab"]


@pytest.mark.parametrize("expression", NOT_READ)
def test_what_is_no_expression_ends(expression: str) -> None:
    assert isinstance(texts(expression), list)
