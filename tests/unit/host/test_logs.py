"""The daemon's own log."""

from __future__ import annotations

import logging
from pathlib import Path

from ambientlab.host.logs import DaemonHandler


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
