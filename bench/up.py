"""`ambientlab up` on a state that exists: from typing the command to its return, when everything is Ready."""

from __future__ import annotations

import subprocess
import sys
import time

from ambientlab.host import isolated
from bench.report import Row, timing

ROUNDS = 9


def rows() -> list[Row]:
    with isolated.directory():
        _run("up")
        seconds = []
        for _ in range(ROUNDS):
            _run("down")
            began = time.perf_counter()
            _run("up")
            seconds.append(time.perf_counter() - began)
        return [timing("up to Ready (warm)", seconds, at_most=2.5)]


def _run(command: str) -> None:
    subprocess.run([sys.executable, "-P", "-m", "ambientlab.cli.main", command], check=True, capture_output=True)
