"""`ambientlab lab`: play a guided lab, here or on any cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console

from ambientlab import labs
from ambientlab.cli import reading
from ambientlab.cli.mesh import name_option, running_paths
from ambientlab.cli.output import fail, json_out, step, table, talk
from ambientlab.host.environment import DEFAULT_LAB, lab_environment
from ambientlab.host.paths import DEFAULT_NAME, PathError, mesh_paths
from ambientlab.labs import guide, runner

T = TypeVar("T")

_lab = click.argument("lab_name", metavar="[NAME]", default=DEFAULT_LAB)
_context = click.option("--context", help="Play on this kubeconfig context instead of the mesh of this machine.")
_kubeconfig = click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig file of that context.")


@click.group()
def lab() -> None:
    """Guided labs: what to type, and checks that real traffic behaves as the text says."""


@lab.command(name="list")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def list_(output: str) -> None:
    """The labs there are."""
    found = [labs.load(name) for name in labs.names()]
    if output == "json":
        json_out([{"name": each.name, "title": each.definition.title, "steps": len(each.steps)} for each in found])
    else:
        table(["NAME", "STEPS", "TITLE"], [[each.name, str(len(each.steps)), each.definition.title] for each in found])


def _command(
    name_of_action: str, action: Callable[[labs.Lab, labs.Environment, Console], bool | None], text: str
) -> None:
    """One subcommand per verb of `labs.guide`; False from it is exit status 1."""

    @lab.command(name=name_of_action, help=text)
    @_lab
    @name_option
    @_context
    @_kubeconfig
    def command(lab_name: str, name: str, context: str | None, kubeconfig: Path | None) -> None:
        environment = _environment(name, context, kubeconfig)
        if _guarded(lambda: action(labs.load(lab_name), environment, _console())) is False:
            raise SystemExit(1)
        if name_of_action == "start" and context is None and "AMBIENTLAB_PATH" not in os.environ:
            talk(f"Type the commands in: {environment.ambientlab('shell')}")


_command("start", guide.start, "Set up a lab's world and show its step.")
_command("show", guide.show, "Show the current step again.")
_command("check", guide.check, "Check the current step; go on to the next when it holds.")
_command("hint", guide.hint, "One hint more for the current step.")
_command("solve", guide.solve, "Type the current step's commands, then check.")
_command("reset", guide.reset, "Put a lab's world and files back to their beginning.")


@lab.command()
@_lab
@name_option
@_context
@_kubeconfig
@click.option("--isolated", is_flag=True, help="On a mesh of its own that is torn down at the end.")
def run(lab_name: str, name: str, context: str | None, kubeconfig: Path | None, isolated: bool) -> None:
    """Play a whole lab: type every command, verify every step. Exits 0 only if every step was verified."""
    if isolated and (context or kubeconfig):
        fail("--isolated makes a mesh of its own: leave --context and --kubeconfig out", code=2)
    chosen = _guarded(lambda: labs.load(lab_name))
    passed = _isolated(chosen) if isolated else _play(chosen, _environment(name, context, kubeconfig))
    raise SystemExit(0 if passed else 1)


def _isolated(chosen: labs.Lab) -> bool:
    from ambientlab.host import isolated, lifecycle
    from ambientlab.host.tools import ToolError

    with isolated.directory():
        talk("Starting a mesh of its own", bold=True)
        paths = mesh_paths(DEFAULT_NAME)
        try:
            lifecycle.up(paths, patience=60, report=lambda done: step(done.text), kubeconfig_path=None)
        except lifecycle.LifecycleError as error:
            fail(str(error), error.hints)
        except (PathError, ToolError) as error:
            fail(str(error))
        passed = _play(chosen, lab_environment(paths))
        talk("Tearing the mesh down")
    return passed


def _play(chosen: labs.Lab, environment: labs.Environment) -> bool:
    return _guarded(lambda: runner.run(chosen, environment, _console()))


def _environment(name: str, context: str | None, kubeconfig: Path | None) -> labs.Environment:
    """The mesh of this machine, or any cluster: then the directory is where the person stands."""
    if context is None and kubeconfig is None:
        flags = [] if name == os.environ.get("AMBIENTLAB_NAME", DEFAULT_NAME) else ["--name", name]
        return replace(lab_environment(running_paths(name)), flags=flags)
    variables = {**os.environ, **({"KUBECONFIG": str(kubeconfig.absolute())} if kubeconfig else {})}
    return labs.Environment(variables, Path.cwd(), context or "", reading.flags(context, kubeconfig))


def _guarded(action: Callable[[], T]) -> T:
    try:
        return action()
    except labs.LabError as error:
        fail(str(error), code=2)
    except labs.CommandError as error:
        fail(str(error))


class Screen(Console):
    def on_broken_pipe(self) -> None:
        """It ends the command as it ends every other."""
        raise BrokenPipeError


def _console() -> Console:
    """A pipe or a file is given 100 columns, not the 80 that are assumed where nobody says."""
    console = Screen(highlight=False)
    return console if console.is_terminal else Screen(width=100, highlight=False)
