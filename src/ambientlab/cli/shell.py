"""`shell`, `kubectl` and `istioctl`: the learner's own tools, pointed at a running mesh."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from ambientlab.cli.mesh import name_option, running_paths
from ambientlab.cli.output import fail, talk
from ambientlab.host.environment import lab_files, tool_environment

_PASS_THROUGH = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


@click.command()
@name_option
@click.option("-c", "command", help="Run one command line in the shell instead of talking to it.")
def shell(name: str, command: str | None) -> None:
    """A shell with kubectl (and k), istioctl and ambientlab, in a directory that holds the lab's files."""
    paths = running_paths(name)
    lab_files(paths)
    bash = shutil.which("bash")
    if bash is None:
        fail("bash is not installed", ["sudo apt-get install bash"])
    rc = paths.state / "bashrc"
    rc.write_text(_RC)
    arguments = [bash, "--rcfile", str(rc)]
    if command is not None:
        arguments = [bash, "-c", command]
    elif os.isatty(0):
        talk(f"Mesh {name!r}. kubectl, k, istioctl and ambientlab are here; 'exit' leaves, the mesh keeps running.")
    os.chdir(paths.scratch)
    os.execve(bash, arguments, {**tool_environment(paths), "AMBIENTLAB_PATH": str(paths.bin)})


# The learner's own bashrc may set PATH anew, so ours goes in front once more after it. What is there goes with
# `ambientlab down --purge`: bash is to look for it elsewhere then, as for what it has not found yet.
_RC = r"""
[ -r ~/.bashrc ] && . ~/.bashrc
export PATH="$AMBIENTLAB_PATH:$PATH"
shopt -s checkhash
PS1='\[\e[36m\]ambientlab\[\e[0m\] \W ➜  '
"""


@click.command(context_settings=_PASS_THROUGH)
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run kubectl against the mesh."""
    _run(name, "kubectl", arguments)


@click.command(context_settings=_PASS_THROUGH)
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def istioctl(name: str, arguments: tuple[str, ...]) -> None:
    """Run istioctl against the mesh."""
    _run(name, "istioctl", arguments)


def _run(name: str, tool: str, arguments: tuple[str, ...]) -> None:
    paths = running_paths(name)
    program: Path = paths.bin / tool
    os.execve(program, [tool, *arguments], tool_environment(paths))
