"""Reading a Kubernetes API, and rehearsing writes to it, on one connection and quickly. Nothing is ever written: what
is no GET is a dry run.

Requests are sent one behind the other without waiting for replies, which come in the same order (RFC 9112, section
9.3.2): reading some thirty resources costs one round trip. HTTP is spoken by hand because the standard library's client
costs more to import than all of that takes.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Literal
from urllib.parse import quote, urlsplit

import orjson

from ambientlab.host.access import Access

if TYPE_CHECKING:
    from ambientlab.api.objects import Object
    from ambientlab.api.resources import Resource
    from ambientlab.mesh.ir import Key

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_LONGEST_LINE = 65536
_AHEAD = 65536
"""Bytes of requests that are under way at once: a server that waits for its replies to be read reads no more of them,
so they have to fit into what the sockets hold."""
_TIMES, _LONGEST_WAIT = 5, 10.0
"""How often a server that puts a request off is asked again, and the seconds that it may want to be left alone."""
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_PATH = re.compile(r"/[!-~]*")
_NO_HEADER = re.compile(r"[\0-\x1f\x7f]")
"""What the value of a header must not have, or it would be more than one."""


def collection(resource: Resource, namespace: str = "") -> str:
    """The path of a namespace's objects of a kind, or of all."""
    home = f"/namespaces/{quote(namespace, safe='')}" if resource.namespaced and namespace else ""
    return f"{resource.path}{home}/{resource.plural}"


def path(resource: Resource, key: Key) -> str:
    """Of one object. What names it may have been written by anybody, and names nothing else whatever it is."""
    return f"{collection(resource, key.namespace)}/{quote(key.name, safe='')}"


def unnameable(text: str) -> str:
    """Why nothing can be called so, "" if something may: it would be another path (client-go, rest/request.go,
    IsValidPathSegmentName)."""
    if text in (".", ".."):
        return f"may not be '{text}'"
    return ", ".join(f"may not contain '{part}'" for part in "/%" if part in text)


class ApiError(Exception):
    """The API cannot be read; `str()` is one line, `hints` are the next steps."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


@dataclass(frozen=True, slots=True)
class Reply:
    """`warnings` are what the server has to say besides (the header Warning of RFC 7234, of which it is code 299).
    `wait` is for how many seconds it wants to be left alone where it is too busy to answer, None where it is not."""

    status: int
    body: bytes
    warnings: tuple[str, ...] = ()
    wait: float | None = None


def decoded(reply: Reply) -> Object:
    """Raises ApiError for what is no object: a page to log in at, say, of something that stands before the API."""
    try:
        found = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ApiError(f"this is no Kubernetes API: {message(reply)}", "kubectl get --raw /version")
    return found


def message(reply: Reply) -> str:
    """What the server says of a failure in its own words, on one line."""
    try:
        found = str(orjson.loads(reply.body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        found = reply.body.decode(errors="replace").strip().partition("\n")[0]
    return " ".join(found.split()) or f"the API answers {reply.status}"


@dataclass(frozen=True, slots=True)
class Write:
    """A request that the API is to judge, and to answer as if it had done it."""

    method: Literal["POST", "PATCH", "DELETE"]
    path: str
    body: bytes = b""
    content_type: str = "application/json"


class KubeApi:
    """One connection to the API of a context, made when it is needed and kept."""

    def __init__(self, access: Access) -> None:
        """Raises ApiError for an access that nobody could use."""
        self._access = access
        self._socket: socket.socket | None = None
        self._place = _place(access.server)
        if _NO_HEADER.search(access.token):
            raise ApiError(
                f"the token of context {access.context} has control characters", "kubectl config view --minify"
            )

    @property
    def namespace(self) -> str:
        """That of objects that name none."""
        return self._access.namespace

    def __enter__(self) -> KubeApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._disconnect()

    def get(self, paths: Sequence[str]) -> list[Reply]:
        """The replies, in the order of `paths`. Raises ApiError."""
        return self._replies([self._request("GET", path) for path in paths])

    def rehearse(self, writes: Sequence[Write]) -> list[Reply]:
        """What the API says to each, without doing any: they do not see each other either. Raises ApiError."""
        return self._replies(
            [
                self._request(
                    one.method,
                    f"{one.path}{'&' if '?' in one.path else '?'}dryRun=All",
                    one.body,
                    f"Content-Type: {one.content_type}",
                    f"Content-Length: {len(one.body)}",
                )
                for one in writes
            ]
        )

    def _replies(self, requests: Sequence[bytes]) -> list[Reply]:
        """What a busy server puts off is asked again, as client-go does it (rest/with_retry.go)."""
        replies = self._first_replies(requests)
        for _ in range(_TIMES):
            waits = {number: reply.wait for number, reply in enumerate(replies) if reply.wait is not None}
            if not waits:
                break
            time.sleep(min(max(waits.values()), _LONGEST_WAIT))
            for number, reply in zip(waits, self._first_replies([requests[n] for n in waits]), strict=True):
                replies[number] = reply
        return replies

    def _first_replies(self, requests: Sequence[bytes]) -> list[Reply]:
        replies: list[Reply] = []
        while (answered := len(replies)) < len(requests):
            fresh = self._socket is None
            try:
                self._some(_together(requests, answered), replies)
            except (OSError, EOFError, ValueError) as error:
                self._disconnect()
                # a server may close a connection that was idle, or after some replies; another try is then due
                if fresh and len(replies) == answered:
                    raise self._unreachable(error) from error
        return replies

    def _some(self, requests: Sequence[bytes], replies: list[Reply]) -> None:
        """Replies until the server ends the connection."""
        connected = self._connected()
        try:
            connected.sendall(b"".join(requests))
        except OSError:
            connected.recv(1)  # raises what the server said before it hung up, if it said anything
            raise
        with connected.makefile("rb") as reader:
            for _ in requests:
                reply, last = _reply(reader)
                replies.append(reply)
                if last:
                    self._disconnect()
                    return

    def _request(self, method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
        if not _PATH.fullmatch(path) or "#" in path or not {".", ".."}.isdisjoint(path.partition("?")[0].split("/")):
            raise ValueError(f"{path!r} is no path of a URL")
        lines = [f"{method} {self._place.base}{path} HTTP/1.1", f"Host: {self._place.authority}", *headers]
        lines += ["Accept: application/json", "User-Agent: ambientlab"]
        if self._access.token:
            lines.append(f"Authorization: Bearer {self._access.token}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _connected(self) -> socket.socket:
        if self._socket is None:
            secured = tls(self._access) if self._place.tls else None
            if self._access.socket:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.connect(self._access.socket)
            else:
                self._socket = socket.create_connection((self._place.host, self._place.port), _CONNECT_SECONDS)
            self._socket.settimeout(_READ_SECONDS)
            if secured is not None:
                name = self._access.server_name or self._place.host
                self._socket = secured.wrap_socket(self._socket, server_hostname=name)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _unreachable(self, error: Exception) -> ApiError:
        context, server = self._access.context, self._access.server
        why = str(error.strerror or error) if isinstance(error, OSError) else "it does not speak HTTP"
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({error.verify_message})"
        elif isinstance(error, ssl.SSLError) and "_ALERT_" in (error.reason or ""):
            alert = error.reason.partition("_ALERT_")[2].replace("_", " ").lower()
            why = f"it does not take this client's certificate ({alert})"
        return ApiError(
            f"cannot reach the API of context {context} at {server}: {why}", f"kubectl --context {context} version"
        )


def _together(requests: Sequence[bytes], begin: int) -> Sequence[bytes]:
    """Those from `begin` on that may be under way at once."""
    end, size = begin + 1, len(requests[begin])
    while end < len(requests) and (size := size + len(requests[end])) <= _AHEAD:
        end += 1
    return requests[begin:end]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a server is; `base` comes before every path."""

    host: str
    port: int
    authority: str
    base: str
    tls: bool


