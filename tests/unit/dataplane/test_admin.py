"""Envoy's admin interface over its unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ambientlab.dataplane import admin as admin_client
from ambientlab.dataplane.admin import AdminClient
from support.envoy import running_envoy


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="adm") as path:
        yield Path(path)


@pytest.fixture
async def admin(directory: Path) -> AsyncIterator[AdminClient]:
    """Of an Envoy that never gets a configuration."""
    async with running_envoy(directory, directory / "nobody.sock", "token") as client:
        while True:
            try:
                await client.stats("server")
            except ConnectionError:
                continue
            break
        yield client


async def test_everything_but_ready_is_answered_before_there_is_a_configuration(admin: AdminClient) -> None:
    assert not await admin.ready()
    assert (await admin.stats("^server.concurrency$")) == {"server.concurrency": 1}
    assert [c["name"] for c in (await admin.clusters())["cluster_statuses"]] == ["xds-grpc"]


async def test_envoys_refusal_is_told_in_its_words(admin: AdminClient) -> None:
    with pytest.raises(OSError, match="Invalid re2 regex"):
        await admin.stats("[")


async def test_the_socket_is_its_owners(admin: AdminClient, directory: Path) -> None:
    assert (directory / "admin.sock").stat().st_mode & 0o777 == 0o600


async def test_nobody_there_is_a_connection_error(tmp_path: Path) -> None:
    async with AdminClient(str(tmp_path / "none.sock")) as client:
        assert not await client.ready()
        with pytest.raises(ConnectionError, match="no Envoy answers"):
            await client.clusters()


@pytest.mark.parametrize(
    "body", [b"nonsense", b"[]", b"1", b'{"stats": 1}', b'{"stats": [1]}', b'{"stats": [{"value": 1}]}']
)
async def test_who_serves_in_envoys_place_is_no_envoy(directory: Path, body: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async with await asyncio.start_unix_server(answer, directory / "s"), AdminClient(str(directory / "s")) as client:
        with pytest.raises(ConnectionError, match="no Envoy"):
            await client.stats()


async def test_an_answer_without_an_end_is_none(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_client, "MOST", 1 << 20)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b" " * 65536)
                await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, directory / "s"), AdminClient(str(directory / "s")) as client:
        with pytest.raises(ConnectionError, match="does not come to an end"):
            await client.stats()
