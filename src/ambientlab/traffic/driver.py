"""Sends HTTP/1.1 requests from where it runs, and says of each what became of it.

The text of this module is piped into an interpreter inside a pod, so it needs nothing but the standard library of
Python 3.8. Its argument is a JSON object:

    host, port, method, target, headers   the request
    number                                how many; 0 for as many as fit into `seconds`
    seconds, rate                         when to begin no more, and how many to begin a second; 0 for no limit
    parallel, reuse                       how many at once, and whether connections are used again
    patience                              seconds that one may take
    header, body                          the header, and how many bytes of the body, to tell of an answer

Each answer is a line, a JSON array: seconds since the start at which it was asked, seconds it took, status (0 for
none), what went wrong instead ("" for nothing), milliseconds the service says it needed, the header's value, the body.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import sys
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeVar

    _Result = TypeVar("_Result")
    Bytes = Generator[None, bytes, _Result]
    """Waits for bytes, none being the end of the stream, and returns what it made of them."""

EMPTY = "empty reply"

_FLUSH = 0.05  # seconds that a line may wait for others
_LARGEST_HEAD = 65536
_PROBLEMS = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset"}


class Response:
    """What has come of one response. `done` when it is whole; `keep` says whether the connection outlives it."""

    def __init__(self, method: str, limit: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.keep = False
        self.done = False
        self._limit = limit  # bytes of the body that somebody wants to see
        self._bodiless = method == "HEAD"
        self._rest = b""
        self._parser = self._parse()
        next(self._parser)

    def feed(self, data: bytes) -> None:
        """The next bytes; none at the end of the stream. Raises ValueError for what is no response of HTTP/1.1."""
        try:
            self._parser.send(data)
        except StopIteration:
            self.done = True

    def _parse(self) -> Bytes[None]:
        while self.status < 200:  # others come before the response
            self._head((yield from self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n"))
        if self._bodiless or self.status in (204, 304):
            return
        if self.headers.get("transfer-encoding", "").lower().endswith("chunked"):
            while size := int((yield from self._until(b"\r\n")).partition(b";")[0], 16):
                yield from self._take(size)
                yield from self._until(b"\r\n")
            while (yield from self._until(b"\r\n")):
                pass  # trailers
        elif "content-length" in self.headers:
            yield from self._take(int(self.headers["content-length"]))
        else:
            self.keep = False
            self._show(self._rest)
            while data := (yield):
                self._show(data)

    def _head(self, lines: list[str]) -> None:
        version, status, *_ = [*lines[0].split(" "), ""]
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise ValueError("no response of HTTP/1.1")
        self.status = int(status)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])}
        self.keep = version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"

    def _until(self, mark: bytes) -> Bytes[bytes]:
        while mark not in self._rest:
            if len(self._rest) > _LARGEST_HEAD:
                raise ValueError("headers too large")
            yield from self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _take(self, size: int) -> Bytes[None]:
        while True:
            piece, self._rest = self._rest[:size], self._rest[size:]
            self._show(piece)
            size -= len(piece)
            if not size:
                return
            yield from self._more()

    def _more(self) -> Bytes[None]:
        data = yield
        if not data:
            raise ValueError("connection closed within the response" if self.status or self._rest else EMPTY)
        self._rest += data

    def _show(self, data: bytes) -> None:
        self.body += data[: max(0, self._limit - len(self.body))]


class Exchange:
    """One request and its response, on a connection that may have served others."""

    def __init__(self, plan: Plan, connection: socket.socket | None) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + plan.patience
        self.response = Response(plan.method, plan.body)
        self.fresh = connection is None
        self.socket = connection or socket.socket(plan.family, socket.SOCK_STREAM)
        self._unsent = plan.request
        if connection is None:
            self.socket.setblocking(False)
            self.socket.connect_ex(plan.address)

    def write(self) -> bool:
        """Returns whether all is sent. Raises OSError."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self._unsent = self._unsent[self.socket.send(self._unsent) :]
        return not self._unsent

    def read(self) -> None:
        """Raises OSError and ValueError."""
        self.response.feed(self.socket.recv(65536))


