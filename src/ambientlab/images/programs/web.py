"""Serving HTTP/1.1, WebSockets, HTTP/2 with prior knowledge and gRPC on the same ports, a thread for each connection.

What the echo images have in common; they run on their own, outside the package, and start in milliseconds.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from ambientlab.images.programs import http2
    from ambientlab.images.programs.hpack import Header
    from ambientlab.images.programs.listening import listeners
else:
    import http2
    from hpack import Header
    from listening import listeners

_LIMIT = 64 * 1024  # of a request's head
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REASONS = {200: "OK", 101: "Switching Protocols", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}


class Request:
    """`headers` are without Host and pseudo-headers, their names as Go's canonical form has them."""

    def __init__(self, method: str, target: str, protocol: str, headers: list[Header], body: bytes) -> None:
        self.method = method
        self.target = target
        self.protocol = protocol
        self.host = next((value for name, value in headers if name.lower() in ("host", ":authority")), "")
        own = [header for header in headers if header[0].lower() != "host" and not header[0].startswith(":")]
        self.headers = by_name((canonical(name), value) for name, value in own)
        self.raw = headers
        self.body = body
        self.peer = ""
        self.port = 0

    def header(self, name: str) -> str:
        return next((value for each, value in self.headers if each == name), "")

    def parameters(self) -> dict[str, str]:
        query = self.target.partition("?")[2]
        return {name: value for name, _, value in (part.partition("=") for part in query.split("&")) if name}


class Response:
    """With `trailers`, an answer of gRPC."""

    def __init__(self, status: int, headers: list[Header], body: bytes, trailers: list[Header] | None = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.trailers = trailers


Handler = Callable[[Request], Response]
Answer = Callable[[Request, bytes], bytes]


def by_name(headers: Iterable[Header]) -> list[Header]:
    """Values of one name stay in their order."""
    return sorted(headers, key=lambda header: header[0])


def canonical(name: str) -> str:
    """`x-request-id` as `X-Request-Id` (Go, textproto.CanonicalMIMEHeaderKey)."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def listen(port: int, serve: Callable[[socket.socket], None], context: "ssl.SSLContext | None" = None) -> None:
    """Serves each connection in a thread of its own, from now on. Raises OSError if the port cannot be had."""

    def run(connection: socket.socket) -> None:
        with connection:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if context is None:
                    serve(connection)
                else:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        serve(secured)
            except (OSError, http2.ProtocolError) as error:
                print(f"connection on :{port} ended: {error}", file=sys.stderr, flush=True)

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # the client gave up, or no descriptor is left: the next one may fare better
                continue
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    for listener in listeners(port):
        threading.Thread(target=accept, args=(listener,), daemon=True).start()


def http(handler: Handler, answer_message: Answer | None = None) -> Callable[[socket.socket], None]:
    """WebSockets echo their messages, or have the first one answered."""

    def serve(connection: socket.socket) -> None:
        peer, port = connection.getpeername()[0], connection.getsockname()[1]

        def answer(request: Request) -> Response:
            request.peer, request.port = peer, port
            return handler(request)

        reader = Reader(connection)
        if reader.starts_with(http2.PREFACE[:16]):
            _serve_http2(connection, reader, answer)
        else:
            _serve_http1(connection, reader, answer, answer_message)

    return serve


class Reader:
    """Of HTTP/1.1 from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def starts_with(self, start: bytes) -> bool:
        while len(self._buffer) < len(start) and start.startswith(self._buffer):
            if not self._more():
                return False
        return self._buffer.startswith(start)

    def until(self, end: bytes) -> bytes:
        """Empty at the end of the connection."""
        while end not in self._buffer:
            if len(self._buffer) > _LIMIT or not self._more():
                return b""
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise ConnectionResetError("the other end went away within a message")
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def rest(self) -> bytes:
        while self._more():
            pass
        return self.some()

    def some(self) -> bytes:
        if not self._buffer:
            self._more()
        found, self._buffer = self._buffer, b""
        return found

    def _more(self) -> bool:
        data = self._connection.recv(65536)
        self._buffer += data
        return bool(data)


def _serve_http1(connection: socket.socket, reader: Reader, handler: Handler, answer_message: Answer | None) -> None:
    while head := reader.until(b"\r\n\r\n"):
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            connection.sendall(_encode(Response(400, [], b"bad request\n"), keep=False, head_only=False))
            return
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        fields = {name.lower(): value for name, value in headers}
        if fields.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in fields.get("transfer-encoding", "").lower():
            body = b"".join(chunks(reader))
        else:
            body = reader.exactly(int(fields.get("content-length") or 0))
        if fields.get("upgrade", "").lower() == "websocket":
            request = Request(parts[0], parts[1], parts[2], headers, body)
            request.peer, request.port = connection.getpeername()[0], connection.getsockname()[1]
            _serve_websocket(connection, reader, request, answer_message)
            return
        connection_field = fields.get("connection", "").lower()
        keep = connection_field != "close" if parts[2] != "HTTP/1.0" else connection_field == "keep-alive"
        response = handler(Request(parts[0], parts[1], parts[2], headers, body))
        connection.sendall(_encode(response, keep, head_only=parts[0] == "HEAD"))
        if not keep:
            return


def chunks(reader: Reader) -> Iterator[bytes]:
    while size := int(reader.until(b"\r\n").partition(b";")[0] or b"0", 16):
        yield reader.exactly(size)
        reader.exactly(2)
    while reader.until(b"\r\n"):
        pass  # trailers


def _encode(response: Response, keep: bool, head_only: bool) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    lines += [f"Content-Length: {len(response.body)}", *(() if keep else ("Connection: close",)), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if head_only else response.body)


def _serve_http2(connection: socket.socket, reader: Reader, handler: Handler) -> None:
    state = http2.Connection(client=False)
    while not state.closed:
        if state.outbox:
            out, state.outbox = state.outbox, b""
            connection.sendall(out)
        data = reader.some()
        if not data:
            return
        for message in state.receive(data):
            if message.reset is None:
                fields = dict(message.headers)
                response = handler(
                    Request(
                        fields.get(":method", ""), fields.get(":path", ""), "HTTP/2.0", message.headers, message.body
                    )
                )
                headers = [(name.lower(), value) for name, value in response.headers]
                status = [(":status", str(response.status))]
                state.send(message.stream, status + headers, response.body, response.trailers)


def _serve_websocket(connection: socket.socket, reader: Reader, request: Request, answer: Answer | None) -> None:
    """Each message goes back to where it came from (RFC 6455), or the first is answered."""
    import base64  # noqa: PLC0415  # few connections come here, and every start would pay
    import hashlib  # noqa: PLC0415

    key = request.header("Sec-Websocket-Key").encode()
    accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET).digest()).decode()
    connection.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, payload = read_frame(reader)
        closing = first & 15 == 8
        connection.sendall(frame(first, payload if answer is None or closing else answer(request, payload)))
        if closing or answer is not None:
            return


