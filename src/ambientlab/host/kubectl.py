"""Reading and writing a cluster by the user's kubectl: every kind of kubeconfig and credential plugin works at once."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer
from typing import Any, NamedTuple

from ambientlab.host import tools


class KubectlError(Exception):
    """kubectl refused or failed; `str()` is its own last line."""


def plain(text: str) -> str:
    """Without what kubectl puts before the words of others."""
    return re.sub(r"^(Error from server \(\w+\)|error): ", "", text)


class Served(NamedTuple):
    port: int
    process: subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One cluster. Without a file or context kubectl's own defaults hold."""

    kubeconfig: Path | None = None
    context: str | None = None
    flags: tuple[str, ...] = ()
    """Others for every call, `--as=somebody`."""
    until: float | None = None
    """When all of its calls have to have ended (time.monotonic), None for as long as they take."""

    def command(self, arguments: Sequence[str]) -> list[str]:
        flags = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        flags += [f"--context={self.context}"] if self.context else []
        return [str(tools.kubectl()), *flags, *self.flags, *arguments]

    def run(self, arguments: Sequence[str], stdin: str | None = None) -> str:
        """stdout of `kubectl ARGUMENTS`. Raises KubectlError."""
        command, left = self.command(arguments), self.left()
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=left)
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl {arguments[0]} did not end in time") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise KubectlError(lines[-1] if lines else f"kubectl {arguments[0]} ended with {done.returncode}")
        return done.stdout

    def get(self, resource: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """One object, or None when there is none of that name."""
        where = ["-n", namespace] if namespace else []
        text = self.run(["get", resource, *where, "--ignore-not-found", "-o", "json", "--", name])
        return json.loads(text) if text.strip() else None

    def list(self, resource: str, namespace: str | None = None, selector: str = "") -> list[dict[str, Any]]:
        """Every object of a kind, in one namespace or (None) in all."""
        where = [*(["-n", namespace] if namespace else ["-A"]), *(["-l", selector] if selector else [])]
        items: list[dict[str, Any]] = json.loads(self.run(["get", resource, *where, "-o", "json"]))["items"]
        return items

    def apply(self, obj: dict[str, Any], *, manager: str) -> None:
        """Server-side apply; a field that another manager owns is a KubectlError, not a take-over."""
        self.run(["apply", "--server-side", f"--field-manager={manager}", "-f", "-"], stdin=json.dumps(obj))

    @contextmanager
    def forward(self, pod: str, namespace: str, port: int) -> Iterator[int]:
        """A port of this machine's loopback that leads to one of the pod's. Raises KubectlError, without the words
        `Error from server`."""
        with self.tunnel(pod, namespace, port) as (local, _):
            yield local

    @contextmanager
    def tunnel(
        self, pod: str, namespace: str, port: int, *, local: int = 0, address: str = "127.0.0.1"
    ) -> Iterator[Served]:
        """As `forward`, at a port and an address of choice, with the process that serves it."""
        ports = f"{local or ''}:{port}"
        command = self.command(["port-forward", f"pod/{pod}", "-n", namespace, f"--address={address}", ports])
        with self._serving(command, r"Forwarding from \S+:(\d+) ->") as (found, process):
            yield Served(int(found[1]), process)

    @contextmanager
    def proxy(self, *, rehearsing: bool = False) -> Iterator[str]:
        """A socket where the API answers without credentials, to GET alone unless writes are to be rehearsed. It is in
        a directory of this user's, since every user of the machine could speak to a port. Raises KubectlError."""
        refused = "PUT" if rehearsing else "POST|PUT|PATCH|DELETE"
        with tempfile.TemporaryDirectory(prefix="ambientlab-") as private:
            command = self.command(["proxy", f"--unix-socket={private}/api", f"--reject-methods=^({refused})$"])
            with self._serving(command, "Starting to serve on "):
                yield f"{private}/api"

    @contextmanager
    def _serving(self, command: Sequence[str], announced: str) -> Iterator[tuple[re.Match[str], subprocess.Popen[str]]]:
        """What a command of kubectl says it serves on, as long as it does, and its process."""
        listening: list[Thread] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            end = Timer(self.left() or 0, process.kill)
            try:
                if self.until is not None:
                    end.start()
                assert process.stdout is not None
                assert process.stderr is not None
                found = re.match(announced, process.stdout.readline())
                if found is None:
                    lines = process.stderr.read().strip().splitlines() or ["kubectl ended"]
                    raise KubectlError(plain(lines[-1]))
                # it has a line to say of each connection, and serves none while nobody listens
                for stream in (process.stdout, process.stderr):
                    listening.append(Thread(target=deque, args=(stream, 0)))
                    listening[-1].start()
                yield found, process
            finally:
                end.cancel()
                process.kill()
                for one in listening:
                    one.join()

    def left(self) -> float | None:
        """Seconds until its calls have to have ended."""
        return None if self.until is None else max(0.0, self.until - time.monotonic())

    def namespace(self) -> str:
        """The context's namespace, as `kubectl` itself would use it."""
        return self.run(["config", "view", "--minify", "-o", "jsonpath={..namespace}"]).strip() or "default"
