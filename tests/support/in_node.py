"""Tests that run inside a node of their own: `@in_node` on an async function makes it a test that launches one.

The function runs in a child process, in the node's daemon, with `LinuxRuntime` and network up. What it raises fails the
test, with everything the node wrote; one that hangs raises TimeoutError where it does.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ambientlab.node.linux.launch import Node

TESTS = Path(__file__).parents[1]
TIMEOUT = 60
TO_COME_AND_GO = 20
"""Seconds for the node itself."""


def in_node(body: Callable[[Any], Awaitable[None]], seconds: float = TIMEOUT) -> Callable[[], None]:
    def test() -> None:
        argv = [sys.executable, "-P", __file__, inspect.getfile(body), body.__name__, str(seconds)]
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + TO_COME_AND_GO
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}"

    test.__doc__ = body.__doc__
    test.__name__ = body.__name__
    test.body = body  # type: ignore[attr-defined]  # found again by the program that runs it
    return test


def _daemon(node: Node, file: str, name: str, seconds: str) -> int:
    import asyncio
    import importlib.util

    from support.mesh_world import MeshWorld

    spec = importlib.util.spec_from_file_location("the_test", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def run() -> None:
        async with MeshWorld(node) as world, asyncio.timeout(float(seconds)):
            await getattr(module, name).body(world)

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    from ambientlab.node.linux.launch import launch

    sys.exit(launch(lambda node: _daemon(node, *sys.argv[1:])))
