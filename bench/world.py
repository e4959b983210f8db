"""A running mesh to measure on, and a light client of its API that does not cost a process per call."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

from ambientlab.host import isolated, lifecycle, tools
from ambientlab.host.paths import DEFAULT_NAME, MeshPaths, mesh_paths


class Api:
    """One keep-alive connection as administrator."""

    def __init__(self, paths: MeshPaths) -> None:
        context = ssl.create_default_context(cafile=str(paths.pki / "ca.crt"))
        context.load_cert_chain(paths.pki / "admin.crt", paths.pki / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", lifecycle.saved_port(paths), context=context)

    def connect(self) -> None:
        """Now, rather than with the first request."""
        self._connection.connect()

    def patch(self, path: str, body: Any) -> None:
        self._connection.request(
            "PATCH",
            path,
            json.dumps(body),
            {"Content-Type": "application/merge-patch+json", "Accept": "application/json"},
        )
        response = self._connection.getresponse()
        text = response.read()
        if response.status >= 300:
            raise RuntimeError(text.decode())

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """Events as they come."""
        self._connection.request("GET", path, headers={"Accept": "application/json"})
        response = self._connection.getresponse()
        while line := response.readline():
            yield json.loads(line)


@contextlib.contextmanager
def mesh(*, lab: bool) -> Iterator[MeshPaths]:
    """An isolated mesh, with the Traffic Management lab's world if asked for."""
    with isolated.directory():
        ambientlab("up")
        if lab:
            ambientlab("lab", "start", "traffic-management")
        yield mesh_paths(DEFAULT_NAME)


def ambientlab(*arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "ambientlab.cli.main", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def shell(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-P", "-m", "ambientlab.cli.main", "shell"],
        input=script,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@contextlib.contextmanager
def script(pod: str, namespace: str, program: str) -> Iterator[IO[str]]:
    """What a Python program prints that runs in a pod, until the block is left."""
    command = [str(tools.kubectl()), "exec", pod, "-n", namespace, "--", "/usr/bin/python3", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def kubectl(*arguments: str, stdin: str = "") -> str:
    return subprocess.run(
        [str(tools.kubectl()), *arguments], input=stdin, check=True, capture_output=True, text=True, env=os.environ
    ).stdout
