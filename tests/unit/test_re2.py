"""RE2 expressions: linear in time, refused in Go's words."""

from __future__ import annotations

import pytest

from ambientlab import re2


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("((", "missing closing ): `((`"),
        ("[a", "missing closing ]: `[a`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
    ],
)
def test_what_is_no_expression_is_told_as_go_tells_it(expression: str, reason: str) -> None:
    with pytest.raises(re2.ExpressionError) as refused:
        re2.check(expression)
    assert str(refused.value) == f"error parsing regexp: {reason}"


@pytest.mark.parametrize(
    ("expression", "value", "matches"),
    [
        (r"^\pL+$", "é", True),
        ("a$", "a\n", False),
        ("b", "abc", True),
        ("[[:digit:]]", "x", False),
        ("^(a+)+$", "a" * 100_000 + "!", False),
    ],
)
def test_expressions_mean_what_they_mean_to_re2(expression: str, value: str, matches: bool) -> None:
    assert re2.search(expression, value) is matches


@pytest.mark.parametrize(
    ("expression", "value", "matches"),
    [("a|ab", "ab", True), ("a", "ab", False), ("(?i)AB", "ab", True), ("a.c", "a\nc", False), ("", "", True)],
)
def test_a_whole_match_leaves_nothing_over(expression: str, value: str, matches: bool) -> None:
    assert re2.fullmatch(expression, value) is matches


@pytest.mark.parametrize(
    ("expression", "replacement", "value", "result"),
    [
        ("b+", "x", "abbab", "axax"),
        ("/old/(.*)", r"/\1/new", "/old/a", "/a/new"),
        ("(a)|(b)", r"[\1\2\0]", "ab", "[aa][bb]"),
        ("a", r"\\1", "a", r"\1"),
        ("(a+)+$", "x", "a" * 40 + "!", "a" * 40 + "!"),
    ],
)
def test_every_match_is_replaced(expression: str, replacement: str, value: str, result: str) -> None:
    assert re2.replace_all(expression, replacement, value) == result
