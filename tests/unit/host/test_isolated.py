"""A run in a directory of its own leaves nothing, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import signal
from ambientlab.host import isolated
with isolated.directory() as root:
    print(root, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_ended_tidies_up(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        root = Path(process.stdout.readline().strip())
        assert root.is_dir()
        process.send_signal(number)
        assert process.wait(20) == (-number if number == signal.SIGINT else 128 + number)
    assert not root.exists()


def test_a_run_goes_on_where_a_closed_terminal_is_no_reason_to_end() -> None:
    with subprocess.Popen(["nohup", sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        root = Path(process.stdout.readline().strip())
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert not root.exists()
