"""Which containers' logs a bug report takes, and what of them."""

from __future__ import annotations

from typing import Any

import click
import pytest

from ambientlab.cli.istio.bug_report import Times, _moment, selection

POD: dict[str, Any] = {
    "metadata": {
        "namespace": "hello",
        "name": "waypoint-5b8-x7k",
        "labels": {"app": "w"},
        "annotations": {"note": "abc"},
        "ownerReferences": [{"name": "waypoint-5b8"}],
    }
}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", True),
        ("hello", True),
        ("h*,other", True),
        ("other", False),
        ("hello/waypoint", True),
        ("hello/other", False),
        ("//way*", True),
        ("//other", False),
        ("///app=w", True),
        ("///app=v", False),
        ("///tier=*", False),
        ("////note=a*", True),
        ("/////istio-proxy", True),
        ("/////discovery", False),
    ],
)
def test_selections(text: str, chosen: bool) -> None:
    assert selection(text).chooses(POD, "istio-proxy") is chosen


@pytest.mark.parametrize(("text", "words"), [("a/b/c/d", "d is not key=value"), ("a/b/c/d=e/f=g/h/i", "more than six")])
def test_bad_selections(text: str, words: str) -> None:
    with pytest.raises(click.ClickException, match=words):
        selection(text)


def test_entries_after_the_end_are_left_out() -> None:
    end = _moment("end-time", "2026-11-25T12:00:00Z")
    times = Times(60.0, None, end, 7)
    assert times.flags == ["--since=60s", "--tail=7", "--timestamps"]
    text = "2026-11-25T11:59:59.123456789Z in time\n2026-11-25T12:00:00.5Z too late\n"
    assert times.admitted(text) == "in time"


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(click.ClickException, match="bad format for end-time: 12:00, expect RFC3339"):
        _moment("end-time", "12:00")
