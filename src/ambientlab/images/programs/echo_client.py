"""`client`, the command of the echo image that conformance tests exec: `client URL [--method=GET] [-H name:value] ...`.

It prints what it did and got as `[n] Key=Value` and `[n body] line`, n being the request's number, which is what the
suite's parser reads (istio/istio, pkg/test/echo/cmd/client).
"""

import os
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ambientlab.images.programs import http2, web
    from ambientlab.images.programs.hpack import Header
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import http2
    import web
    from hpack import Header

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "grpc": 7070, "tcp": 9090}
_METHOD = "/proto.EchoTestService/Echo"
_VALUES = {"count": "1", "timeout": "5s", "qps": "0", "msg": "HelloWorld", "method": "", "server-name": ""}
_SWITCHES = {"http2", "follow-redirects", "new-connection-per-request", "insecure-skip-verify"}
_SHORT = {"-H": "header", "-k": "insecure-skip-verify", "-L": "follow-redirects"}
_UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0))
_MOST_REDIRECTS = 10


class Options:
    def __init__(self, arguments: list[str]) -> None:
        """Raises SystemExit for what the command would not take."""
        self.values = dict(_VALUES)
        self.switches: set[str] = set()
        self.headers: list[Header] = []
        urls = []
        pairs = iter(arguments)
        for argument in pairs:
            name, given, value = argument.partition("=")
            name = _SHORT.get(name, name.removeprefix("--") if name.startswith("--") else "")
            if not argument.startswith("-"):
                urls.append(argument)
            elif name in _SWITCHES:
                if value != "false":
                    self.switches.add(name)
            elif name == "header" or name in _VALUES:
                value = value if given else next(pairs, "")
                if name == "header":
                    self.headers += [_header(each) for each in value.split(",")]
                else:
                    self.values[name] = value
            else:
                sys.exit(f"Error: unknown flag: {argument}")
        if len(urls) != 1:
            sys.exit(f"Error: accepts 1 arg(s), received {len(urls)}")
        self.url = urls[0]
        self.timeout = next(
            (float(text) * by for unit, by in _UNITS if (text := _without(self.values["timeout"], unit))), 5.0
        )


def _header(text: str) -> Header:
    name, colon, value = text.partition(":")
    if not colon:
        sys.exit(f"Error: invalid header format: {text!r} (want name:value)")
    return web.canonical(name.strip()), value.strip()


def _without(text: str, unit: str) -> str:
    number = text.removesuffix(unit)
    return number if number != text and number.replace(".", "", 1).isdigit() else ""


class Target:
    def __init__(self, url: str) -> None:
        self.scheme, _, rest = url.partition("://")
        if self.scheme not in _PORTS:
            sys.exit(f"Error: no protocol for {url!r}: want http, https, ws, wss, grpc or tcp")
        self.authority, slash, path = rest.partition("/")
        self.path = slash + path or "/"
        host, colon, port = self.authority.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = self.authority, str(_PORTS[self.scheme])
        self.host, self.port = host.strip("[]"), int(port)