class Plan:
    def __init__(self, given: dict[str, Any]) -> None:
        self.method = given["method"]
        self.number, self.seconds, self.rate = given["number"], given["seconds"], given["rate"]
        self.parallel, self.reuse, self.patience = given["parallel"], given["reuse"], given["patience"]
        self.header, self.body = given["header"].lower(), given["body"]
        found = socket.getaddrinfo(given["host"], given["port"], type=socket.SOCK_STREAM)[0]
        self.family: int = found[0]
        self.address: Any = found[4]
        names = {name.lower() for name, _ in given["headers"]}
        host = f"[{given['host']}]" if ":" in given["host"] else given["host"]
        authority = host if given["port"] == 80 else f"{host}:{given['port']}"
        own = [("Host", authority), ("User-Agent", "ambientlab"), ("Accept", "*/*")]
        if not self.reuse:
            own.append(("Connection", "close"))
        lines = [f"{self.method} {given['target']} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in own if name.lower() not in names]
        lines += [f"{name}: {value}" for name, value in given["headers"]]
        self.request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class Driver:
    def __init__(self, plan: Plan, out: IO[str]) -> None:
        self.plan = plan
        self._out = out
        self._lines: list[str] = []
        self._flushed = 0.0
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, Exchange] = {}
        self._idle: list[socket.socket] = []
        self._started = 0
        self._start = time.monotonic()

    def run(self) -> None:
        while True:
            now = time.monotonic()
            due = self._begin(now)
            if not self._open and due is None:
                break
            wait = [exchange.deadline for exchange in self._open.values()]
            wait += [due] if due is not None and len(self._open) < self.plan.parallel else []
            wait += [self._flushed + _FLUSH] if self._lines else []
            for key, mask in self._selector.select(max(0.0, min(wait) - now)):
                self._progress(key.data, mask)
            self._expire(time.monotonic())
            self._flush(False)
        self._flush(True)

    def _begin(self, now: float) -> float | None:
        """Starts what may be started; returns when the next may be, None if there is none."""
        plan = self.plan
        while True:
            over = plan.seconds and now - self._start >= plan.seconds
            if over or (plan.number and self._started >= plan.number):
                return None
            due = self._start + self._started / plan.rate if plan.rate else now
            if plan.seconds and due - self._start >= plan.seconds:
                return None
            if due > now or len(self._open) >= plan.parallel:
                return due
            self._started += 1
            self._send(Exchange(plan, self._idle.pop() if self._idle else None))

    def _send(self, exchange: Exchange) -> None:
        self._open[exchange.socket.fileno()] = exchange
        self._selector.register(exchange.socket, selectors.EVENT_WRITE, exchange)

    def _progress(self, exchange: Exchange, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                if exchange.write():
                    self._selector.modify(exchange.socket, selectors.EVENT_READ, exchange)
            else:
                exchange.read()
                if exchange.response.done:
                    self._finish(exchange, "")
        except BlockingIOError:
            pass
        except OSError as error:
            if exchange.fresh or exchange.response.status:
                self._finish(exchange, _PROBLEMS.get(error.errno or 0) or error.strerror or str(error))
            else:
                self._again(exchange)
        except ValueError as error:
            if exchange.fresh or str(error) != EMPTY:
                self._finish(exchange, str(error))
            else:
                self._again(exchange)

    def _again(self, exchange: Exchange) -> None:
        """The server had closed a connection that it could have kept: the request is sent on a new one."""
        self._release(exchange)
        exchange.socket.close()
        renewed = Exchange(self.plan, None)
        renewed.began, renewed.deadline = exchange.began, exchange.deadline
        self._send(renewed)

    def _expire(self, now: float) -> None:
        for exchange in [e for e in self._open.values() if e.deadline <= now]:
            self._finish(exchange, "timeout")

    def _release(self, exchange: Exchange) -> None:
        del self._open[exchange.socket.fileno()]
        self._selector.unregister(exchange.socket)

    def _finish(self, exchange: Exchange, problem: str) -> None:
        response = exchange.response
        self._release(exchange)
        if self.plan.reuse and response.keep and not problem:
            self._idle.append(exchange.socket)
        else:
            exchange.socket.close()
        try:
            service = int(response.headers.get("x-envoy-upstream-service-time", 0))
        except ValueError:
            service = 0
        self._lines.append(
            json.dumps(
                [
                    round(exchange.began - self._start, 6),
                    round(time.monotonic() - exchange.began, 6),
                    0 if problem else response.status,
                    problem,
                    service,
                    response.headers.get(self.plan.header, "") if self.plan.header else "",
                    response.body[: self.plan.body].decode("utf-8", "replace"),
                ]
            )
        )

    def _flush(self, last: bool) -> None:
        now = time.monotonic()
        if self._lines and (last or now - self._flushed >= _FLUSH):
            self._out.write("\n".join(self._lines) + "\n")
            self._out.flush()
            self._lines, self._flushed = [], now


def main() -> None:
    asked = json.loads(sys.argv[1])
    try:
        plan = Plan(asked)
    except socket.gaierror as error:
        sys.exit(f"cannot resolve the host {asked['host']}: {error.strerror}")
    with contextlib.suppress(BrokenPipeError):
        Driver(plan, sys.stdout).run()


if __name__ == "__main__":
    main()
