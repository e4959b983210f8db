"""`istioctl`: Istio's command line for this mesh and, with a kubeconfig, for any other.

Flags, words, columns and exit codes are those of istioctl 1.31. What is not built says so; nothing pretends to work.
"""

from __future__ import annotations

import sys

import click

from ambientlab.cli.istio.command import EXIT_USAGE, Group, Place, words
from ambientlab.cli.program import Program

_ISTIO = "ambientlab.cli.istio"
_ALIASES = {
    "dashboard": ("dash", "d"),
    "experimental": ("x", "exp"),
    "install": ("apply",),
    "proxy-config": ("pc",),
    "proxy-status": ("ps",),
    "validate": ("v",),
    "ztunnel-config": ("zc",),
}
_COMMANDS = {
    "analyze": Place(f"{_ISTIO}.analyze", "analyze", "Analyze Istio configuration and print validation messages"),
    "authz": Place(f"{_ISTIO}.authz", "authz", "Inspect Istio AuthorizationPolicy"),
    "bug-report": Place(f"{_ISTIO}.bug_report", "bug_report", "Cluster information and log capture support tool."),
    "completion": Place(
        f"{_ISTIO}.completion", "completion", "Generate the autocompletion script for the specified shell"
    ),
    "dashboard": Place(f"{_ISTIO}.dashboard", "dashboard", "Access to Istio web UIs"),
    "experimental": Place(
        f"{_ISTIO}.experimental", "experimental", "Experimental commands that may be modified or deprecated"
    ),
    "install": Place(f"{_ISTIO}.install", "install", "Says what is installed: this mesh comes with Istio."),
    "manifest": Place(f"{_ISTIO}.install", "manifest", "Commands related to Istio manifests"),
    "proxy-config": Place(
        "ambientlab.cli.proxy_config.commands",
        "proxy_config",
        "Retrieve information about proxy configuration from Envoy",
    ),
    "proxy-status": Place(
        "ambientlab.cli.proxy_status", "proxy_status", "Retrieves the synchronization status of each Envoy in the mesh"
    ),
    "tag": Place(f"{_ISTIO}.tag", "tag", "Command group used to interact with revision tags"),
    "uninstall": Place(
        f"{_ISTIO}.install", "uninstall", "Says how to stop this mesh, which is its only uninstallation."
    ),
    "upgrade": Place(f"{_ISTIO}.install", "upgrade", "Says what is installed: it comes with the package."),
    "validate": Place(f"{_ISTIO}.validate", "validate", "Validate Istio policy and rules files"),
    "verify-install": Place(f"{_ISTIO}.install", "verify_install", "Verifies Istio Installation Status"),
    "version": Place(f"{_ISTIO}.version", "version", "Prints out build version information"),
    "waypoint": Place("ambientlab.cli.waypoint", "waypoint", "Manage waypoint configuration"),
    "ztunnel-config": Place(
        "ambientlab.cli.ztunnel_config.commands",
        "ztunnel_config",
        "Update or retrieve current Ztunnel configuration.",
    ),
}
_ABSENT = {
    "admin": "this istiod has no ControlZ; its log is in `kubectl logs -n istio-system deploy/istiod`",
    "create-remote-secret": "a mesh of ambientlab is one cluster",
    "kube-inject": "nothing here runs sidecars",
    "remote-clusters": "a mesh of ambientlab is one cluster",
}
"""Commands of Istio's, and why they are missing."""

_HELP = {"help_option_names": ["-h", "--help"]}


class Istioctl(Program, Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`help COMMAND` is cobra's word for `COMMAND --help`."""
        if args[0] != "help":
            return super().resolve_command(ctx, args)
        if args[1:]:
            return super().resolve_command(ctx, [*args[1:], "--help"])
        click.echo(ctx.get_help())
        ctx.exit()


cli = Istioctl(
    "istioctl",
    aliases=_ALIASES,
    places=_COMMANDS,
    absent=_ABSENT,
    context_settings=_HELP,
    help="Istio configuration command line utility for service operators to debug and diagnose their Istio mesh.",
)


def main() -> None:
    """The program: errors on one line, as istioctl's, with its exit codes."""
    from ambientlab.cli.output import printable
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.host.kubeconfig import KubeconfigError
    from ambientlab.host.kubectl import KubectlError, plain
    from ambientlab.host.tools import ToolError

    try:
        cli(standalone_mode=False, prog_name="istioctl")
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.UsageError as error:
        click.echo(f"Error: {printable(words(error))}", err=True)
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        click.echo(f"Error: {printable(error.format_message())}", err=True)
        sys.exit(error.exit_code)
    except (ApiError, KubeconfigError, KubectlError, ToolError) as error:
        click.echo(f"Error: {printable(plain(str(error)))}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
