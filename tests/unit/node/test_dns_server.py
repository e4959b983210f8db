"""The DNS server as its clients meet it, over sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from ambientlab.api import kinds
from ambientlab.node import dns
from ambientlab.node.dns import DnsServer
from ambientlab.node.dnswire import TYPE_A, encode_name
from support.envoy import free_port
from support.memory_client import MemoryClient

LARGE = 500
"""Endpoints of a Service without an address of its own."""


def question(name: str, kind: int = TYPE_A) -> bytes:
    asked = encode_name(name) + struct.pack(">HH", kind, 1)
    return b"\x12\x34" + struct.pack(">5H", 0x0100, 1, 0, 0, 0) + asked


def framed(packet: bytes) -> bytes:
    return struct.pack(">H", len(packet)) + packet


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
async def server(client: MemoryClient) -> AsyncIterator[tuple[DnsServer, tuple[str, int]]]:
    client.put(kinds.SERVICE, {"metadata": {"name": "db", "namespace": "hello"}, "spec": {"clusterIP": "None"}})
    endpoints = [{"addresses": [f"10.244.{index >> 8}.{index & 255}"]} for index in range(LARGE)]
    labels = {"kubernetes.io/service-name": "db"}
    client.put(
        kinds.ENDPOINTSLICE,
        {
            "metadata": {"name": "db-1", "namespace": "hello", "labels": labels},
            "addressType": "IPv4",
            "endpoints": endpoints,
        },
    )
    captured = {"ambient.istio.io/redirection": "enabled"}
    metadata = {"name": "curl", "namespace": "hello", "annotations": captured}
    client.put(kinds.POD, {"metadata": metadata, "spec": {}, "status": {"podIP": "127.0.0.1"}})
    address = ("127.0.0.1", free_port())
    made = DnsServer(client, *address)
    await made.start()
    yield made, address
    made.close()


async def test_names_of_types_are_as_many_as_ztunnel_knows(server: tuple[DnsServer, tuple[str, int]]) -> None:
    """A label of metrics, which a pod must not be able to make up."""
    made, address = server
    heard: list[str] = []
    made.heard = lambda lookup: heard.append(lookup.type)
    reader, writer = await asyncio.open_connection(*address)
    kinds_asked = (*range(300), *range(65_000, 65_536))
    writer.write(b"".join(framed(question("x.example", kind)) for kind in kinds_asked))
    for _ in kinds_asked:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        await reader.readexactly(length)
    writer.close()
    assert (heard[1], heard[28], heard[-1]) == ("A", "AAAA", "Unknown")
    assert len(set(heard)) == 38


async def test_who_does_not_read_is_not_kept(
    server: tuple[DnsServer, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "_IDLE_SECONDS", 0.05)
    _, address = server
    asked = framed(question("db.hello.svc.cluster.local")) * 10_000
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await asyncio.get_running_loop().sock_connect(deaf, address)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_ask_for_ever(deaf, asked), 10)


async def _ask_for_ever(sock: socket.socket, asked: bytes) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, asked)


async def test_who_asks_much_at_once_keeps_nobody_waiting(server: tuple[DnsServer, tuple[str, int]]) -> None:
    made, address = server
    turns, heard = 0, list[int]()
    made.heard = lambda lookup: heard.append(turns)
    _, writer = await asyncio.open_connection(*address)
    writer.write(framed(question("x.example")) * 500)
    while len(heard) < 500:
        await asyncio.sleep(0)
        turns += 1
    writer.close()
    assert len(set(heard)) == 500


async def test_what_was_asked_before_the_end_is_answered(server: tuple[DnsServer, tuple[str, int]]) -> None:
    _, address = server
    reader, writer = await asyncio.open_connection(*address)
    writer.write(framed(question("db.hello.svc.cluster.local")) * 20)
    writer.write_eof()
    answers = await reader.read()
    writer.close()
    assert len(answers) > 20 * 16 * LARGE


async def test_a_pod_that_has_ended_does_not_take_the_names_of_who_has_its_address(
    server: tuple[DnsServer, tuple[str, int]], client: MemoryClient
) -> None:
    made, address = server
    made.mesh.put("mirror.example.com", ["240.240.0.1"])
    metadata = {"name": "job", "namespace": "hello", "annotations": {"ambient.istio.io/redirection": "enabled"}}
    client.put(kinds.POD, {"metadata": metadata, "spec": {}, "status": {"podIP": "127.0.0.1", "phase": "Succeeded"}})
    client.drop(kinds.POD, "job", "hello")
    reader, writer = await asyncio.open_connection(*address)
    writer.write(framed(question("mirror.example.com")))
    (length,) = struct.unpack(">H", await reader.readexactly(2))
    assert (await reader.readexactly(length)).endswith(bytes([240, 240, 0, 1]))
    writer.close()
