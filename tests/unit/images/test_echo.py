"""The echo images as real processes: what they answer over every protocol, and what their client prints."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from ambientlab.images.programs import hpack
from ambientlab.images.registry import Images
from support.envoy import free_ports

ADVANCED = "registry.k8s.io/gateway-api/conformance/echo-advanced"
BASIC = "registry.k8s.io/gateway-api/conformance/echo-basic"


@contextmanager
def running(image: str, *arguments: str, ports: int = 1, **env: str) -> Iterator[None]:
    """Until it says of so many ports that it listens."""
    program = Images().resolve(image)
    assert program is not None
    launch = program.launch({}, {"name": "main"}, (), arguments)
    process = subprocess.Popen(
        launch.argv, env={**os.environ, "HOSTNAME": "pod-1", **env}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(ports):
        assert "listen" in process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 0


@pytest.fixture(scope="module")
def echo() -> Iterator[tuple[int, int, int]]:
    """Ports of HTTP, gRPC and TCP."""
    http, rpc, tcp = free_ports(3)
    flags = (f"--port={http}", f"--grpc={rpc}", "--tcp", str(tcp), "--version=v1", "--tls=8443", "--crt=/none")
    with running(ADVANCED, *flags, ports=3):
        yield http, rpc, tcp


def client(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Images().resolve(ADVANCED)
    assert program is not None
    script = program.files["/opt/echo/bin/client"][0].decode()
    return subprocess.run(["sh", "-c", script, "client", *arguments], capture_output=True, text=True, check=False)


def lines(*arguments: str) -> list[str]:
    done = client(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_client_prints_what_it_did_and_got(echo: tuple[int, int, int]) -> None:
    url = f"http://127.0.0.1:{echo[0]}/path?x=1"
    found = lines(url, "--method=PUT", "-H", "x-one:1", "--header=Host:echo-v1", "--count=2")
    varying = ("Latency=", "ResponseHeader=Date", "ResponseHeader=Content-Length")
    assert [line for line in found if not any(each in line for each in varying)][:10] == [
        f"[0] Url={url}",
        "[0] Header=X-One:1",
        "[0] Header=Host:echo-v1",
        "[0] SourceIP=127.0.0.1",
        "[0] StatusCode=200",
        "[0] ResponseHeader=Content-Type:application/text",
        "[0 body] ServiceVersion=v1",
        f"[0 body] ServicePort={echo[0]}",
        "[0 body] Host=echo-v1",
        "[0 body] URL=/path?x=1",
    ]
    assert {"[1 body] Method=PUT", "[1 body] Proto=HTTP/1.1", "[1 body] IP=127.0.0.1"} < set(found)
    assert {"[1 body] RequestHeader=X-One:1", "[1 body] Hostname=pod-1"} < set(found)


def test_other_protocols(echo: tuple[int, int, int]) -> None:
    http, rpc, tcp = echo
    assert "[0 body] Proto=HTTP/2.0" in lines(f"http://127.0.0.1:{http}/", "--http2", "-H", "x-one:1")
    found = lines(f"grpc://127.0.0.1:{rpc}", "-H", "x-one:1", "--msg=hello")
    assert {"[0 body] StatusCode=200", "[0 body] RequestHeader=x-one:1", "[0 body] Echo=hello"} < set(found)
    assert {"[0 body] StatusCode=200", "[0 body] Proto=TCP"} < set(lines(f"tcp://127.0.0.1:{tcp}"))


def test_answers_are_what_parameters_ask_for(echo: tuple[int, int, int]) -> None:
    found = lines(f"http://127.0.0.1:{echo[0]}/?codes=418&headers=x-seen:yes&delay=1ms")
    assert {"[0] StatusCode=418", "[0] ResponseHeader=X-Seen:yes"} < set(found)


def test_failures_of_the_client_are_told_by_its_exit_code(echo: tuple[int, int, int]) -> None:
    (closed,) = free_ports(1)
    refused = client(f"http://127.0.0.1:{closed}/")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Connection refused" in refused.stderr
    assert client("http://127.0.0.1/", "--nonsense").stderr == "Error: unknown flag: --nonsense\n"
    unimplemented = client(f"grpc://127.0.0.1:{echo[2]}")  # a port of TCP
    assert unimplemented.returncode == 1


def test_curl_finds_its_way(echo: tuple[int, int, int]) -> None:
    """Bodies larger than a window, headers larger than a table, and a connection that is kept."""
    url = f"http://127.0.0.1:{echo[0]}/x"

    def curl(*arguments: str) -> str:
        return subprocess.run(["curl", "-sS", *arguments], check=True, capture_output=True, text=True).stdout

    for version in ("--http1.1", "--http2-prior-knowledge"):
        found = curl(version, "-H", f"x-large: {'a' * 9000}", "-d", "b" * 100_000, url)
        assert len(next(line for line in found.splitlines() if "X-Large" in line)) > 9000
    assert curl("-H", "transfer-encoding: chunked", "-d", "abc", url, url).count("Method=POST") == 2
    assert curl("-w", "%{num_connects} ", url, url).count("0 ") == 1


def test_a_grpc_library_is_answered_on_one_connection(echo: tuple[int, int, int]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{echo[1]}") as channel:
        call = channel.unary_unary("/proto.EchoTestService/Echo")
        for number in range(50):
            answer = call(b"\x0a\xb8\x17" + b"m" * 3000, metadata=(("x-number", str(number)),), timeout=5)
            assert f"RequestHeader=x-number:{number}\n".encode() in answer
            assert f"Echo={'m' * 3000}\n".encode() in answer
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/proto.EchoTestService/Nothing")(b"", timeout=5)
        assert isinstance(error.value, grpc.Call)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_its_health_can_be_asked(echo: tuple[int, int, int]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{echo[1]}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=5) == b"\x08\x01", "serving"
        with pytest.raises(grpc.RpcError, match="unknown service"):
            check(b"\x0a\x01x", timeout=5)


def test_websockets(echo: tuple[int, int, int]) -> None:
    for message in ("knock", "long" * 100, "longer" * 20000):
        found = lines(f"ws://127.0.0.1:{echo[0]}/ws", f"--msg={message}", "-H", "x-one:1")
        assert {"[0] Header=X-One:1", "[0 body] URL=/ws", "[0 body] RequestHeader=X-One:1"} < set(found)
        assert f"[0 body] {message}StatusCode=200" in found


def test_broken_http2_ends_the_connection_and_nothing_else(echo: tuple[int, int, int]) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for frame in (
        b"\x7f\xff\xff\x00\x00\x00\x00\x00\x01",  # too large
        b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\xff",  # a header that is not there
        b"\x00\x00\x00\x09\x04\x00\x00\x00\x01",  # more headers of none
    ):
        with socket.create_connection(("127.0.0.1", echo[0])) as connection:
            connection.sendall(preface + frame)
            while connection.recv(4096):
                pass
    assert "[0] StatusCode=200" in lines(f"http://127.0.0.1:{echo[0]}/")


def test_headers_are_read_as_the_specification_has_them() -> None:
    """The examples of RFC 7541, C.4: packed, and remembered from one request to the next."""
    decoder = hpack.Decoder()
    first = decoder.decode(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"))
    assert first[-1] == (":authority", "www.example.com")
    second = decoder.decode(bytes.fromhex("828684be5886a8eb10649cbf"))
    assert second[-2:] == [(":authority", "www.example.com"), ("cache-control", "no-cache")]
    third = decoder.decode(bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"))
    assert third[-1] == ("custom-key", "custom-value")
    with pytest.raises(hpack.CompressionError):
        decoder.decode(bytes.fromhex("ff00"))


def test_echo_basic_answers_with_json() -> None:
    http, h2c = free_ports(2)
    with running(BASIC, ports=2, HTTP_PORT=str(http), H2C_PORT=str(h2c), POD_NAME="pod-1", NAMESPACE="ns"):
        command = ["curl", "-sSi", "-H", "x-echo-set-header: X-A:1, X-B:2", f"http://127.0.0.1:{http}/a?b=c"]
        head, body = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n\n", 1)
        seen = json.loads(body)
        assert {"X-A: 1", "X-B: 2", "Content-Type: application/json"} < set(head.splitlines())
        assert (seen["path"], seen["method"], seen["proto"]) == ("/a?b=c", "GET", "HTTP/1.1")
        assert (seen["pod"], seen["namespace"], seen["httpPort"]) == ("pod-1", "ns", str(http))
        with socket.create_connection(("127.0.0.1", http)) as connection:
            connection.sendall(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            upgraded = b""
            while not upgraded.endswith(b"\r\n\r\n"):
                upgraded += connection.recv(1)
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in upgraded  # the example of RFC 6455
            for _ in range(2):
                connection.sendall(b"\x81\x85" + b"\x37\xfa\x21\x3d" + b"\x7f\x9f\x4d\x51\x58")
                assert connection.recv(16) == b"\x81\x05Hello"
        assert seen["headers"]["X-Echo-Set-Header"] == ["X-A:1, X-B:2"]
        command = ["curl", "-sS", "--http2-prior-knowledge", f"http://127.0.0.1:{h2c}/"]
        assert json.loads(subprocess.check_output(command))["proto"] == "HTTP/2.0"
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{http}/status/418"]
        assert subprocess.check_output(command) == b"418"


def test_echo_basic_speaks_grpc() -> None:
    (port,) = free_ports(1)
    service = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"
    with (
        running(BASIC, GRPC_ECHO_SERVER="1", HTTP_PORT=str(port), POD_NAME="pod-1"),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        answer = channel.unary_unary(f"{service}/EchoTwo")(b"", metadata=(("x-one", "1"),), timeout=5)
        assert f"{service}/EchoTwo".encode() in answer
        assert struct.pack("!BB5s", 10, 5, b"x-one") in answer
        assert b"pod-1" in answer
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            channel.unary_unary(f"{service}/EchoThree")(b"", timeout=5)
