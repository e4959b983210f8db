"""The echo server of Gateway API's conformance suite: what it saw of a request, as JSON; over gRPC as its messages.

Ports and names come from the environment, as in its manifests: HTTP_PORT, H2C_PORT, NAMESPACE, POD_NAME ...;
GRPC_ECHO_SERVER and TCP_ECHO_SERVER make it another server (conformance/echo-basic).
"""

import json
import os
import signal
import socket
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ambientlab.images.programs import web
    from ambientlab.images.programs.echo_server import seconds
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import web
    from echo_server import seconds

_SERVICE = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"
_UNIMPLEMENTED = 12
_CONTEXT = {"namespace": "NAMESPACE", "ingress": "INGRESS_NAME", "service": "SERVICE_NAME", "pod": "POD_NAME"}


def context() -> dict[str, str]:
    return {name: os.environ.get(variable, "") for name, variable in _CONTEXT.items()}


def respond(request: web.Request) -> web.Response:
    path = request.target.partition("?")[0]
    print(f"Echoing back request made to {request.target} to client ({request.peer})", flush=True)
    if path == "/health":
        return web.Response(200, [], b"OK")
    if path.startswith("/status/"):
        code = path.removeprefix("/status/")
        return web.Response(int(code) if len(code) == 3 and code.isdigit() else 400, [], b"")
    time.sleep(seconds(request.parameters().get("delay", "")))
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
    seen = {
        "path": request.target,
        "host": request.host,
        "method": request.method,
        "proto": request.protocol,
        "headers": headers,
        "httpPort": os.environ.get("HTTP_PORT") or "3000",
        **context(),
    }
    answer: dict[str, str] = {}
    for listed in headers.get("X-Echo-Set-Header", []):
        for pair in listed.split(","):
            name, _, value = pair.strip().partition(":")
            answer[name] = f"{answer[name]},{value.strip()}" if name in answer else value
    answer |= {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
    return web.Response(200, list(answer.items()), json.dumps(seen, indent=1).encode())


def respond_grpc(request: web.Request) -> web.Response:
    if request.target not in (f"{_SERVICE}/Echo", f"{_SERVICE}/EchoTwo"):
        return web.grpc_error(_UNIMPLEMENTED, f"method {request.target} not implemented")
    headers = [web.field(1, name.lower()) + web.field(2, value) for name, value in request.headers]
    about = b"".join(web.field(number, value) for number, value in enumerate(context().values(), 1) if value)
    assertions = web.field(1, request.target) + b"".join(web.field(2, header) for header in headers)
    assertions += web.field(3, request.host) + web.field(4, about)
    asked = (web.grpc_messages(request.body) or [b""])[0]
    answer = web.grpc_message(web.field(1, assertions) + web.field(2, asked))
    return web.Response(200, [("content-type", "application/grpc")], answer, [("grpc-status", "0")])


def respond_tcp(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # PID 1 of a container ignores signals without a handler
    http_port = int(os.environ.get("HTTP_PORT") or 3000)
    serves = {http_port: web.http(respond), int(os.environ.get("H2C_PORT") or 3001): web.http(respond)}
    if os.environ.get("GRPC_ECHO_SERVER"):
        serves = {http_port: web.http(respond_grpc)}
    elif os.environ.get("TCP_ECHO_SERVER"):
        serves = {int(os.environ.get("TCP_PORT") or 3000): respond_tcp}
    for port, serve in serves.items():
        web.listen(port, serve)
        print(f"Starting server, listening on port {port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
