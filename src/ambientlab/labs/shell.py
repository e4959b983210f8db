"""A real bash that commands are typed into, one after the other, as a learner would.

bash reads its commands from a pipe. Each is wrapped in `eval`, so that a mistake in its syntax ends with the command,
and is followed by a line that prints its exit status behind a token nobody else knows. What the command reads is
/dev/null: the commands still to come are not its input.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import secrets
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from ambientlab.labs.environment import CommandError, Environment


@dataclass(frozen=True, slots=True)
class Result:
    """`status` is bash's, 128 + n for a signal; 124 for a command that was ended after its time, as by timeout(1)."""

    status: int
    output: str


class Shell:
    """Use as a context manager. Working directory and variables live from command to command, as in a terminal."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._token = secrets.token_hex(16)
        self._mark = re.compile(rf"{self._token} (\d+)\n")

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def run(self, command: str, *, timeout: float, on_output: Callable[[str], None] = lambda _: None) -> Result:
        """Types `command` and waits for it. `on_output` gets both outputs as they come, whole lines where it can.

        Raises CommandError if there is no bash. A command that ends the shell itself is given its exit status.
        """
        process = self._process or self._start()
        typed = f"eval {shlex.quote(command)} </dev/null\nprintf '%s %d\\n' {self._token} $?\n"
        assert process.stdin is not None
        try:
            process.stdin.write(typed.encode())
            process.stdin.flush()
        except BrokenPipeError:
            self._end()
            return self.run(command, timeout=timeout, on_output=on_output)
        return self._read(process, time.monotonic() + timeout, on_output)

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            self._process = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-s"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(self._environment.variables),
                cwd=self._environment.directory,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"cannot run bash in {self._environment.directory}: {error.strerror}") from error
        return self._process

    def _read(self, process: subprocess.Popen[bytes], deadline: float, on_output: Callable[[str], None]) -> Result:
        assert process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        output = ""
        shown = 0
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._end()
                    on_output(output[shown:])
                    return Result(124, output)
                chunk = os.read(process.stdout.fileno(), 65536)
                output += decoder.decode(chunk, final=not chunk)
                if (mark := self._mark.search(output, shown)) is not None:
                    output, status = output[: mark.start()], int(mark[1])
                    on_output(output[shown:])
                    return Result(status, output)
                if not chunk:
                    on_output(output[shown:])
                    return Result(self._end(), output)
                end = output.rfind("\n", shown) + 1
                if end > shown:
                    on_output(output[shown:end])
                    shown = end

    def _end(self) -> int:
        """Ends bash and everything it started that is still in its group; returns its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)  # it ends by itself at the end of its input, unless a command still runs
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        return status if status >= 0 else 128 - status
