"""One real Envoy on loopback with a listener for each Guard, to ask what each lets pass.

A listener has the filters of a waypoint's chain before a route that answers 200. The client's identity, which the
waypoint takes from the tunnel, comes in a header here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ambientlab.mesh.ir import Guard
from ambientlab.mesh.xds import guards
from ambientlab.mesh.xds.messages import HASHABLE, PEER_PRINCIPAL, filter_state
from support.envoy import as_json, extension, free_ports, loopback, static_envoy

SEEN = ("authorization", "x-user", "x-payload", "x-role", "x-ext", "x-forwarded-client-cert")
"""Headers of the request, as it would be passed on, that an answer bears with `seen-` before their names."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `peer` is a SPIFFE ID, "" for a client that showed none; `source` the address it comes from."""

    path: str = "/"
    method: str = "GET"
    peer: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str = "helloworld.hello"
    source: str = "127.0.0.1"
    body: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


class Guarded:
    def __init__(self, ports: Mapping[str, int]) -> None:
        self.ports = ports

    async def ask(self, name: str, ask: Ask) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name], local_addr=(ask.source, 0))
        headers = {"host": ask.host, "x-peer": ask.peer, **ask.headers}
        if ask.body:
            headers["content-length"] = str(len(ask.body))
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items() if value)
        try:
            writer.write(f"{ask.method} {ask.path} HTTP/1.1\r\n{lines}\r\n{ask.body}".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status, *fields = head.strip().split("\r\n")
            found = {name.lower(): value for name, value in (line.split(": ", 1) for line in fields)}
            body = await reader.readexactly(int(found.get("content-length", 0)))
        finally:
            writer.close()
        return Answer(int(status.split(" ")[1]), found, body.decode())

    async def passes(self, name: str) -> bool:
        """Whether a connection is let through: what is behind it echoes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name])
        try:
            writer.write(b"hello")
            return bool(await reader.read(5))
        except ConnectionError:
            return False
        finally:
            writer.close()


@asynccontextmanager
async def running(
    directory: Path,
    http: Mapping[str, Guard],
    network: Mapping[str, Guard] = {},
    clusters: Sequence[dict[str, Any]] = (),
) -> AsyncIterator[Guarded]:
    """The listeners of `network` echo. Names are those of the listeners, all different."""
    ports = dict(zip([*http, *network], free_ports(len(http) + len(network)), strict=True))
    listeners = [_http(name, guard, ports[name]) for name, guard in http.items()]
    listeners += [_network(name, guard, ports[name]) for name, guard in network.items()]
    config = {"static_resources": {"listeners": listeners, "clusters": list(clusters)}}
    async with static_envoy(directory, config, *ports.values()):
        yield Guarded(ports)


def _http(name: str, guard: Guard, port: int) -> dict[str, Any]:
    peer = filter_state(PEER_PRINCIPAL, "%REQ(x-peer)%", factory=HASHABLE)
    peer.format_string.omit_empty_values = True
    filters = [
        _extension("filters.http.set_filter_state.v3.Config", on_request_headers=[as_json(peer)]),
        as_json(guards.http_content(name, guard, _cluster(guard))),
        _extension("filters.http.router.v3.Router"),
    ]
    seen = [
        {"header": {"key": f"seen-{name}", "value": f"%REQ({name})%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name in SEEN
    ]
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "response_headers_to_add": seen}
    manager = _extension(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        normalize_path=True,
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        http_filters=filters,
    )
    return _listener(name, port, [manager])


def _network(name: str, guard: Guard, port: int) -> dict[str, Any]:
    echo = _extension("filters.network.echo.v3.Echo")
    return _listener(name, port, [*map(as_json, guards.network_contents(name, guard, _cluster(guard))), echo])


def _cluster(guard: Guard) -> str:
    """A provider's cluster has its name here."""
    return guard.provider.name if guard.provider is not None else ""


def _listener(name: str, port: int, filters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "address": loopback(port),
        "filter_chains": [{"filters": filters}],
    }


def _extension(type_: str, **value: Any) -> dict[str, Any]:
    return extension(type_, type_, **value)