def read_frame(reader: Reader) -> tuple[int, bytes]:
    """A WebSocket frame's first byte and its payload."""
    first, second = reader.exactly(2)
    size = second & 127
    if size > 125:
        size = int.from_bytes(reader.exactly(2 if size == 126 else 8), "big")
    mask = reader.exactly(4) if second & 128 else bytes(4)
    return first, bytes(byte ^ mask[at % 4] for at, byte in enumerate(reader.exactly(size)))


def frame(first: int, payload: bytes, *, client: bool = False) -> bytes:
    """A client has to mask what it sends; zeros change nothing."""
    size, masked = len(payload), 128 if client else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 65536:
        length = bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([masked | 127]) + size.to_bytes(8, "big")
    return bytes([first]) + length + (bytes(4) if client else b"") + payload


def grpc_messages(body: bytes) -> list[bytes]:
    """The messages of a request or an answer; compressed ones are nobody's here."""
    found = []
    while len(body) >= 5:
        size = int.from_bytes(body[1:5], "big")
        found.append(body[5 : 5 + size])
        body = body[5 + size :]
    return found


def grpc_message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def field(number: int, value: bytes | str) -> bytes:
    """A field of a protobuf message that holds bytes, a string or another message."""
    data = value.encode() if isinstance(value, str) else value
    size, length = len(data), bytearray()
    while size >= 128:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | 2]) + bytes(length) + data


def first_field(message: bytes) -> str:
    """The text in field 1 of a message that has no other."""
    if not message or message[0] != 1 << 3 | 2:
        return ""
    at, size, shift = 1, 0, 0
    while True:
        size |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if not message[at - 1] & 128:
            return message[at : at + size].decode(errors="replace")


def grpc_answer(message: bytes) -> Response:
    headers = [("content-type", "application/grpc")]
    return Response(200, headers, grpc_message(message), [("grpc-status", "0")])


def grpc_error(status: int, text: str) -> Response:
    headers = [("content-type", "application/grpc"), ("grpc-status", str(status)), ("grpc-message", text)]
    return Response(200, headers, b"")


def hostname() -> str:
    return os.environ.get("HOSTNAME") or socket.gethostname()
