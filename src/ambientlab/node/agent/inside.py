"""Commands run inside a container for the node itself: probes and hooks."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

from ambientlab.node.agent import stdio
from ambientlab.node.runtime import ContainerSpec, Process, Runtime

_KEPT = 10 * 1024  # bytes of output, as a kubelet keeps


async def run(runtime: Runtime, container: Process, spec: ContainerSpec, argv: Sequence[str]) -> tuple[int, bytes]:
    """Exit code and output of a command with the container's environment; it is killed when this is cancelled.

    Raises OSError when it cannot be started.
    """
    pipes = stdio.Pipes(stdin=False)
    try:
        try:
            process, _ = await runtime.exec(container, argv, spec.env, spec.cwd, pipes.child)
        finally:
            pipes.started()
        end = asyncio.ensure_future(runtime.wait(process))
        try:
            output = b"".join(await asyncio.gather(_collect(pipes.stdout), _collect(pipes.stderr)))
            return exit_code(await asyncio.shield(end)), output[:_KEPT]
        except asyncio.CancelledError:
            runtime.signal(process, signal.SIGKILL)
            raise
    finally:
        pipes.close()


def exit_code(code: int) -> int:
    """Of a process as `Runtime.wait` tells it, in a shell's terms: 128 + n for signal n."""
    return 128 - code if code < 0 else code


async def _collect(stream: stdio.Stream | None) -> bytes:
    kept = bytearray()
    if stream is not None:
        async for data in stream.chunks():
            kept += data[: max(_KEPT - len(kept), 0)]
    return bytes(kept)
