"""What Envoy makes of a server that ends its half of a tunnelled connection: docs/limits.md says what follows."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from support.envoy import extension, free_ports, loopback, static_envoy

GUARD = "envoy.reloadable_features.allow_multiplexed_upstream_half_close"
ANSWER = b"answer" * 100_000
HTTP2 = {"explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}}
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": loopback(port)}}
    return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}


def listener(name: str, port: int, filter_: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "address": loopback(port), "filter_chains": [{"filters": [filter_]}]}


def tunnel(begins: int, ends: int, application: int) -> dict[str, Any]:
    """Both ends of a tunnel as the node proxy has them, without TLS."""
    connect = {"upgrade_type": "CONNECT"}
    action = {"cluster": "application", "timeout": "0s", "upgrade_configs": [{**connect, "connect_config": {}}]}
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"connect_matcher": {}}, "route": action}]}
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="end",
        codec_type="HTTP2",
        http2_protocol_options={"allow_connect": True},
        upgrade_configs=[connect],
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
        route_config={"virtual_hosts": [host]},
    )
    proxy = extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix="begin",
        cluster="tunnel",
        tunneling_config={"hostname": "10.0.0.1:80"},
    )
    options = {OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", **HTTP2}}
    return {
        "listeners": [listener("begin", begins, proxy), listener("end", ends, manager)],
        "clusters": [
            {**cluster("tunnel", ends), "typed_extension_protocol_options": options},
            cluster("application", application),
        ],
    }


@pytest.mark.parametrize("guard", [False, True])
async def test_a_server_that_ends_its_half_of_a_tunnel_hears_no_more(tmp_path: Path, guard: bool) -> None:
    heard: list[bytes] = []

    async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(3) == b"all":  # not a connection to see whether Envoy listens
            writer.write(ANSWER)
            writer.write_eof()
            heard.append(await reader.read(1))
        writer.close()

    begins, ends = free_ports(2)
    server = await asyncio.start_server(application, "127.0.0.1", 0)
    static = tunnel(begins, ends, server.sockets[0].getsockname()[1])
    layer = {"name": "static", "static_layer": {GUARD: guard}}
    config = {"static_resources": static, "layered_runtime": {"layers": [layer]}}
    loop = asyncio.get_running_loop()
    async with server, static_envoy(tmp_path, config, begins, ends), asyncio.timeout(10):
        with socket.create_connection(("127.0.0.1", begins)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"all")
            received = 0
            while block := await loop.sock_recv(client, 1 << 20):
                received += len(block)
            assert received == len(ANSWER)
            with pytest.raises(ConnectionError):
                await send_on(client)
    assert b"m" not in heard


async def send_on(client: socket.socket) -> None:
    """Until that is an error."""
    while True:
        await asyncio.get_running_loop().sock_sendall(client, b"more")
        await asyncio.sleep(0)
