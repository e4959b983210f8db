"""The same topology with Envoys configured by hand: what a mesh's generated configuration is held against.

One client, one server, one waypoint, everything static: no control plane, certificates from files. The namespaces, the
capture rules, kube-proxy's rules on the node, the command line of the Envoys and what takes their logs are the mesh's
own, so what differs is their configuration, and that the mesh reads in ztunnel's log what to count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template
from types import TracebackType

HERE = Path(__file__).parent
BULK = "bulk"
"""Path of an answer of 64 KiB."""
SERVER_ARGUMENTS = [
    "--config-yaml", Template((HERE / "server.yaml").read_text()).substitute(path=f"/{BULK}", octets="x" * (1 << 16)),
    "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
]  # fmt: skip
"""Of the Envoy that is the server in both meshes."""
RULES = tuple(f"/rule-{number:04}" for number in range(1000))
"""Prefixes of the rules that one service has in both meshes, in the order they are tried."""


class HandWritten:
    """A running node with that configuration, in a process of its own. `urls` are what its client pod can ask."""

    def __enter__(self) -> HandWritten:
        self._logs = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.handwritten.node", self._logs.name],
            cwd=HERE.parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.urls: dict[str, str] = json.loads(self._answer())
        self.pid = self._process.pid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()
        self._logs.cleanup()

    def run(self, argv: Sequence[str]) -> str:
        """Run in the client pod; what it printed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(argv) + "\n")
        self._process.stdin.flush()
        code, printed = json.loads(self._answer())
        if code != 0:
            raise RuntimeError(f"{argv[0]} ended with {code}: {printed}")
        return str(printed)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the node with the hand-written configuration ended")
        return line
