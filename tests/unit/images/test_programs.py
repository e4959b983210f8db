"""The built-in servers as real processes, asked by real clients."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from ambientlab.images.registry import Images
from support import envoy


@dataclass
class Server:
    port: int
    process: subprocess.Popen[str]

    def stop(self) -> str:
        """What it has written since it listens. It must end by SIGTERM, cleanly."""
        self.process.terminate()
        output, _ = self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        return output


Start = Callable[..., Server]


@pytest.fixture
def free_port() -> int:
    return envoy.free_port()


@pytest.fixture
def start(free_port: int) -> Iterator[Start]:
    """Starts an image that takes its port from PORT, and returns when it says that it listens."""
    servers: list[Server] = []

    def begin(image: str, *arguments: str, **env: str) -> Server:
        program = Images().resolve(image)
        assert program is not None
        launch = program.launch({}, {"name": "main"}, (), arguments)
        environment = {"PATH": os.environ["PATH"], **launch.env, "PORT": str(free_port), "HOSTNAME": "pod-1", **env}
        process = subprocess.Popen(
            launch.argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        servers.append(Server(free_port, process))
        assert process.stdout is not None
        assert any("listen" in line.lower() for line in process.stdout), "it ended instead of listening"
        return servers[-1]

    yield begin
    for server in servers:
        if server.process.returncode is None:
            server.stop()


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sS", *arguments], check=True, capture_output=True, text=True).stdout


def test_helloworld_names_version_and_instance(start: Start) -> None:
    server = start("docker.io/istio/examples-helloworld-v2")
    url = f"http://127.0.0.1:{server.port}"
    assert curl(f"{url}/hello") == "Hello version: v2, instance: pod-1\n"
    assert curl(f"{url}/hello?x=1") == "Hello version: v2, instance: pod-1\n"
    assert curl("-o", os.devnull, "-w", "%{http_code}", f"{url}/nope") == "404"
    assert curl("-o", os.devnull, "-w", "%{http_code}", "-d", "x=1", f"{url}/hello") == "405"
    assert "Content-Length: 35" in curl("-I", f"{url}/hello")
    # Two URLs over one connection.
    assert curl("-w", "%{num_connects} ", f"{url}/hello", f"{url}/hello").count("0 ") == 1


def test_the_version_can_be_set(start: Start) -> None:
    server = start("istio/examples-helloworld-v1", SERVICE_VERSION="canary")
    assert curl(f"http://127.0.0.1:{server.port}/hello") == "Hello version: canary, instance: pod-1\n"


def test_helloworld_serves_many_at_once_and_survives_nonsense(start: Start) -> None:
    server = start("istio/examples-helloworld-v1")
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    for connection in connections:
        connection.sendall(b"GET /hello HT")
    for connection in connections:
        connection.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
    assert all(b"200 OK" in connection.recv(4096) for connection in connections)
    for connection in connections:
        connection.close()
    for nonsense in (b"\x16\x03\x01\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /hello HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(nonsense)
            assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", server.port)) as endless, contextlib.suppress(ConnectionError):
        while True:  # the server hangs up on a head that never ends
            endless.sendall(b"A" * 10_000)
    with socket.create_connection(("127.0.0.1", server.port)) as pipelined:
        pipelined.sendall(b"GET /hello HTTP/1.1\r\n\r\n" * 3 + b"GET /hello HTTP/1.0\r\n\r\n")
        received = b""
        while data := pipelined.recv(4096):
            received += data
        assert received.count(b"Hello version: v1") == 4


def test_httpbin_answers_keeps_connections_and_logs(start: Start) -> None:
    server = start("docker.io/mccutchen/go-httpbin")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for path, status in (("/status/418", 418), ("/headers", 200), ("/get", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert not response.will_close
    connection.close()
    assert '"GET /status/418 HTTP/1.1" 418' in server.stop()


@pytest.mark.parametrize(("arguments", "words"), [(("-b", "[::]:nope"), "'nope'"), (("-port", "99999"), "'99999'")])
def test_httpbin_refuses_what_is_not_a_port(arguments: tuple[str, ...], words: str) -> None:
    program = Images().resolve("kong/httpbin")
    assert program is not None
    launch = program.launch({}, {"name": "main"}, (), arguments)
    done = subprocess.run(launch.argv, env=dict(launch.env), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"httpbin: {words} is not a port to listen on\n")


def test_httpbin_listens_where_a_manifest_tells_gunicorn_to(start: Start, free_port: int) -> None:
    server = start("kong/httpbin", "-b", f"[::]:{free_port}", "httpbin:app", "-k", "gevent", PORT="1")
    assert '"url"' in curl(f"http://127.0.0.1:{server.port}/get")
