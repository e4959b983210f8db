"""An API server's door with RBAC: it lets through to a mesh what a ClusterRole permits, and keeps a book of it all.

Verbs and attributes of requests are those of Kubernetes (docs/reference/access-authn-authz/authorization). What every
user may do is permitted: discovery, and questions about oneself.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import yaml
from cryptography import x509

from ambientlab.host import access
from ambientlab.host.kubeapi import tls
from support.certificates import secured, self_signed

TOKEN = "of-a-service-account"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_EVERYBODY = ("/api", "/apis", "/version", "/openapi")


class Permission(NamedTuple):
    group: str
    resource: str
    verb: str


def permissions(role: Mapping[str, Any]) -> set[Permission]:
    """What a ClusterRole permits."""
    return {
        Permission(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


class Gate:
    """Permissions may be changed at any time. `seen` are the requests that were permitted, as (method, path),
    and `used` the permissions that they took."""

    def __init__(self, kubeconfig: Path, permitted: Iterable[Permission]) -> None:
        self.permitted = set(permitted)
        self.seen: list[tuple[str, str]] = []
        self.used: set[Permission] = set()
        self._behind = access.of(file=kubeconfig)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                place = urlsplit(outer._behind.server)
                context = tls(outer._behind)
                self.behind = http.client.HTTPSConnection(place.hostname or "", place.port, context=context)

            def finish(self) -> None:
                self.behind.close()
                super().finish()

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                outer._answer(self, self.behind)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._certificate, key = self_signed(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        self._server.socket = secured(self._server.socket, self._certificate, key)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, file: Path, token: str = TOKEN) -> Path:
        """Of context `gate`."""
        # by TLS, since kubectl shows a token to nobody in the clear
        trusted = base64.b64encode(self._certificate).decode()
        server = f"https://127.0.0.1:{self._server.server_port}"
        cluster = {"server": server, "certificate-authority-data": trusted}
        config = {
            "current-context": "gate",
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "reader"}}],
            "clusters": [{"name": "gate", "cluster": cluster}],
            "users": [{"name": "reader", "user": {"token": token}}],
        }
        file.write_text(yaml.safe_dump(config))
        return file

    def _answer(self, asked: BaseHTTPRequestHandler, behind: http.client.HTTPSConnection) -> None:
        size = int(asked.headers.get("Content-Length") or 0)
        body = asked.rfile.read(size)
        if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _refuse(asked, 401, "Unauthorized")
        wanted = _permission(asked.command, asked.path)
        if wanted is not None and wanted not in self.permitted:
            what = f"{wanted.resource}.{wanted.group}".rstrip(".")
            return _refuse(asked, 403, f'{what} is forbidden: User "reader" cannot {wanted.verb} resource')
        self.seen.append((asked.command, asked.path))
        self.used |= {wanted} if wanted is not None else set()
        headers = [(name, value) for name, value in asked.headers.items() if name.lower() != "authorization"]
        if "upgrade" in asked.headers.get("Connection", "").lower():
            return self._through(asked, headers)
        behind.request(asked.command, asked.path, body, dict(headers))
        reply = behind.getresponse()
        content = reply.read()
        asked.send_response(reply.status)
        asked.send_header("Content-Type", reply.headers["Content-Type"])
        asked.send_header("Content-Length", str(len(content)))
        asked.end_headers()
        asked.wfile.write(content)

    def _through(self, asked: BaseHTTPRequestHandler, headers: Iterable[tuple[str, str]]) -> None:
        """The connection itself, for exec."""
        asked.close_connection = True
        place = urlsplit(self._behind.server)
        plain = socket.create_connection((place.hostname, place.port))
        with tls(self._behind).wrap_socket(plain, server_hostname=place.hostname) as behind:
            lines = [asked.requestline, *(f"{name}: {value}" for name, value in headers), "", ""]
            behind.sendall("\r\n".join(lines).encode())
            back = threading.Thread(target=_pour, args=(behind, asked.connection))
            back.start()
            _pour(asked.connection, behind)
            back.join()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except (OSError, ssl.SSLError):
        pass


def _refuse(asked: BaseHTTPRequestHandler, status: int, message: str) -> None:
    reason = "Forbidden" if status == 403 else message
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    content = orjson.dumps({**body, "code": status})
    asked.send_response(status)
    asked.send_header("Content-Type", "application/json")
    asked.send_header("Content-Length", str(len(content)))
    asked.end_headers()
    asked.wfile.write(content)


def _permission(method: str, target: str) -> Permission | None:
    """What a request takes; None where everybody may."""
    path = urlsplit(target).path
    parts = path.strip("/").split("/")
    core = parts[0] == "api"
    rest = parts[2:] if core else parts[3:]
    if not rest or not path.startswith(_EVERYBODY):
        assert path.startswith(_EVERYBODY), path
        return None
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    resource, *more = rest
    group = "" if core else parts[1]
    if group in ("authorization.k8s.io", "authentication.k8s.io") and resource.startswith("self"):
        return None
    verb = _VERBS.get(method) or ("get" if more else "list")
    return Permission(group, "/".join([resource, *more[1:2]]), verb)
