"""`istioctl tag`: there is one revision here, and no tags.

Revision tags choose the sidecar injector of a namespace (istioctl/pkg/tag), and `istio.io/rev` of a waypoint the istiod
that serves it. This mesh has no injection and one istiod, so that tags cannot be set; what there is, is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from ambientlab.cli.istio import istiod
from ambientlab.cli.istio.command import Cluster, Group, boolean
from ambientlab.cli.tabwriter import columns

_overwrite = boolean("--overwrite", help="Point an existing tag at another revision.")
_manifests = click.option("-d", "--manifests", default="", help="Path to charts; not read.")
_yes = boolean("-y", "--skip-confirmation", help="Nothing is asked.")
_webhook = click.option("--webhook-name", default="", help="Name of a tag's webhook configuration.")
_inject = boolean("--auto-inject-namespaces", help="Inject sidecars everywhere.")
_of = click.option("-r", "--revision", default="", help="Control plane revision to reference from a revision tag")
_LABEL = "istio.io/tag"
_TAG = click.argument("names", nargs=-1)


@click.group(cls=Group, unknown="unknown subcommand", aliases={"list": ("show",), "remove": ("delete",)})
def tag() -> None:
    """Command group used to interact with revision tags"""


@tag.command(name="list")
@click.option("-o", "--output", default="table", help="Output format (available formats: table,json,yaml)")
@click.argument("arguments", nargs=-1)
@click.pass_obj
def list_(cluster: Cluster, output: str, arguments: tuple[str, ...]) -> None:
    """List existing revision tags"""
    if arguments:
        raise click.ClickException("tag list command does not accept arguments")
    if output not in ("table", "json", "yaml"):
        raise click.ClickException(f"unknown format: {output}")
    found = _tags(cluster)
    if not found:
        click.echo("No Istio revision tags found.")
    elif output == "table":
        rows = [[one["tag"], one["revision"], ",".join(one["namespaces"])] for one in found]
        columns([["TAG", "REVISION", "NAMESPACES"], *rows], 1)
    elif output == "json":
        click.echo(json.dumps(found, indent="\t"))
    else:
        from ambientlab.cli import goyaml

        click.echo(goyaml.text(found))


def _tags(cluster: Cluster) -> list[dict[str, Any]]:
    """A tag is a Service beside istiod's that carries its name, as installations since 1.27 make one. A revision
    without any is listed with none (listTags)."""
    services = cluster.kubectl.list("services", cluster.istio_namespace, istiod.REVISION)
    labels = [one["metadata"]["labels"] for one in services]
    found = sorted({(one[istiod.REVISION], one.get(_LABEL, "")) for one in labels})
    tagged = {revision for revision, name in found if name}
    found = [(revision, name) for revision, name in found if name or revision not in tagged]
    return [
        {
            "tag": name,
            "revision": revision,
            "namespaces": [
                each["metadata"]["name"]
                for each in (cluster.kubectl.list("namespaces", selector=f"{istiod.REVISION}={name}") if name else ())
            ],
        }
        for revision, name in found
    ]


def _making(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that make a tag."""
    for option in (_inject, _webhook, _yes, _manifests, _overwrite, _of, _TAG):
        command = option(command)
    return command


@tag.command(name="set")
@_making
@click.pass_obj
def set_(cluster: Cluster, /, names: tuple[str, ...], revision: str, **_: object) -> None:
    """Create or modify revision tags"""
    _refuse(cluster, names, revision)


@tag.command()
@_making
@click.pass_obj
def generate(cluster: Cluster, /, names: tuple[str, ...], revision: str, **_: object) -> None:
    """Generate configuration for a revision tag to stdout"""
    _refuse(cluster, names, revision)


@tag.command()
@_TAG
@_yes
def remove(names: tuple[str, ...], **_: object) -> None:
    """Remove Istio control plane revision tag"""
    name = _single(names, "removal", "removal")
    raise click.ClickException(
        f'cannot remove tag "{name}": cannot find MutatingWebhookConfiguration or Service for tag'
    )


def _single(names: tuple[str, ...], none: str, several: str) -> str:
    if not names:
        raise click.ClickException(f"must provide a tag for {none}")
    if len(names) > 1:
        raise click.ClickException(f"must provide a single tag for {several}")
    return names[0]


def _refuse(cluster: Cluster, names: tuple[str, ...], revision: str) -> None:
    name = _single(names, "modification", "creation")
    if not revision:
        raise click.ClickException('required flag(s) "revision" not set')
    if not cluster.kubectl.list("pods", cluster.istio_namespace, istiod.selector(revision)):
        raise click.ClickException(
            f'cannot modify tag: cannot find MutatingWebhookConfiguration or Service with revision "{revision}"'
        )
    raise click.ClickException(
        f'cannot create revision tag "{name}": tags choose what injects sidecars, and this istioctl injects none'
    )
