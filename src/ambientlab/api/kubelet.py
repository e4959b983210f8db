"""What the API server asks of the node: logs, exec, attach and port-forward of a pod.

Errors a person should see are raised as `StatusError` before anything is streamed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ambientlab.api.objects import Object

if TYPE_CHECKING:
    import socket


@dataclass(frozen=True, slots=True)
class LogOptions:
    """v1.PodLogOptions. `since` is a POSIX time in seconds; 0 means the beginning."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    since: float = 0.0
    tail_lines: int | None = None
    limit_bytes: int | None = None
    timestamps: bool = False


class ExecSession(Protocol):
    """One process started in a container, or one attachment to its main process."""

    def stdout(self) -> AsyncIterator[bytes]: ...

    def stderr(self) -> AsyncIterator[bytes]:
        """Empty at once for a terminal, where both streams are one."""
        ...

    async def write_stdin(self, data: bytes) -> None:
        """Returns when the process can take more (back-pressure); data for a process that is gone is dropped."""
        ...

    def close_stdin(self) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    async def wait(self) -> int:
        """The exit code; 128 + n for a process ended by signal n."""
        ...

    def close(self) -> None:
        """The caller is gone: end the process of an exec (SIGHUP, then SIGKILL); only detach from an attach."""
        ...


class Kubelet(Protocol):
    async def exec(
        self, pod: Object, container: str, argv: Sequence[str], *, stdin: bool, tty: bool
    ) -> ExecSession: ...

    async def attach(self, pod: Object, container: str, *, stdin: bool, tty: bool) -> ExecSession: ...

    def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]: ...

    async def connect(self, pod: Object, port: int) -> socket.socket:
        """A connected non-blocking TCP socket to 127.0.0.1:port inside the pod (port-forward)."""
        ...
