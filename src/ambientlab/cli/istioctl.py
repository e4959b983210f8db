"""`istioctl`: the commands an ambient user types, with Istio's flags, words and columns.

What is not built says so and exits 1; nothing pretends to work.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ambientlab.cluster import ISTIO_VERSION
from ambientlab.host.kubectl import Kubectl

_ALIASES = {"pc": "proxy-config", "ps": "proxy-status", "zc": "ztunnel-config"}


class Istioctl(click.Group):
    """Names the commands there are when asked for one there is not."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(name, name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            known = ", ".join(sorted(self.commands))
            raise click.ClickException(f'"{args[0]}" is not part of this istioctl. It has: {known}')
        return super().resolve_command(ctx, args)


@click.group(cls=Istioctl, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--kubeconfig", type=click.Path(path_type=Path), help="Kubernetes configuration file.")
@click.option("--context", help="Kubernetes configuration context.")
@click.option("-n", "--namespace", default="", help="Kubernetes namespace.")
@click.option("-i", "--istioNamespace", "istio_namespace", default="istio-system", help="Istio system namespace.")
@click.pass_context
def cli(ctx: click.Context, kubeconfig: Path | None, context: str | None, namespace: str, istio_namespace: str) -> None:
    """Istio's command line for this mesh."""
    ctx.obj = Cluster(Kubectl(kubeconfig, context), namespace, istio_namespace)


class Cluster:
    """The cluster and the namespace of one call; istioctl takes -n before or after the command's name."""

    def __init__(self, kubectl: Kubectl, namespace: str, istio_namespace: str) -> None:
        self.kubectl = kubectl
        self.istio_namespace = istio_namespace
        self._namespace = namespace

    def namespace(self, later: str) -> str:
        return later or self._namespace or self.kubectl.namespace()

    def given(self, later: str) -> str:
        """The namespace as it was typed, "" if it was not."""
        return later or self._namespace


@cli.command()
@click.option("--remote/--no-remote", default=True, help="Also ask the control plane.")
@click.option("-s", "--short", is_flag=True, help="Versions only.")
@click.pass_obj
def version(cluster: Cluster, remote: bool, short: bool) -> None:
    """Print the versions of client, control plane and data plane."""
    del short  # the short form is all there is
    click.echo(f"client version: {ISTIO_VERSION}")
    if not remote:
        return
    pods = cluster.kubectl.list("pods")
    for version in _versions(pods, "pilot"):
        click.echo(f"control plane version: {version}")
    proxies = Counter(_versions(pods, "ztunnel") + _versions(pods, "proxyv2"))
    words = [f"{version} ({count} proxies)" for version, count in sorted(proxies.items())]
    click.echo(f"data plane version: {', '.join(words) or 'none'}")


def _versions(pods: list[dict[str, Any]], image: str) -> list[str]:
    """The tags that the containers of an Istio image run, one for each."""
    images = [container["image"] for pod in pods for container in pod["spec"]["containers"]]
    return [tag for name, _, tag in (each.rpartition(":") for each in images) if name.endswith(f"/{image}")]


def main() -> None:
    """The program: errors on one line, as istioctl's, and exit status 1."""
    from ambientlab.cli.proxy_config.commands import proxy_config
    from ambientlab.cli.proxy_status import proxy_status
    from ambientlab.cli.waypoint import waypoint
    from ambientlab.cli.ztunnel_config.commands import ztunnel_config
    from ambientlab.host.kubectl import KubectlError
    from ambientlab.host.tools import ToolError

    cli.add_command(waypoint)
    cli.add_command(proxy_config)
    cli.add_command(proxy_status)
    cli.add_command(ztunnel_config)
    try:
        cli(standalone_mode=False, prog_name="istioctl")
    except click.UsageError as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(1)
    except (KubectlError, ToolError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)


if __name__ == "__main__":
    main()
