"""A directory to play in, with a `kubectl` that is a few lines of shell over this machine."""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from ambientlab.labs.environment import Environment

# exec runs the command here; wait knows things by files, in the condition's name; apply keeps its input.
KUBECTL = r"""#!/bin/bash
verb=$1
while [ "$1" != "" ]; do case $1 in --) shift; break;; --for=*) condition=${1#--for=};; esac; last=$1; shift; done
case $verb in
exec) exec "$@" ;;
apply) cat > "$WORLD/applied"; echo applied ;;
logs) cat "$WORLD/log"; sleep 30 ;;
wait) if [ -e "$WORLD/$condition" ]; then echo "thing condition met"; else echo "error: timed out" >&2; exit 1; fi ;;
*) echo "kubectl $verb" ;;
esac
"""


@pytest.fixture
def playground(tmp_path: Path) -> Environment:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kubectl").write_text(KUBECTL)
    (programs / "kubectl").chmod(0o755)
    directory = tmp_path / "directory"
    directory.mkdir()
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", "WORLD": str(directory), "LC_ALL": "C.UTF-8"}
    return Environment(variables, directory)


@pytest.fixture
def plain_console() -> Console:
    return Console(file=io.StringIO(), width=100, color_system=None)


@pytest.fixture
def serve_http() -> Iterator[Callable[..., str]]:
    """Starts a server that gives (status, body) answers in turn, for ever; returns its URL."""
    servers: list[ThreadingHTTPServer] = []

    def serve(*answers: tuple[int, str]) -> str:
        turn = itertools.cycle(answers)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = next(turn)
                if self.headers.get("X-Answer"):
                    body = self.headers["X-Answer"]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if self.headers.get("X-Took"):
                    self.send_header("X-Envoy-Upstream-Service-Time", self.headers["X-Took"])
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
