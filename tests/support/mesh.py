"""A mesh as the end-to-end tests meet it: the commands a person types, in a home of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambientlab.host import tools
from ambientlab.host.isolated import variables


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Background:
    process: subprocess.Popen[str]

    def line(self) -> str:
        """The next one that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def finish(self) -> list[str]:
        """Wait for its end; the lines it printed."""
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, out
        return out.splitlines()


@dataclass(frozen=True, slots=True)
class Mesh:
    """One isolated home: the commands run in it as a person's would."""

    root: Path
    env: dict[str, str]

    def ambientlab(self, *arguments: str, stdin: str = "", timeout: float = 90) -> Result:
        return self._run([sys.executable, "-P", "-m", "ambientlab.cli.main", *arguments], stdin, timeout)

    def kubectl(self, *arguments: str, stdin: str = "", timeout: float = 60, check: bool = True) -> str:
        done = self._run([str(tools.kubectl()), *arguments], stdin, timeout)
        assert not check or done.code == 0, f"kubectl {' '.join(arguments)}: {done.text}"
        return done.out if check else done.text

    def apply(self, text: str, *arguments: str) -> str:
        return self.kubectl("apply", "-f", "-", *arguments, stdin=text)

    def manifest(self, name: str) -> str:
        """The path of a file that the lab gives."""
        return str(self.root / "state/ambientlab/ambientlab/work" / name)

    def helloworld(self) -> None:
        """Deploy the lab's application in its namespace, until it is available."""
        self.kubectl("apply", "-n", "hello", "-f", self.manifest("helloworld.yaml"))
        self.kubectl("wait", "-n", "hello", "--for=condition=Available", "deploy", "--all", "--timeout=60s")

    def waypoint(self, namespace: str) -> None:
        """Make a waypoint for what uses one there, until it is ready."""
        done = self.ambientlab("istioctl", "waypoint", "apply", "-n", namespace, "--wait")
        assert done.code == 0, done.text

    def json(self, *arguments: str) -> Any:
        return json.loads(self.kubectl(*arguments, "-o", "json"))

    def shell(self, script: str, timeout: float = 90) -> Result:
        """Type a script into `ambientlab shell`."""
        return self.ambientlab("shell", stdin=script, timeout=timeout)

    def curl(self, *arguments: str, timeout: float = 60) -> str:
        """From the lab's client pod."""
        return self.kubectl("exec", "curl", "-n", "test", "--", "curl", "-sS", *arguments, timeout=timeout)

    def sample(self, url: str, count: int, *arguments: str, pod: str = "curl", namespace: str = "test") -> list[str]:
        """`count` requests from a pod, each on a connection of its own; what each was answered, a line."""
        # one curl asks so often because of what follows the #, which is sent to nobody
        ask = ("curl", "-sS", "-m", "20", "-H", "Connection: close", *arguments, f"{url}#[1-{count}]")
        done = self._run([str(tools.kubectl()), "exec", pod, "-n", namespace, "--", *ask], "", 180)
        lines = done.out.splitlines()
        assert len(lines) == count, done.text[-2000:]
        return lines

    @contextlib.contextmanager
    def background(self, *arguments: str) -> Iterator[Background]:
        """A kubectl that goes on while the test does."""
        command = [str(tools.kubectl()), *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env
        ) as process:
            try:
                yield Background(process)
            finally:
                process.kill()

    def _run(self, command: Sequence[str], stdin: str, timeout: float) -> Result:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env,
            check=False,
            cwd=self.root,
        )
        return Result(done.returncode, done.stdout, done.stderr)


def new_home() -> Mesh:
    root = Path(tempfile.mkdtemp(prefix="ambientlab-test-"))
    (root / "run").mkdir(mode=0o700)
    return Mesh(root, {**os.environ, **variables(root), "HOME": str(root), "NO_COLOR": "1"})


def discard(mesh: Mesh) -> None:
    try:
        done = mesh.ambientlab("down", "--purge")
        assert done.code == 0, done.text
    finally:
        shutil.rmtree(mesh.root, ignore_errors=True)
