"""Istio's echo server, which the mesh tests of Gateway API's conformance suite run as `echo-advanced`.

It answers over HTTP, h2c, WebSockets, gRPC and TCP with `Key=Value` lines about the request and itself. `?delay=`,
`?codes=` and `?headers=` shape its answers as there (istio/istio, pkg/test/echo).
"""

import os
import random
import signal
import socket
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ambientlab.images.programs import web
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import web

_METHOD = "/proto.EchoTestService/Echo"
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_NOT_FOUND, _UNIMPLEMENTED = 5, 12
_PORTS = {"port": "http", "grpc": "grpc", "tcp": "tcp"}
_VALUES = ("version", "cluster", "crt", "key", "istio-version")
_UNITS = (("ms", 0.001), ("us", 0.000001), ("s", 1.0), ("m", 60.0))


class Settings:
    def __init__(self, arguments: list[str]) -> None:
        """Raises SystemExit for what is no flag of the image."""
        self.ports: dict[int, str] = {}
        self.tls: set[int] = set()
        self.values = dict.fromkeys(_VALUES, "")
        pairs = iter(arguments)
        for argument in pairs:
            name, given, value = argument.removeprefix("--").partition("=")
            if not argument.startswith("--") or name not in (*_PORTS, *_VALUES, "tls"):
                sys.exit(f"Error: unknown flag: {argument}")
            value = value if given else next(pairs, "")
            if name in _VALUES:
                self.values[name] = value
                continue
            for port in value.split(","):
                if not port.isdigit():
                    sys.exit(f"Error: invalid argument {value!r} for --{name}")
                if name == "tls":
                    self.tls.add(int(port))
                else:
                    self.ports[int(port)] = _PORTS[name]
        for name, kind, default in (("port", "http", 8080), ("grpc", "grpc", 7070), ("tcp", "tcp", 9090)):
            if not any(argument.startswith(f"--{name}") for argument in arguments):
                self.ports.setdefault(default, kind)


class Echo:
    def __init__(self, settings: Settings) -> None:
        self._values = settings.values
        self._hostname = web.hostname()
        self._namespace = os.environ.get("NAMESPACE", "")

    def http(self, request: web.Request) -> web.Response:
        if request.header("Content-Type").startswith("application/grpc"):
            return self._grpc(request)
        parameters = request.parameters()
        time.sleep(seconds(parameters.get("delay", "")))
        status = chosen(parameters.get("codes", ""))
        headers = [("Content-Type", "application/text"), ("Date", time.strftime("%a, %d %b %Y %T GMT", time.gmtime()))]
        for pair in filter(None, parameters.get("headers", "").split(",")):
            name, _, value = pair.partition(":")
            headers.append((name, value))
        print(f"{request.protocol} {request.method} {request.target} {status}", flush=True)
        return web.Response(status, headers, self._told(request))

    def message(self, request: web.Request, message: bytes) -> bytes:
        """The answer to a WebSocket's only message."""
        print(f"WebSocket {request.target}", flush=True)
        return self._told(request) + message + b"StatusCode=200\n"

    def _told(self, request: web.Request) -> bytes:
        lines = self._about(request.port, Host=request.host, URL=request.target)
        lines += [f"Method={request.method}", f"Proto={request.protocol}", f"IP={request.peer}"]
        lines += [f"RequestHeader={name}:{value}" for name, value in request.headers]
        return self._text(lines)

    def _grpc(self, request: web.Request) -> web.Response:
        message = web.first_field((web.grpc_messages(request.body) or [b""])[0])
        if request.target == _HEALTH:
            return web.grpc_error(_NOT_FOUND, "unknown service") if message else web.grpc_answer(_SERVING)
        if request.target != _METHOD:
            return web.grpc_error(_UNIMPLEMENTED, f"unknown method {request.target}")
        metadata = [(name, value) for name, value in request.raw if name == ":authority" or not name.startswith(":")]
        lines = [f"RequestHeader={name}:{value}" for name, value in metadata if not name.endswith("-bin")]
        lines += ["StatusCode=200", *self._about(request.port, Host=request.host)]
        lines += [f"IP={request.peer}", "Proto=GRPC", f"Echo={message}"]
        print(f"GRPC {request.target}", flush=True)
        return web.grpc_answer(web.field(1, self._text(lines)))

    def tcp(self, connection: socket.socket) -> None:
        peer, port = connection.getpeername()[0], connection.getsockname()[1]
        lines = ["StatusCode=200", *self._about(port), f"IP={peer}", "Proto=TCP"]
        first = True
        while data := connection.recv(65536):
            if first:
                connection.sendall(self._text(lines))
                first = False
            connection.sendall(data)

    def _about(self, port: int, **more: str) -> list[str]:
        known = {
            "ServiceVersion": self._values["version"],
            "ServicePort": str(port),
            **more,
            "Cluster": self._values["cluster"],
            "IstioVersion": self._values["istio-version"],
            "Namespace": self._namespace,
        }
        return [f"{name}={value}" for name, value in known.items() if value or name.startswith("Service")]

    def _text(self, lines: list[str]) -> bytes:
        return "".join(f"{line}\n" for line in [*lines, f"Hostname={self._hostname}"]).encode()


def seconds(text: str) -> float:
    """Of a duration such as `100ms`; 0 for what is none."""
    for unit, factor in _UNITS:
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * factor
    return 0.0


def chosen(codes: str) -> int:
    """One of `500:90,200:10`, as likely as its share; 200 without any."""
    shares = [(code, share) for code, _, share in (part.partition(":") for part in codes.split(",") if part)]
    valid = [(int(code), int(share or 1)) for code, share in shares if code.isdigit() and (share or "1").isdigit()]
    if not valid:
        return 200
    return random.choices([code for code, _ in valid], [share for _, share in valid])[0]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # PID 1 of a container ignores signals without a handler
    settings = Settings(sys.argv[1:])
    echo = Echo(settings)
    context = None
    if settings.tls and os.path.exists(settings.values["crt"]):
        import ssl  # noqa: PLC0415  # few have a certificate, and every start would pay

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.values["crt"], settings.values["key"])
        context.set_alpn_protocols(["h2", "http/1.1"])
    for port, kind in settings.ports.items():
        if port in settings.tls and context is None:
            print(f"no certificate at {settings.values['crt']!r}: nothing listens on :{port}", flush=True)
            continue
        serve = echo.tcp if kind == "tcp" else web.http(echo.http, echo.message)
        web.listen(port, serve, context if port in settings.tls else None)
        print(f"echo listens on :{port} ({kind})", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
