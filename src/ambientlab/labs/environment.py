"""Where a lab is played: which cluster, by which programs, in which directory."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


class CommandError(Exception):
    """A program that a lab needs could not do its work. The message is what it said."""


@dataclass(frozen=True, slots=True)
class Environment:
    """`variables` is the whole environment of every command (PATH finds kubectl, istioctl and k; KUBECONFIG);
    `directory` is the learner's; `context` is empty for the kubeconfig's current one; `flags` lead a command of
    ambientlab's here."""

    variables: Mapping[str, str]
    directory: Path
    context: str = ""
    flags: Sequence[str] = ()

    def ambientlab(self, *arguments: str) -> str:
        """A line to type."""
        return shlex.join(["ambientlab", *arguments, *self.flags])

    def kubectl(self, *arguments: str) -> list[str]:
        """An argument vector. The program is looked up on the PATH the learner has, not on ours."""
        return ["kubectl", *([f"--context={self.context}"] if self.context else []), *arguments]

    def found(self, command: Sequence[str]) -> list[str]:
        """With the program's path, from the PATH the learner has. Raises CommandError."""
        for directory in self.variables.get("PATH", os.defpath).split(os.pathsep):
            candidate = os.path.join(directory, command[0])
            if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
                return [candidate, *command[1:]]
        raise CommandError(f"{command[0]} is not on PATH")

    def run(
        self, command: Sequence[str], *, timeout: float, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs to the end, whatever its exit status. Raises CommandError where there is no such program or no end."""
        try:
            return subprocess.run(
                self.found(command),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                env=dict(self.variables),
                cwd=self.directory,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"`{' '.join(command[:4])} ...` did not end within {timeout:g} s") from error
        except OSError as error:
            raise CommandError(f"cannot run {command[0]}: {error.strerror}") from error

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """A program whose output, errors included, is read while it runs. Raises CommandError if there is none."""
        try:
            return subprocess.Popen(
                self.found(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=dict(self.variables),
                cwd=self.directory,
            )
        except OSError as error:
            raise CommandError(f"cannot run {command[0]}: {error.strerror}") from error

    @contextlib.contextmanager
    def pinned(self) -> Iterator[Environment]:
        """The same cluster as the current context of a kubeconfig of its own.

        A learner's commands name no context, so the shell they are typed into must have the right one.
        """
        if not self.context:
            yield self
            return
        view = self.run(self.kubectl("config", "view", "--minify", "--flatten"), timeout=30)
        if view.returncode:
            raise CommandError(view.stderr.strip())
        with tempfile.TemporaryDirectory(prefix="ambientlab-") as private:
            kubeconfig = Path(private, "kubeconfig")
            descriptor = os.open(kubeconfig, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(view.stdout)
            yield replace(self, variables={**self.variables, "KUBECONFIG": str(kubeconfig)}, context="")
