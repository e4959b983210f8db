"""What the daemon remembers of requests to the zygote."""

from __future__ import annotations

import socket

import pytest

from ambientlab.node.linux.runtime import LinuxRuntime
from ambientlab.node.runtime import SandboxSpec


async def test_a_request_that_was_not_sent_is_forgotten() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.close()
    runtime = LinuxRuntime(near)
    runtime.start()
    with pytest.raises(BrokenPipeError):
        await runtime.create_sandbox(SandboxSpec("uid", "web", None))
    assert not runtime._forks
    runtime.close()
