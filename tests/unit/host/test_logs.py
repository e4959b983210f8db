"""The daemon's own log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from aiohttp import web

from ambientlab.host.logs import DaemonHandler, without_traceback


def test_what_clients_cause_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    with path.open("a") as stream:
        handler = DaemonHandler(path, limit=10_000)
        handler.setStream(stream)
        for number in range(1000):
            handler.emit(logging.makeLogRecord({"name": "aiohttp.server", "msg": f"bad request {number} {'x' * 100}"}))
    older = path.with_suffix(".log.1").read_text()
    assert len(path.read_text()) < 11_000
    assert len(older) < 11_000
    assert "bad request 999 " in path.read_text()
    assert older.splitlines()[-1] < path.read_text().splitlines()[0]


def test_a_log_is_bounded_whoever_has_written_it(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    path.write_text("of the mesh's former life\n" * 1000)
    with path.open("a") as stream:
        handler = DaemonHandler(path, limit=10_000)
        handler.setStream(stream)
        handler.emit(logging.makeLogRecord({"name": "daemon", "msg": "of this one"}))
    assert path.read_text().endswith("\tof this one\n")
    assert path.stat().st_size < 100
    assert path.with_suffix(".log.1").stat().st_size > 10_000


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b"Content-Length: -1",
        b"no colon",
        b"X: " + b"y" * 70_000,
        b"Content-Encoding: gzip\r\nContent-Length: 3",
    ],
)
async def test_what_is_no_request_is_one_line(caplog: pytest.LogCaptureFixture, headers: bytes) -> None:
    async def handle(_request: web.BaseRequest) -> web.Response:
        return web.Response()

    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(without_traceback)
    runner = web.ServerRunner(web.Server(handle))
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\nabc")
        await reader.read()
        writer.close()
    finally:
        await runner.cleanup()
        logger.removeFilter(without_traceback)
    [record] = caplog.records
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert "\n" not in record.getMessage()
