"""The helloworld sample of Istio: `/hello` names a version and the instance that answered.

One thread over epoll, and only modules that start fast and small: dozens of these share a machine with a mesh.
It runs on its own, outside the package.
"""

import os
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ambientlab.images.programs.listening import listeners
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from listening import listeners

_LIMIT = 16 * 1024  # of a request's head, as most servers set it
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Headers Too Large"}


def respond(head: bytes, bodies: dict[str, bytes]) -> tuple[bytes, bool, int, str]:
    """The response to one request head, whether the connection stays open, and for the log its status and line."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return _encode(400, b"bad request\n", False, False), False, 400, lines[0]
    method, target, version = parts
    connection = headers.get("connection", "").lower()
    keep = connection == "keep-alive" if version == "HTTP/1.0" else connection != "close"
    if "content-length" in headers or "transfer-encoding" in headers:
        keep = keep and headers.get("content-length") == "0"  # a body is not read: it must not pass for a request
    body = bodies.get(target.partition("?")[0])
    status = 404 if body is None else 200 if method in ("GET", "HEAD") else 405
    payload = body if status == 200 and body is not None else _REASONS[status].encode() + b"\n"
    return _encode(status, payload, keep, method == "HEAD"), keep, status, lines[0]


def _encode(status: int, body: bytes, keep: bool, head_only: bool) -> bytes:
    extra = "Allow: GET, HEAD\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/html; charset=utf-8\r\n{extra}"
        f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)


class Connection:
    """Bytes of one client on their way in and out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inbox = b""
        self.outbox = b""
        self.closing = False

    def read(self, bodies: dict[str, bytes]) -> None:
        """Answers every complete request that has arrived; raises ConnectionError when the client is gone."""
        data = self.sock.recv(65536)
        if not data:
            self.closing = True
            return
        self.inbox += data
        while not self.closing:
            head, end, rest = self.inbox.partition(b"\r\n\r\n")
            if len(head) > _LIMIT:
                self.outbox += _encode(431, b"headers too large\n", False, False)
                self.closing = True
            if not end or self.closing:
                break
            self.inbox = rest
            answer, keep, status, line = respond(head, bodies)
            self.outbox += answer
            self.closing = not keep
            print(f'"{line}" {status}', flush=True)

    def write(self) -> None:
        if self.outbox:
            self.outbox = self.outbox[self.sock.send(self.outbox) :]


def serve(listening: list[socket.socket], bodies: dict[str, bytes]) -> None:
    """Serves until the process is told to end."""
    poll = select.epoll()
    for listener in listening:
        listener.setblocking(False)
        poll.register(listener, select.EPOLLIN)
    by_fd = {listener.fileno(): listener for listener in listening}
    connections: dict[int, Connection] = {}
    while True:
        for fd, _ in poll.poll():
            if fd in by_fd:
                _accept(by_fd[fd], poll, connections)
                continue
            connection = connections[fd]
            try:
                if not connection.outbox:
                    connection.read(bodies)
                connection.write()
            except BlockingIOError:
                pass
            except OSError:
                connection.closing, connection.outbox = True, b""
            if connection.outbox:
                poll.modify(fd, select.EPOLLOUT)
            elif connection.closing:
                poll.unregister(fd)
                del connections[fd]
                connection.sock.close()
            else:
                poll.modify(fd, select.EPOLLIN)


def _accept(listener: socket.socket, poll: select.epoll, connections: dict[int, Connection]) -> None:
    try:
        sock, _ = listener.accept()
    except OSError:  # the client gave up, or no descriptor is left: the next one may fare better
        return
    sock.setblocking(False)
    connections[sock.fileno()] = Connection(sock)
    poll.register(sock, select.EPOLLIN)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # PID 1 of a container ignores signals without a handler
    version = os.environ.get("SERVICE_VERSION", "v1")
    instance = os.environ.get("HOSTNAME") or socket.gethostname()
    port = int(os.environ.get("PORT", "5000"))
    bodies = {
        "/hello": f"Hello version: {version}, instance: {instance}\n".encode(),
        "/health": b"Helloworld is healthy\n",
    }
    listening = listeners(port)
    print(f"helloworld {version} listens on :{port}", flush=True)
    serve(listening, bodies)


if __name__ == "__main__":
    main()
