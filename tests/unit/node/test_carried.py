"""Asking the node proxy whether its worker has heard, and finding it among other processes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from ambientlab.node.linux import carried
from ambientlab.node.linux.carried import NodeConnections, Opened, _Sockets


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


def test_no_process_hides_the_proxy_by_a_name_that_is_no_text() -> None:
    named = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'\\xff\\xfe'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", named]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pod:
        assert pod.stdout is not None
        pod.stdout.readline()
        with open(f"/proc/{pod.pid}/comm", "rb") as comm:
            assert comm.read() == b"\xff\xfe\n"
        with closing(Opened()):
            pass
        pod.communicate()


def test_a_descriptor_that_has_become_anothers_is_not_taken_for_the_socket() -> None:
    with socket.socket() as listed, socket.socket() as next_one:
        inode = os.fstat(listed.fileno()).st_ino
        with closing(_Sockets(os.getpid())) as known:
            with _copied(known, inode) as copied:
                assert os.fstat(copied.fileno()).st_ino == inode
            os.dup2(next_one.fileno(), listed.fileno())
            assert known.copy(inode) is None


def _copied(known: _Sockets, inode: int) -> socket.socket:
    found = known.copy(inode)
    assert found is not None
    return found
