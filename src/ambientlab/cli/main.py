"""`ambientlab`: the commands and where each is found. A command's module is imported only when it runs."""

from __future__ import annotations

import importlib

import click

from ambientlab import __version__
from ambientlab.cli.program import Program

# command -> (module, attribute, one line for --help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "up": ("ambientlab.cli.mesh", "up", "Start the mesh in the background and wait until it is Ready."),
    "down": ("ambientlab.cli.mesh", "down", "Stop the mesh; its state stays unless --purge."),
    "status": ("ambientlab.cli.mesh", "status", "What runs, and where."),
    "logs": ("ambientlab.cli.mesh", "logs", "The logs of the mesh's own components."),
    "doctor": ("ambientlab.cli.mesh", "doctor", "Can this machine run a mesh, and the exact fix if not."),
    "shell": ("ambientlab.cli.shell", "shell", "A shell with kubectl, k, istioctl and the lab's files."),
    "kubectl": ("ambientlab.cli.shell", "kubectl", "Run kubectl against the mesh."),
    "istioctl": ("ambientlab.cli.shell", "istioctl", "Run istioctl against the mesh."),
    "explain": ("ambientlab.cli.explain.command", "explain", "Why a request goes where it goes."),
    "analyze": ("ambientlab.cli.analyze.command", "analyze", "What is wrong with a mesh, and the fix."),
    "plan": ("ambientlab.cli.plan.command", "plan", "What manifests would do to traffic, before they are applied."),
    "traffic": ("ambientlab.cli.traffic", "traffic", "Real requests from a pod, counted and compared."),
    "lab": ("ambientlab.cli.lab", "lab", "Guided labs with checks."),
    "debug": ("ambientlab.cli.debug", "debug", "The pipeline laid open: what becomes of objects on their way."),
}


class Lazy(Program):
    """A group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ambientlab")
def cli() -> None:
    """An Istio ambient mesh on this machine: real kubectl, real Envoy, no cluster."""


def main() -> None:
    """The program, by its name however it was started: that of `ambientlab shell` is a script over this module."""
    cli(prog_name="ambientlab")


if __name__ == "__main__":
    main()
