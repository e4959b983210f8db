"""What a probe or a lifecycle hook does: run a command, send a GET, open a connection, ask a gRPC server.

Messages are the kubelet's (pkg/probe/{http,tcp,exec,grpc}), because people search for them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio

from ambientlab.api.objects import Object
from ambientlab.flow.clock import Clock, sleep
from ambientlab.node.agent.waiting import within

_USER_AGENT = "kube-probe/1.37"
_LONGEST_SERVICE = 127  # of which a length takes one byte
_READ_LIMIT = 10 * 1024  # as much of an answer as a kubelet reads


@dataclass(frozen=True, slots=True)
class Outcome:
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The container acted upon. `run` executes a command in it and returns exit code and output."""

    ip: str
    ports: Mapping[str, int]
    run: Callable[[Sequence[str]], Awaitable[tuple[int, bytes]]]

    def port(self, value: int | str) -> int:
        """A port given as a number or by the name of a container port. Raises ValueError."""
        if isinstance(value, int):
            return value
        if value in self.ports:
            return self.ports[value]
        if value.isascii() and value.isdigit():
            return int(value)
        raise ValueError(f"couldn't find port: {value}")


async def act(handler: Object, target: Target, clock: Clock, timeout: float) -> Outcome:
    """Performs a v1.Probe or v1.LifecycleHandler once, for at most `timeout` seconds. Never raises."""
    try:
        if action := handler.get("exec"):
            return await _command(action, target, clock, timeout)
        if action := handler.get("httpGet"):
            return await _http(action, target, clock, timeout)
        if action := handler.get("tcpSocket"):
            return await _tcp(action, target, clock, timeout)
        if action := handler.get("grpc"):
            return await _grpc(action, target, timeout)
        if action := handler.get("sleep"):
            await sleep(clock, action["seconds"])
            return Outcome(True)
    except (ValueError, OSError) as error:
        return Outcome(False, str(error))
    return Outcome(False, "probes and hooks of this type are not supported: use exec, grpc, httpGet or tcpSocket")


async def _command(action: Object, target: Target, clock: Clock, timeout: float) -> Outcome:
    argv: list[str] = action.get("command") or []
    try:
        code, output = await within(clock, timeout, _run(target, argv))
    except TimeoutError:
        return Outcome(False, f'command timed out: "{" ".join(argv)}" timed out after {timeout:g}s')
    return Outcome(code == 0, output.decode("utf-8", "replace"))


async def _run(target: Target, argv: Sequence[str]) -> tuple[int, bytes]:
    return await target.run(argv)


async def _tcp(action: Object, target: Target, clock: Clock, timeout: float) -> Outcome:
    host, port = action.get("host") or target.ip, target.port(action["port"])
    try:
        _, writer = await within(clock, timeout, asyncio.open_connection(host, port))
    except TimeoutError:
        return Outcome(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Outcome(False, f"dial tcp {host}:{port}: connect: {_cause(error)}")
    writer.transport.abort()
    return Outcome(True)


_HEALTH_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


async def _grpc(action: Object, target: Target, timeout: float) -> Outcome:
    """The health checking protocol of gRPC (grpc.health.v1), whose two messages have one field each."""
    address, service = f"{target.ip}:{target.port(action['port'])}", (action.get("service") or "").encode()
    if len(service) > _LONGEST_SERVICE:
        raise ValueError("the service's name is too long")
    request = bytes((0x0A, len(service))) + service if service else b""
    options = (("grpc.primary_user_agent", _USER_AGENT), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(address, options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer = await check(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return Outcome(False, _grpc_failure(error, address, timeout))
    number = answer[1] if len(answer) > 1 and answer[0] == 0x08 else 0
    name = _HEALTH_STATUSES[number] if number < len(_HEALTH_STATUSES) else str(number)
    if name == "SERVING":
        return Outcome(True, "service healthy")
    return Outcome(False, f'service unhealthy (responded with "{name}")')


def _grpc_failure(error: grpc.aio.AioRpcError, address: str, timeout: float) -> str:
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            why = "context deadline exceeded"
            return f'timeout: failed to connect service "{address}" within {timeout:g}s: {why}'
        case grpc.StatusCode.UNIMPLEMENTED:
            words = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
            return f"error: {words}: {error.details()}"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"timeout: health rpc did not complete within {timeout:g}s"
        case code:
            return f"error: health rpc probe failed: rpc error: code = {code.name} desc = {error.details()}"


async def _http(action: Object, target: Target, clock: Clock, timeout: float) -> Outcome:
    host, port = action.get("host") or target.ip, target.port(action["port"])
    secure = action.get("scheme", "HTTP") == "HTTPS"
    path = "/" + (action.get("path") or "/").lstrip("/")
    url = f"{'https' if secure else 'http'}://{host}:{port}{path}"
    headers = {"Host": f"{host}:{port}", "User-Agent": _USER_AGENT, "Accept": "*/*"}
    headers |= {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    if any(c in text for text in (path, *headers, *headers.values()) for c in "\r\n\0"):
        raise ValueError(f'Get "{url}": a path or header holds a control character')
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
    try:
        status = await within(clock, timeout, _get(host, port, secure, request))
    except TimeoutError:
        return Outcome(
            False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        )
    except ConnectionResetError:
        return Outcome(False, f'Get "{url}": EOF')
    except OSError as error:
        return Outcome(False, f'Get "{url}": dial tcp {host}:{port}: connect: {_cause(error)}')
    # Redirects count as success without being followed: they show that the server answers.
    return Outcome(200 <= status < 400, f"HTTP probe failed with statuscode: {status}")


async def _get(host: str, port: int, secure: bool, request: bytes) -> int:
    context = None
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False  # a kubelet does not verify the certificate of what it probes
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_READ_LIMIT)
    try:
        writer.write(request)
        while True:
            line = await reader.readline()
            parts = line.split(b" ", 2)
            if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1][:3].isdigit():
                if line:
                    raise ValueError("malformed HTTP response")
                raise ConnectionResetError
            status = int(parts[1][:3])
            if status >= 200:
                return status
            while (await reader.readline()).strip():  # an interim response (100 Continue, 103 Early Hints)
                pass
    finally:
        writer.transport.abort()


def _cause(error: OSError) -> str:
    if error.errno == errno.EHOSTUNREACH:
        return "no route to host"
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
