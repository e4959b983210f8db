"""Servers of a few scripted bytes, and a `kubectl exec` that runs the program on this machine."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

Script = Callable[..., int]


@pytest.fixture
def scripted() -> Iterator[Script]:
    """Starts a server on a port of loopback that gives each request the next of these responses, as they are. A
    response ends its connection unless it has a body of a length it tells."""
    listeners: list[socket.socket] = []

    def start(*responses: bytes) -> int:
        turn = itertools.cycle(responses)
        lock = threading.Lock()
        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        listeners.append(listener)

        def serve(connection: socket.socket) -> None:
            with connection:
                while True:
                    request = b""
                    while not request.endswith(b"\r\n\r\n"):
                        if not (data := connection.recv(4096)):
                            return
                        request += data
                    with lock:
                        response = next(turn)
                    connection.sendall(response.replace(b"$REQUEST", request.hex().encode()))
                    if b"ength:" not in response or b"onnection: close" in request:
                        return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def here(arguments: Sequence[str]) -> list[str]:
    return list(arguments[arguments.index("--") + 1 :])


def without_python(arguments: Sequence[str]) -> list[str]:
    argv = here(arguments)
    return ["sh", "-c", "echo 'exec: \"python3\": not found' >&2; exit 127"] if argv[0] == "python3" else argv


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
