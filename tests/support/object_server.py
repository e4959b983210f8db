"""An HTTP server that gives the answers it is told, as a Kubernetes API that can only be read."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.host.access import Access
from ambientlab.host.listing import LISTED

Answer = tuple[int, Any]


class Page(str):
    """Sent as it is, and not as JSON."""


class ObjectServer:
    """`answers` by path, 404 for others. It counts connections, and ends each after so many replies if told to. The
    first `busy` requests to read are put off.

    Writes are answered as `judged` has it by method and path, without the query, and others taken as they come."""

    def __init__(
        self,
        answers: dict[str, Answer],
        *,
        replies: int = 0,
        chunked: bool = False,
        judged: dict[str, Answer] | None = None,
        busy: int = 0,
    ) -> None:
        self.answers = answers
        self.busy = busy
        self.written: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        """What was written."""
        self.asked: list[str] = []
        self.authorized: set[str | None] = set()
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer.connections += 1
                self.served = 0

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.authorized.add(self.headers.get("Authorization"))
                status, body = answers.get(self.path, (404, {"kind": "Status", "code": 404}))
                content = (body if isinstance(body, Page) else json.dumps(body)).encode()
                self.served += 1
                if outer.busy:
                    outer.busy -= 1
                    status = 429
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "0")
                if chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    content = (
                        b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (content[:5], content[5:]) if c) + b"0\r\n\r\n"
                    )
                else:
                    self.send_header("Content-Length", str(len(content)))
                if self.served == replies:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                outer.written.append((self.command, self.path))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(body)
                place = f"{self.command} {self.path.partition('?')[0]}"
                status, answer = (judged or {}).get(place, (200 if self.command == "DELETE" else 201, None))
                content = body if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_PATCH = do_DELETE = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.port = self.server.server_port
        self.access = Access("test", f"http://127.0.0.1:{self.port}")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self, directory: Path) -> Path:
        """A kubeconfig of it, with the context `test`."""
        file = directory / "kubeconfig"
        config = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.access.server}}],
        }
        file.write_text(yaml.safe_dump(config))
        return file


def answers(objects: Iterable[Object]) -> dict[str, Answer]:
    """The lists of every kind, and single ConfigMaps."""
    found: dict[tuple[str, str], list[Object]] = {}
    for obj in objects:
        found.setdefault((obj["apiVersion"], obj["kind"]), []).append(obj)
    lists: dict[str, Answer] = {
        f"{resource.path}/{resource.plural}": (200, {"items": found.get((resource.api_version, resource.kind), [])})
        for resource in LISTED
    }
    named = [(obj["metadata"], obj) for obj in found.get(("v1", "ConfigMap"), ())]
    maps = {f"/api/v1/namespaces/{meta['namespace']}/configmaps/{meta['name']}": (200, obj) for meta, obj in named}
    return lists | maps


def of_before(lists: dict[str, Answer], resource: Resource, version: str) -> dict[str, Answer]:
    """The same of a cluster that serves a kind in a version before v1 alone."""
    group = f"/apis/{resource.group}"
    found = dict(lists)
    listed = found.pop(f"{resource.path}/{resource.plural}")
    own = {"name": resource.plural, "kind": resource.kind, "namespaced": True}
    found[f"{group}/{version}/{resource.plural}"] = listed
    found[f"{group}/{version}"] = 200, {"resources": [own]}
    found[group] = 200, {"versions": [{"version": "v1"}, {"version": version}]}
    return found
