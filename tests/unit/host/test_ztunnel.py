"""What goes into the log of ztunnel, and from where."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from ambientlab.api.kubelet import LogOptions
from ambientlab.flow.clock import LoopClock
from ambientlab.host.ztunnel import NodeProxyView
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.serve.control_plane import ControlPlane
from ambientlab.node.agent import logread
from ambientlab.node.agent.logs import LogFile
from ambientlab.node.agent.stdio import Drain, Pipes
from ambientlab.node.linux.carried import NodeConnections
from support.memory_client import MemoryClient


async def test_lines_of_others_tear_none_of_a_process_that_writes_as_much_as_it_can(tmp_path: Path) -> None:
    """It writes more at once than a pipe takes whole (pipe(7), PIPE_BUF), and not to the ends of lines."""
    mesh = ControlPlane(MemoryClient(), CertificateAuthority.create(), lambda token: None, tmp_path / "socket")
    view = NodeProxyView(mesh, NodeConnections().held)
    log, pipes = LogFile(tmp_path / "0.log", LoopClock()), Pipes(stdin=False)
    drain = Drain(pipes, log, view.output)
    numbered = [b"2026-01-01T00:00:00Z\tinfo\taccess\tline %06d %s\n" % (n, b"x" * (n % 300)) for n in range(15_000)]

    def write() -> None:
        whole = memoryview(b"".join(numbered))
        while whole:
            whole = whole[os.write(pipes.child[1], whole[:99_991]) :]

    def said(number: int) -> str:
        return f"2026-01-01T00:00:00Z\tinfo\tproxy::connection_manager\tconnection {number} closed because\n"

    writing = asyncio.create_task(asyncio.to_thread(write))
    others = 0
    while not writing.done():
        view.say(said(others))
        others += 1
        await asyncio.sleep(0)
    await writing
    pipes.started()
    await drain.finish()
    found: dict[bool, list[bytes]] = {True: [], False: []}
    async for data in logread.read(log.path, None, LogOptions()):
        for line in data.splitlines(keepends=True):
            found[b"connection_manager" in line].append(line)
    assert found[False] == numbered
    assert found[True] == [said(number).encode() for number in range(others)]
    assert others > 20
