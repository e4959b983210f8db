"""The command `traffic`, where nothing is sent."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from ambientlab.cli.main import cli
from ambientlab.cli.traffic import Drawing
from ambientlab.host.kubectl import Kubectl
from ambientlab.traffic import sending
from ambientlab.traffic.answers import Answer, Requests, by
from ambientlab.traffic.tally import Tally

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    cluster = ("--kubeconfig", str(tmp_path / "none"), "--expect", "none")
    return lambda *arguments: CliRunner().invoke(cli, ["traffic", "http://hello/", *cluster, *arguments])


def answering(monkeypatch: pytest.MonkeyPatch, answer: Answer, *, interrupted: bool = False) -> list[Requests]:
    """Whatever is sent is answered so; returns what was."""
    sent: list[Requests] = []

    def send(_: Any, requests: Requests, **more: Any) -> Iterator[Answer]:
        sent.append(requests)
        yield answer
        if interrupted:
            raise KeyboardInterrupt

    monkeypatch.setattr(sending, "send", send)
    return sent


def test_an_interruption_is_the_end_of_waiting_as_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answering(monkeypatch, Answer(0, 0.1, 503), interrupted=True)
    done = run("--from", "test/curl", "--until-stable", "--expect-status", "200=100", "--wait", "2s")
    assert (done.exit_code, len(sent)) == (1, 1), done.output
    assert "Interrupted; this is what came until then." in done.stderr
    assert "came 0 of 1" in done.stdout


@pytest.mark.parametrize(
    ("status", "code"), [("0", 0), ("100", 1), ("599", 1), ("99", 2), ("600", 2), ("-1", 2), ("²", 2), ("", 2)]
)
def test_no_answer_is_expected_as_status_0(run: Run, monkeypatch: pytest.MonkeyPatch, status: str, code: int) -> None:
    answering(monkeypatch, Answer(0, 0.1, 0, "connection refused"))
    done = run("--from", "test/curl", "--expect-status", f"{status}=100")
    assert done.exit_code == code, done.output
    assert (code == 2) == ("is no HTTP status" in done.stderr or "is not NAME=PERCENT" in done.stderr)


@pytest.mark.parametrize(("group", "code"), [("200", 0), ("HTTP 200", 0), ("503", 1)])
def test_a_share_by_status_is_that_of_its_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, group: str, code: int
) -> None:
    answering(monkeypatch, Answer(0, 0.1, 200))
    done = run("--from", "test/curl", "--by", "status", "--expect", f"{group}=100")
    assert done.exit_code == code, done.output


def test_a_pod_that_is_about_to_end_is_not_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = {"spec": {"selector": {"matchLabels": {"app": "client"}}}}
    metadata = [{"name": "ending", "deletionTimestamp": "2026-01-01T00:00:00Z"}, {"name": "staying"}]
    pods = [{"metadata": each, "status": {"phase": "Running"}} for each in metadata]
    monkeypatch.setattr(Kubectl, "get", lambda *_: deployment)
    monkeypatch.setattr(Kubectl, "list", lambda *_: pods)
    sent = answering(monkeypatch, Answer(0, 0.1, 200))
    assert run("--from", "test/deploy/client", "-n", "1").exit_code == 0
    assert [requests.source for requests in sent] == ["test/staying"]


@pytest.mark.parametrize("output", ["json", "text"])
def test_no_terminal_obeys_what_answers_say(run: Run, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    answering(monkeypatch, Answer(0, 0.1, 200, body="version: v\x1b[2J\x9b2J"))
    done = run("--from", "test/curl", "-o", output)
    assert (done.exit_code, "[2J" in done.stdout, {"\x1b", "\x9b"} & {*done.stdout}) == (0, True, set())


def test_a_picture_is_xml_whatever_answers_say(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, Answer(0, 0.1, 200, body="version: v\x1b<&\x00"))
    texts = [each.text for each in ElementTree.fromstring(run("--from", "test/curl", "-o", "svg").stdout).iter()]
    assert "v\N{REPLACEMENT CHARACTER}<&\N{REPLACEMENT CHARACTER}" in texts


@pytest.mark.parametrize(("columns", "rows", "shown"), [(30, 24, 4), (30, 3, 2), (80, 24, 4), (0, 0, 4)])
def test_a_picture_fits_into_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, rows: int, shown: int) -> None:
    """What a terminal breaks or scrolls away could not be replaced by the next picture."""
    tally = Tally(by("status"))
    for status in (200, 404, 503):
        tally.add(Answer(0, 0.01, status))
    drawing = Drawing()
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with os.fdopen(slave, "w") as screen, os.fdopen(master, "rb") as seen:
        monkeypatch.setattr("sys.stderr", screen)
        drawing.update(Requests("test/curl", "http://hello/"), tally)
        *lines, _ = os.read(seen.fileno(), 10_000).decode().split("\r\n")
        drawing.clear()
        assert os.read(seen.fileno(), 100) == f"\x1b[{shown}F\x1b[J".encode()
    assert len(lines) == shown
    assert max(map(len, lines)) < (columns or 80)
    assert lines[-1] == "3 of 200 answered"
