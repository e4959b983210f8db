"""The API as the soak asks it: whole requests on one kept connection, and bytes that need not be requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

from ambientlab.host import lifecycle
from ambientlab.host.paths import MeshPaths

PATIENCE = 30
"""Seconds for any answer."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = self.body[:1500].decode(errors="backslashreplace")
        return f"{self.method} {self.path[:300]} {str(self.headers)[:300]}\n{text}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 0: the connection ended instead."""

    status: int
    body: bytes = b""
    content_type: str = ""

    def json(self) -> Any:
        """None for a body that is no JSON."""
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None


class Api:
    """As administrator. `ask` connects anew when the server has gone; nothing is sent twice."""

    def __init__(self, paths: MeshPaths) -> None:
        self._port = lifecycle.saved_port(paths)
        self._context = ssl.create_default_context(cafile=str(paths.pki / "ca.crt"))
        self._context.load_cert_chain(paths.pki / "admin.crt", paths.pki / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=PATIENCE)

    def close(self) -> None:
        self._connection.close()

    def ask(self, request: Request) -> Answer:
        try:
            self._connection.request(request.method, request.path, request.body or None, request.headers)
            with self._connection.getresponse() as response:
                return Answer(response.status, response.read(), response.headers.get_content_type())
        except (http.client.HTTPException, OSError):
            self._connection.close()
            return Answer(0)

    def get(self, path: str) -> Any:
        """Raises RuntimeError when there is no such thing."""
        answer = self.ask(Request("GET", path, headers={"Accept": "application/json"}))
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status} {answer.body[:300].decode(errors='replace')}")
        return answer.json()

    def send(self, method: str, path: str, obj: Any, content_type: str = "application/json") -> Answer:
        return self.ask(Request(method, path, json.dumps(obj).encode(), {"Content-Type": content_type}))

    def raw(self, data: bytes, *, encrypted: bool, patience: float) -> Answer:
        """What is answered to these bytes within `patience` seconds, after which they are left alone."""
        received = b""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE) as plain,
        ):
            tls = self._context.wrap_socket(plain, server_hostname="127.0.0.1") if encrypted else plain
            with tls:
                tls.sendall(data)
                tls.settimeout(patience)
                while not received.endswith(b"}") and (chunk := tls.recv(65536)):
                    received += chunk
        return _first(received)


def _first(received: bytes) -> Answer:
    line = received.split(b"\r\n", 1)[0].split(b" ")
    if len(line) < 2 or not line[0].startswith(b"HTTP/") or not line[1].isdigit():
        return Answer(0, received)
    return Answer(int(line[1]), received.partition(b"\r\n\r\n")[2])
