"""The driver and curl, as they run in a pod."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ambientlab.traffic import sending
from ambientlab.traffic.answers import Answer, Requests
from ambientlab.traffic.sending import Kubectl, TrafficError, UnknownHostError, send

from .conftest import Script, here, ok, without_python

V1, V2 = ok(b"Hello version: v1, instance: a\n"), ok(b"Hello version: v2, instance: b\n")
BOTH = pytest.mark.parametrize("kubectl", [here, without_python])


def plan(port: int, **fields: Any) -> Requests:
    return replace(Requests("test/curl", f"http://127.0.0.1:{port}/hello?a=b", number=4), **fields)


def answers(requests: Requests, kubectl: Kubectl = here, **shown: Any) -> list[Answer]:
    return list(send(kubectl, requests, **shown))


@BOTH
def test_each_request_is_told_with_what_it_got(scripted: Script, kubectl: Kubectl) -> None:
    port = scripted(V1, V2, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nX-Envoy-Upstream-Service-Time: 7\r\n\r\n")
    found = answers(plan(port, number=3), kubectl)
    assert [answer.status for answer in found] == [200, 200, 503]
    assert [answer.body.strip() for answer in found] == [
        "Hello version: v1, instance: a",
        "Hello version: v2, instance: b",
        "",
    ]
    assert [answer.service for answer in found] == [0, 0, 7]
    assert all(0 < answer.seconds < 20 for answer in found)


@BOTH
def test_what_is_sent(scripted: Script, kubectl: Kubectl) -> None:
    port = scripted(ok(b"$REQUEST").replace(b"Content-Length: 8\r\n", b""))
    (answer,) = answers(plan(port, number=1, method="POST", headers=(("X-User", "me"), ("Host", "shop"))), kubectl)
    first, *headers = bytes.fromhex(answer.body[: len(answer.body) // 2 * 2]).decode().split("\r\n")
    assert first == "POST /hello?a=b HTTP/1.1"
    assert {"X-User: me", "Host: shop"} <= set(headers)
    assert "connection: close" in [header.lower() for header in headers]


@BOTH
def test_a_header_of_the_response(scripted: Script, kubectl: Kubectl) -> None:
    port = scripted(ok(b"", b"X-Served-By: one"), ok(b""))
    assert [a.header for a in answers(plan(port, number=2), kubectl, header="X-Served-By")] == ["one", ""]


@BOTH
def test_nobody_there(scripted: Script, kubectl: Kubectl) -> None:
    assert {(a.status, a.problem) for a in answers(plan(1, number=2), kubectl)} == {(0, "refused")}


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "status", "body", "problem"),
    [
        (CHUNKED + b"4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nT: x\r\n\r\n", 200, "wikipedia", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", ""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", 204, "", ""),
        (CHUNKED + b"4\r\nwi", 0, "wi", "connection closed within the response"),
        (CHUNKED + b"what\r\n", 0, "", "invalid literal for int() with base 16: b'what'"),
        (b"HTTP/1.1 200 O", 0, "", "connection closed within the response"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 0, "", "no response of HTTP/1.1"),
        (b"", 0, "", "empty reply"),
        (b"x" * 70_000, 0, "", "headers too large"),
    ],
)
def test_responses_of_every_shape(scripted: Script, response: bytes, status: int, body: str, problem: str) -> None:
    (answer,) = answers(plan(scripted(response), number=1))
    assert (answer.status, answer.body, answer.problem) == (status, body, problem)


def test_a_head_has_no_body(scripted: Script) -> None:
    port = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    assert [answer.status for answer in answers(plan(port, method="HEAD", number=2))] == [200, 200]


def test_an_answer_that_does_not_come_is_waited_for_no_longer(scripted: Script) -> None:
    port = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal")
    (answer,) = answers(plan(port, number=1, patience=0.2, reuse=True))
    assert (answer.status, answer.problem) == (0, "timeout")
    assert answer.seconds >= 0.2


def test_connections_used_again_and_one_that_the_server_had_closed(scripted: Script) -> None:
    port = scripted(V1, V1, V1.replace(b"Length", b"Lengt_").replace(b"ength:", b""))
    found = answers(plan(port, number=9, reuse=True))
    assert [answer.status for answer in found] == [200] * 9


def test_many_at_once(scripted: Script) -> None:
    found = answers(plan(scripted(V1, V2), number=100, parallel=20))
    assert len(found) == 100
    assert {answer.body.split()[2] for answer in found} == {"v1,", "v2,"}


def test_so_many_a_second_for_so_long(scripted: Script) -> None:
    found = answers(plan(scripted(V1), number=0, rate=40, seconds=0.5))
    assert len(found) == 20
    assert all(answer.at >= n / 40 for n, answer in enumerate(sorted(found)))


def test_bodies_of_parallel_requests_need_the_driver(scripted: Script) -> None:
    port = scripted(V1)
    with pytest.raises(TrafficError, match="count --by status"):
        answers(plan(port, parallel=2), without_python)
    assert len(answers(plan(port, parallel=2), without_python, body=False)) == 4


@pytest.mark.parametrize("what", ['pods "curl" not found', 'namespaces "test" not found'])
def test_a_pod_that_is_not_there(what: str) -> None:
    refused = ["sh", "-c", f"echo 'Error from server (NotFound): {what}' >&2; exit 1"]
    with pytest.raises(TrafficError, match=f"^{what}$"):
        answers(plan(1), lambda _: refused)


def test_a_pod_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_GRACE", 0.1)
    with pytest.raises(TrafficError, match=r"^test/curl had not sent them all after 0\.3 s$"):
        answers(plan(1, seconds=0.1, patience=0.1), lambda _: ["sleep", "60"])


def test_a_pod_without_either() -> None:
    with pytest.raises(TrafficError, match="test/curl has neither python3 nor curl"):
        answers(plan(1), lambda _: ["sh", "-c", "echo 'exec: executable file not found in $PATH' >&2; exit 127"])


@pytest.mark.parametrize("line", ["welcome", "{}", '["a", 1, 200, "", 0, "", ""]', "[1, 2]"])
def test_what_a_pod_tells_may_be_anything(line: str) -> None:
    with pytest.raises(TrafficError, match="what test/curl has as python3 tells no answers: "):
        answers(plan(1), lambda _: ["echo", line])


def test_a_host_that_has_no_address() -> None:
    with pytest.raises(UnknownHostError, match=r"cannot resolve the host nobody\.invalid: "):
        answers(replace(plan(1), url="http://nobody.invalid/"))


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "http://", "http://x:y/", "http://x/a b", "http://x/[1-3]", "http://x/#a"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        sending.url_of(url)


def test_a_url_may_leave_out_its_scheme() -> None:
    assert sending.url_of("helloworld.hello:5000/hello").geturl() == "http://helloworld.hello:5000/hello"


def test_curls_pace_shows_in_when_requests_were_asked(scripted: Script) -> None:
    found = answers(plan(scripted(V1), number=3, rate=10), without_python)
    assert [round(answer.at, 6) for answer in found] == [0, 0.1, 0.2]


def test_a_curl_that_is_too_old_is_told() -> None:
    script = "echo \"curl: unknown --write-out variable: 'header'\" >&2; echo 'Hello version: v1'"

    def kubectl(arguments: Sequence[str]) -> list[str]:
        return ["sh", "-c", script] if here(arguments)[0] == "curl" else without_python(arguments)

    with pytest.raises(TrafficError, match=r"^the curl of test/curl is older than 7\.83"):
        answers(plan(1, number=1), kubectl)


def test_a_shared_connection_is_noticed() -> None:
    shared = ["sh", "-c", 'printf "body\\n%s 200 0 0.1 0 \\n" "$0"']

    def kubectl(arguments: Sequence[str]) -> list[str]:
        if here(arguments)[0] != "curl":
            return without_python(arguments)
        token = next(each for each in arguments if "%{http_code}" in each).split()[0]
        return [*shared, token]

    with pytest.raises(TrafficError, match="used the connection of another"):
        answers(plan(1, number=1), kubectl)