class Client:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.host = next((value for name, value in options.headers if name == "Host"), "")
        self.headers = [header for header in options.headers if header[0] != "Host"]

    def request(self, number: int) -> list[str]:
        """The lines about one request. Raises OSError."""
        target = Target(self.options.url)
        if target.scheme == "grpc":
            return [f"[{number} body] {line}" for line in self._grpc(target)]
        lines = [f"[{number}] Url={self.options.url}"]
        if target.scheme == "tcp":
            return lines + [f"[{number} body] {line}" for line in self._tcp(target)]
        lines += [f"[{number}] Header={name}:{value}" for name, value in self.options.headers]
        if target.scheme in ("ws", "wss"):
            return lines + [f"[{number} body] {line}" for line in self._websocket(target)]
        begun = time.monotonic()
        for _ in range(_MOST_REDIRECTS):
            source, status, headers, body = self._http(target)
            location = next((value for name, value in headers if name == "Location"), "")
            if "follow-redirects" not in self.options.switches or not 300 <= status < 400 or not location:
                break
            target = Target(location if "://" in location else f"{target.scheme}://{target.authority}{location}")
        lines += [
            f"[{number}] SourceIP={source}",
            f"[{number}] Latency={(time.monotonic() - begun) * 1000:.3f}ms",
            f"[{number}] StatusCode={status}",
        ]
        lines += [f"[{number}] ResponseHeader={name}:{value}" for name, value in web.by_name(headers)]
        return lines + [f"[{number} body] {line}" for line in body.decode(errors="replace").split("\n") if line]

    def _connect(self, target: Target) -> socket.socket:
        connection = socket.create_connection((target.host, target.port), timeout=self.options.timeout)
        if target.scheme not in ("https", "wss"):
            return connection
        import ssl  # noqa: PLC0415  # most requests are plain, and every one would pay

        context: ssl.SSLContext = ssl.create_default_context()
        if "insecure-skip-verify" in self.options.switches:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection, server_hostname=self.options.values["server-name"] or target.host)

    def _http(self, target: Target) -> tuple[str, int, list[Header], bytes]:
        """Source address, status, headers and body."""
        method = self.options.values["method"] or "GET"
        with self._connect(target) as connection:
            source: str = connection.getsockname()[0]
            if "http2" in self.options.switches:
                return (source, *_exchange(connection, self._head(target, method, target.scheme), b"")[:3])
            self._ask(connection, target, method, [("User-Agent", "Go-http-client/1.1")])
            return (source, *_answer(web.Reader(connection), method))

    def _ask(self, connection: socket.socket, target: Target, method: str, headers: list[Header]) -> None:
        """Sends the head of a request of HTTP/1.1."""
        headers = [("Host", self.host or target.authority), *headers, *self.headers]
        lines = [f"{method} {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _websocket(self, target: Target) -> list[str]:
        key = "dGhlIHNhbXBsZSBub25jZQ=="  # any will do: only the server is to prove what it speaks
        upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key)]
        with self._connect(target) as connection:
            self._ask(connection, target, "GET", [*upgrade, ("Sec-WebSocket-Version", "13")])
            reader = web.Reader(connection)
            status, _, _ = _answer(reader, "HEAD")
            if status != 101:
                raise OSError(f"websocket: bad handshake: HTTP status {status}")
            connection.sendall(web.frame(0x81, self.options.values["msg"].encode(), client=True))
            _, payload = web.read_frame(reader)
        return [line for line in payload.decode(errors="replace").split("\n") if line]

    def _head(self, target: Target, method: str, scheme: str) -> list[Header]:
        authority = self.host or target.authority
        pseudo = [(":method", method), (":scheme", scheme), (":path", target.path), (":authority", authority)]
        return pseudo + [(name.lower(), value) for name, value in self.headers]

    def _grpc(self, target: Target) -> list[str]:
        target.path = _METHOD
        head = [*self._head(target, "POST", "http"), ("content-type", "application/grpc"), ("te", "trailers")]
        body = web.grpc_message(web.field(1, self.options.values["msg"]))
        with self._connect(target) as connection:
            status, headers, answer, trailers = _exchange(connection, head, body)
        fields = {**{name.lower(): value for name, value in headers}, **dict(trailers)}
        if status != 200 or fields.get("grpc-status", "0") != "0":
            raise OSError(
                f"rpc error: code = {fields.get('grpc-status', 'Unknown')} "
                f"desc = {fields.get('grpc-message') or f'unexpected HTTP status code: {status}'}"
            )
        message = web.first_field((web.grpc_messages(answer) or [b""])[0])
        lines = [line for line in message.split("\n") if line]
        return lines + [f"ResponseHeader={name}:{value}" for name, value in web.by_name(headers)]

    def _tcp(self, target: Target) -> list[str]:
        with self._connect(target) as connection:
            connection.sendall(self.options.values["msg"].encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return [line for line in answer.decode(errors="replace").split("\n") if line]


def _answer(reader: web.Reader, method: str) -> tuple[int, list[Header], bytes]:
    head = reader.until(b"\r\n\r\n").decode("latin-1")
    if not head.startswith("HTTP/1."):
        raise OSError("malformed HTTP response" if head else "the server closed the connection without an answer")
    lines = head.split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = [
        (web.canonical(name.strip()), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])
    ]
    fields = dict(headers)
    if method == "HEAD" or status in (204, 304):
        body = b""
    elif fields.get("Transfer-Encoding") == "chunked":
        body = b"".join(web.chunks(reader))
    elif "Content-Length" in fields:
        body = reader.exactly(int(fields["Content-Length"]))
    else:
        body = reader.rest()
    return status, headers, body


def _exchange(
    connection: socket.socket, head: list[Header], body: bytes
) -> tuple[int, list[Header], bytes, list[Header]]:
    """One request over HTTP/2: status, headers, body and trailers of the answer."""
    state = http2.Connection(client=True)
    stream = state.request(head, body)
    while True:
        out, state.outbox = state.outbox, b""
        connection.sendall(out)
        data = connection.recv(65536)
        if not data:
            raise OSError("the server closed the connection without an answer")
        for message in state.receive(data):
            if message.stream == stream:
                if message.reset is not None:
                    raise OSError(f"the server reset the stream: code {message.reset}")
                fields = dict(message.headers)
                headers = [(web.canonical(k), v) for k, v in message.headers if not k.startswith(":")]
                return int(fields.get(":status", "0")), headers, message.body, message.trailers


def main() -> None:
    options = Options(sys.argv[1:])
    client = Client(options)
    count, qps = int(options.values["count"] or 1), int(options.values["qps"] or 0)
    for number in range(count):
        try:
            lines = client.request(number)
        except (OSError, http2.ProtocolError) as error:
            sys.exit(f"Error {error}")
        print("\n".join(lines), flush=True)
        if qps and number + 1 < count:
            time.sleep(1 / qps)
    print(f"All {count} requests succeeded", file=sys.stderr)


if __name__ == "__main__":
    main()
