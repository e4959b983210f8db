"""The world a lab starts from, brought about with kubectl."""

from __future__ import annotations

import shlex

from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.model import Lab

SECONDS = 120


def prepare(lab: Lab, environment: Environment) -> None:
    """Applies the setup, waits until it is there, and puts the lab's files into the learner's directory.

    A file that is there already is the learner's, and stays. Raises CommandError.
    """
    for manifest in lab.manifests:
        _run(environment, environment.kubectl("apply", "-f", "-"), manifest.content)
    for command in lab.definition.setup.commands:
        _run(environment, _arguments(command, environment))
    for asset in lab.assets:
        target = environment.directory / asset.name
        try:
            if not target.exists():
                target.write_text(asset.content, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {target}: {error.strerror}") from error


def reset(lab: Lab, environment: Environment) -> None:
    """Undoes what the steps leave behind, then prepares anew; the lab's own files are written afresh."""
    for command in lab.definition.reset:
        _run(environment, _arguments(command, environment))
    for asset in lab.assets:
        (environment.directory / asset.name).unlink(missing_ok=True)
    prepare(lab, environment)


def _arguments(command: str, environment: Environment) -> list[str]:
    """Setup runs without a shell; a kubectl gets the environment's context."""
    program, *arguments = shlex.split(command)
    return environment.kubectl(*arguments) if program == "kubectl" else [program, *arguments]


def _run(environment: Environment, command: list[str], stdin: str | None = None) -> None:
    done = environment.run(command, timeout=SECONDS, stdin=stdin)
    if done.returncode:
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise CommandError(f"setting up the lab: `{' '.join(command)}`: {said}")
