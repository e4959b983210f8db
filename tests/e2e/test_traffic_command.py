"""`ambientlab traffic` on a mesh: what it counts, how it judges, what it says of mistakes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from typing import Any

import pytest

from support.mesh import Mesh, Result

HELLO = "helloworld.hello:5000/hello"
SURE = ("--significance", "0.000001")


def traffic(mesh: Mesh, *arguments: str, source: str = "test/curl") -> Result:
    return mesh.ambientlab("traffic", "--from", source, *arguments, timeout=120)


def test_an_even_split_for_people(hello: Mesh) -> None:
    done = traffic(hello, HELLO, "--expect", "v1=50,v2=50", *SURE)
    assert done.code == 0, done.text
    first, second, *rest = done.out.splitlines()
    assert first == "200 requests from test/curl to http://helloworld.hello:5000/hello"
    assert second.endswith("/s, each on a connection of its own; by version, with 95 % intervals:")
    assert [line.split()[0] for line in rest[1:3]] == ["v1", "v2"]
    assert done.err == ""
    assert "outcomes  HTTP 200: 200" in rest
    assert any(line.startswith("✓ expected v1 50 %, v2 50 %; came v1 ") for line in rest)
    assert all(len(line) <= 80 for line in rest)


def in_terminal(mesh: Mesh, *arguments: str, columns: int = 80, **variables: str) -> str:
    """What comes to a terminal of that width."""
    command = [sys.executable, "-P", "-m", "ambientlab.cli.main", *arguments]
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, columns))
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env={**mesh.env, "TERM": "xterm", **variables}
    ) as process:
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's end
            while piece := os.read(leader, 65536):
                shown += piece
        os.close(leader)
    assert process.returncode == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_bars_grow_in_a_terminal_and_make_room_for_the_result(hello: Mesh) -> None:
    arguments = ("traffic", "--from", "test/curl", HELLO, "--by", "instance", "--rps", "200", "-n", "100")
    shown = in_terminal(hello, *arguments)
    *frames, result = re.split(r"\x1b\[(?:\d+)F\x1b\[J", shown)
    drawn = [frame.splitlines() for frame in frames]
    assert len(drawn) > 2
    for frame, up in zip(drawn, map(int, re.findall(r"\x1b\[(\d+)F", shown)), strict=True):
        assert len(frame) == up
        assert all(len(line) <= 80 for line in frame)
        assert re.fullmatch(r"\d+ of 100 answered", frame[-1])
        assert all(re.search(r"█ +\d+\.\d % +\d+  \d+\.\d-\d+\.\d$", line) for line in frame[:-1])
    assert result.startswith("100 requests from test/curl to http://helloworld.hello:5000/hello\n")
    assert all(len(line) <= 80 for line in result.splitlines())
    assert "\x1b" not in result
    assert "\x1b" not in in_terminal(hello, *arguments, TERM="dumb")


def test_without_a_word_it_is_compared_with_what_explain_says(hello: Mesh) -> None:
    done = traffic(hello, HELLO, *SURE)
    assert done.code == 0, done.text
    assert "✓ expected v1 50 %, v2 50 %; came v1 " in done.out
    assert "Expected is what `ambientlab explain` says" in done.out
    done = traffic(hello, "helloworld.hello:9999/hello", "-n", "5", "-o", "json", *SURE)
    assert done.code == 0, done.text
    assert [each["expected"] for each in json.loads(done.out)["expectations"]] == ["no answer 100 %"]
    done = traffic(hello, "helloworld.hello:5000/nothing", "-n", "5", *SURE)
    assert (done.code, "do not say who they are" in done.err, "expected" in done.out) == (0, True, False)
    assert json.loads(traffic(hello, HELLO, "-n", "5", "--expect", "none", "-o", "json").out)["expectations"] == []


def test_what_does_not_fit_is_exit_status_1(hello: Mesh) -> None:
    done = traffic(hello, HELLO, "--expect", "v1=95,v2=5", "--max-p99", "10s", "-o", "json", *SURE)
    assert done.code == 1, done.text
    data: dict[str, Any] = json.loads(done.out)
    assert [expectation["fits"] for expectation in data["expectations"]] == [False, True]
    assert sum(group["count"] for group in data["groups"]) == data["total"] == 200


def test_a_duration_of_nothing_is_none(hello: Mesh) -> None:
    done = traffic(hello, HELLO, "--duration", "0s", "--expect", "none", "-o", "json")
    assert json.loads(done.out)["total"] == 200


def test_who_answered_many_at_once(hello: Mesh) -> None:
    done = traffic(hello, HELLO, "-n", "300", "-c", "10", "--by", "instance", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 300
    pods = {pod["metadata"]["name"] for pod in hello.json("get", "pods", "-n", "hello")["items"]}
    assert {row["body"].rpartition(" ")[2] for row in rows} == pods


def test_a_deployment_may_ask_at_a_pace(hello: Mesh) -> None:
    hello.kubectl("create", "deployment", "client", "-n", "test", "--image=busybox", "--", "sleep", "infinity")
    hello.kubectl("wait", "-n", "test", "--for=condition=Available", "deploy/client")
    done = traffic(hello, HELLO, "--rps", "50", "--duration", "1s", "-o", "json", source="test/deploy/client")
    data = json.loads(done.out)
    assert data["from"].startswith("test/client-")
    assert data["total"] == 50


def test_it_waits_for_a_change(hello: Mesh) -> None:
    scale = ("scale", "deploy/helloworld-v2", "-n", "hello")
    hello.kubectl(*scale, "--replicas=0")
    done = traffic(hello, HELLO, "-n", "50", "--expect", "v1=100", "--until-stable", *SURE)
    assert done.code == 0, done.text
    hello.kubectl(*scale, "--replicas=1")
    hello.kubectl("wait", "-n", "hello", "--for=condition=Available", "deploy/helloworld-v2")


def test_statuses(hello: Mesh) -> None:
    done = traffic(hello, "helloworld.hello:5000/nothing", "-n", "20", "--expect-status", "404=100%", "--by", "status")
    assert done.code == 0, done.text
    assert "HTTP 404" in done.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("ftp://x/",), "'ftp://x/' is not a URL such as http://helloworld.hello:5000/hello"),
        ((HELLO, "--expect", "v1=95,v2=2"), "the shares add up to 97, not to 100"),
        ((HELLO, "--expect-status", "ok=5"), "--expect-status: 'ok' is no HTTP status"),
        ((HELLO, "--expect-delay", "long=5"), "--expect-delay: 'long' is not a duration"),
        ((HELLO, "--by", "colour"), "'colour' is not version, instance, status or header:NAME"),
        ((HELLO, "-H", "nonsense"), "-H 'nonsense' is not NAME: VALUE"),
        ((HELLO, "--until-stable", "--expect", "none"), "--until-stable needs something to wait for"),
        (
            ("nobody.hello/",),
            "cannot resolve the host nobody.hello: Name or service not known\n"
            "  → see which services there are: kubectl get services -A",
        ),
    ],
)
def test_mistakes_are_named(hello: Mesh, arguments: tuple[str, ...], complaint: str) -> None:
    done = traffic(hello, *arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("curl", "--from 'curl' is not NAMESPACE/POD"),
        ("test/nobody", 'pods "nobody" not found'),
        ("test/deploy/nobody", "deploy/nobody in namespace test has no pods"),
        ("tset/deploy/curl", 'there is no namespace "tset"\n  → there are default, hello, '),
        ("tset/curl", 'there is no namespace "tset"\n  → there are default, hello, '),
    ],
)
def test_pods_that_are_not_there(hello: Mesh, source: str, complaint: str) -> None:
    done = traffic(hello, HELLO, source=source)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
