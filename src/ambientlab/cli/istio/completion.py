"""`istioctl completion`: the script that has a shell ask istioctl itself what may come next."""

from __future__ import annotations

import click

from ambientlab.cli.istio.command import Group, boolean

_VARIABLE = "_ISTIOCTL_COMPLETE"
"""By which the script asks; click reads it under the program's name."""
_ABSENT = {"powershell": "it is for shells of Linux"}


@click.group(cls=Group, absent=_ABSENT)
def completion() -> None:
    """Generate the autocompletion script for the specified shell: `source <(istioctl completion bash)`"""


def _for(shell: str) -> None:
    @completion.command(name=shell, help=f"Generate the autocompletion script for {shell}")
    @boolean("--no-descriptions", help="Accepted; descriptions are shown where the shell shows any.")
    def script(no_descriptions: bool) -> None:
        from click.shell_completion import get_completion_class

        from ambientlab.cli.istioctl import cli

        made = get_completion_class(shell)
        assert made is not None
        click.echo(made(cli, {}, "istioctl", _VARIABLE).source())


for _shell in ("bash", "fish", "zsh"):
    _for(_shell)
