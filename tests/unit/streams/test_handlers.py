"""Clients that are not kubectl: the wrong upgrade, the wrong protocol, bytes that are none."""

from __future__ import annotations

import base64
import email
import os
import random
import socket
import ssl
import subprocess
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from ambientlab.apiserver.streams import portforward, remotecommand, spdy_wire

EXEC = "exec?command=cat&stdin=true&stdout=true"
SPDY = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io"}
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
}


class Wire:
    """One TLS connection, spoken to byte by byte."""

    def __init__(self, server: Any) -> None:
        context = ssl.create_default_context(cafile=str(server.directory / "tls.crt"))
        self.socket = context.wrap_socket(
            socket.create_connection(("127.0.0.1", server.port), timeout=20), server_hostname="127.0.0.1"
        )

    def ask(self, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        lines = [f"POST /api/v1/namespaces/default/pods/pod/{path} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        status_line, _, rest = head.partition(b"\r\n")
        answered = dict(email.message_from_bytes(rest))
        body = self.read(int(answered.get("Content-Length", 0)))
        return int(status_line.split()[1]), orjson.loads(body) if body else answered

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return data

    def read_to_end(self) -> bytes:
        data = b""
        try:
            while chunk := self.socket.recv(65536):
                data += chunk
        except (ConnectionError, ssl.SSLError):
            pass
        return data


@pytest.fixture
def wire(stream_server: Any) -> Iterator[Wire]:
    opened = Wire(stream_server)
    yield opened
    opened.socket.close()


def frame(opcode: int, payload: bytes) -> bytes:
    """A short WebSocket frame as clients send them: masked, here with zeros."""
    assert len(payload) < 126
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


@pytest.mark.parametrize("path", [EXEC, "attach?stdout=true", "portforward"])
def test_no_upgrade(wire: Wire, path: str) -> None:
    code, status = wire.ask(path, {"Content-Length": "0"})
    assert (code, status["reason"], status["message"]) == (400, "BadRequest", "Upgrade request required")


@pytest.mark.parametrize(
    ("path", "headers", "message"),
    [
        (
            EXEC,
            SPDY | {"X-Stream-Protocol-Version": "v9.channel.k8s.io, v8.channel.k8s.io"},
            "client supports [v9.channel.k8s.io v8.channel.k8s.io], server accepts [v4.channel.k8s.io]",
        ),
        (EXEC, WEBSOCKET | {"Sec-WebSocket-Protocol": "channel.k8s.io"}, "client supports [channel.k8s.io]"),
        (EXEC, {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}, "X-Stream-Protocol-Version is required"),
        ("portforward", WEBSOCKET, "server accepts [SPDY/3.1+portforward.k8s.io]"),
    ],
)
def test_no_common_protocol(wire: Wire, path: str, headers: dict[str, str], message: str) -> None:
    code, status = wire.ask(path, headers)
    assert (code, status["reason"]) == (403, "Forbidden")
    assert message in status["message"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("exec?stdout=true", "at least one command"),
        ("exec?command=x", "at least 1 of stdin, stdout, stderr"),
        ("exec?command=x&stdout=1&container=nope", "container nope is not valid for pod pod"),
    ],
)
def test_nothing_is_started_for_a_bad_request(wire: Wire, stream_server: Any, path: str, message: str) -> None:
    before = len(stream_server.kubelet.sessions)
    code, status = wire.ask(path, SPDY)
    assert code == 400
    assert message in status["message"]
    assert len(stream_server.kubelet.sessions) == before


def test_the_connection_serves_on_after_a_refusal(wire: Wire) -> None:
    assert wire.ask("exec?command=x", SPDY)[0] == 400
    assert wire.ask("exec?command=x", WEBSOCKET)[0] == 400


@pytest.mark.parametrize("path", [EXEC, "portforward"])
@pytest.mark.parametrize("seed", range(5))
def test_bytes_that_are_no_frames_end_the_session(wire: Wire, stream_server: Any, path: str, seed: int) -> None:
    protocol = "portforward.k8s.io" if path == "portforward" else "v4.channel.k8s.io"
    code, headers = wire.ask(path, SPDY | {"X-Stream-Protocol-Version": protocol})
    assert (code, headers["Upgrade"], headers["X-Stream-Protocol-Version"]) == (101, "SPDY/3.1", protocol)
    wire.socket.sendall(b"\x80\x03\x00\x01\x00\x00\x00\x20" + random.Random(seed).randbytes(32))
    assert list(spdy_wire.FrameReader().feed(wire.read_to_end())) == [spdy_wire.GoAway(0)]
    if path == EXEC:
        assert stream_server.kubelet.sessions[-1].closed.wait(20)
        assert stream_server.kubelet.sessions[-1].exited.wait(20)


@pytest.mark.parametrize("message", [b"", b"\x07what", b"\x04{}"])
def test_a_message_on_no_channel_ends_the_session(wire: Wire, stream_server: Any, message: bytes) -> None:
    assert wire.ask(EXEC, WEBSOCKET)[0] == 101
    wire.socket.sendall(frame(2, message))
    heard = wire.read(3)
    if heard == b"\x82\x01\x01":  # the greeting, if it was faster than our message
        heard = wire.read(3)
    assert (heard[0], heard[2:] + wire.read(1)) == (0x88, (1002).to_bytes(2, "big"))
    wire.socket.sendall(frame(8, b""))
    assert stream_server.kubelet.sessions[-1].exited.wait(20)


def test_a_client_that_vanishes_while_held_back(kubectl: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from it any more, so only a write can find out."""
    monkeypatch.setattr(remotecommand, "PING_SECONDS", 0.05)
    sessions = kubectl.server.kubelet.sessions
    before = len(sessions)
    with open("/dev/zero", "rb") as endless:
        process = kubectl.start("exec", "-i", "pod", "--", "sleep", "600", stdin=endless, stderr=subprocess.DEVNULL)
        eventually(lambda: len(sessions) > before)
        eventually(lambda: sessions[before].process.stdin.transport.get_write_buffer_size() > 60_000)
        process.kill()
        process.wait()
    assert sessions[before].closed.wait(20)
    assert sessions[before].exited.wait(20)


def test_a_forwarder_that_vanishes_while_held_back(
    kubectl: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portforward, "PING_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        arguments = ("port-forward", "--address=127.0.0.1", "pod", f":{port}")
        process = kubectl.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        local = int(process.stdout.readline().split(b"->")[0].rsplit(b":", 1)[1])
        with socket.create_connection(("127.0.0.1", local), timeout=20) as client:
            listener.settimeout(20)
            pod_side, _ = listener.accept()
            client.setblocking(False)
            sent = 0
            try:
                while True:  # until nobody takes more: the pod reads nothing
                    sent += client.send(os.urandom(65536))
            except BlockingIOError:
                pass
            assert sent
            process.kill()
            process.communicate()
            with pod_side:
                pod_side.settimeout(20)
                try:
                    while pod_side.recv(1 << 20):
                        pass
                except ConnectionError:
                    pass
