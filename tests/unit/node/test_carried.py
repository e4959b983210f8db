"""Asking the node proxy whether its worker has heard."""

from __future__ import annotations

import asyncio

import pytest

from ambientlab.node.linux import carried
from ambientlab.node.linux.carried import NodeConnections


async def test_a_proxy_that_does_not_answer_is_not_held_on_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        monkeypatch.setattr(carried, "STATUS_PORT", server.sockets[0].getsockname()[1])
        monkeypatch.setattr(carried, "_PATIENCE", 0.05)
        await NodeConnections().caught_up()
        assert asked.is_set()
        await asyncio.wait_for(ended.wait(), 5)


async def test_where_there_is_no_proxy_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "STATUS_PORT", 1)
    await NodeConnections().caught_up()