def _place(server: str) -> _Place:
    """Raises ApiError."""
    try:
        parts = urlsplit(server)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ApiError(f"the kubeconfig's server {server!r} is no URL", "kubectl config view --minify")
    return _Place(parts.hostname, port, parts.netloc, parts.path.rstrip("/"), tls)


def tls(access: Access) -> ssl.SSLContext:
    """How to speak to the server, and whom to take for it. Raises ApiError where the kubeconfig has no PEM for that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif access.authorities:
        with _usable(access, "certificate-authority"):
            # what is between certificates may be written in any language
            context.load_verify_locations(cadata=access.authorities.decode("ascii", "ignore"))
    else:
        context.load_default_certs()
    if access.certificate:
        with (
            _usable(access, "client-certificate or client-key"),
            in_memory(access.certificate) as certificate,
            in_memory(access.key) as key,
        ):
            context.load_cert_chain(certificate, key, password="")  # which asks nobody for one
    return context


@contextlib.contextmanager
def _usable(access: Access, what: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else ""
        why = reason.lower().replace("_", " ") if reason else "it is no PEM"
        message = f"the {what} of context {access.context} cannot be used: {why}"
        raise ApiError(message, "kubectl config view --minify") from error


@contextlib.contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """A file for a library that takes keys only by name; nothing of it reaches a disk."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _reply(reader: BinaryIO) -> tuple[Reply, bool]:
    """The next reply, and whether it is the last on this connection."""
    version, status, *_ = _line(reader).split(" ", 2)
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    headers: dict[str, str] = {}
    warnings: list[str] = []
    while line := _line(reader):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
        if name.lower() == "warning" and (found := _WARNING.match(value.strip())):
            warnings.append(re.sub(r"\\(.)", r"\1", found[1]))
    last = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join(_chunks(reader))
    elif "content-length" in headers:
        body = _exactly(reader, int(headers["content-length"]))
    else:
        body = reader.read()
        last = True
    return Reply(int(status), body, tuple(warnings), _wait(int(status), headers.get("retry-after", ""))), last


def _wait(status: int, after: str) -> float | None:
    return float(after) if (status == 429 or status >= 500) and after.isdecimal() else None


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    while size := int(_line(reader).partition(";")[0], 16):
        yield _exactly(reader, size)
        _line(reader)
    while _line(reader):
        pass


def _line(reader: BinaryIO) -> str:
    line = reader.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise EOFError
    return line.rstrip(b"\r\n").decode("latin-1")


def _exactly(reader: BinaryIO, size: int) -> bytes:
    body = reader.read(size)
    if len(body) < size:
        raise EOFError
    return body
