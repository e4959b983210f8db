"""`istioctl waypoint`: a waypoint is a Gateway of class istio-waypoint; these commands write, list and remove them.

Flags, words and columns follow istioctl 1.31 (istioctl/pkg/waypoint).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ambientlab.cli.istio.command import Group, boolean, early
from ambientlab.cli.mesh import Seconds
from ambientlab.cli.tabwriter import columns
from ambientlab.cluster import WAYPOINT_CLASS
from ambientlab.host.kubectl import KubectlError

if TYPE_CHECKING:
    from ambientlab.cli.istio.command import Cluster

_RESOURCE = "gateways.gateway.networking.k8s.io"
_WAYPOINT_FOR = "istio.io/waypoint-for"
_USE_WAYPOINT = "istio.io/use-waypoint"
_DATAPLANE_MODE = "istio.io/dataplane-mode"
_REVISION = "istio.io/rev"
_FAILED = "failed to create gateway"
_TRAFFIC_TYPES = ["all", "none", "service", "workload"]

_name = click.option("--name", default="waypoint", show_default=True, help="Name of the waypoint.")
_unused_name = click.option("--name", hidden=True, expose_value=False)
"""istioctl takes it for every command of the group, and these do nothing with it."""

_for = click.option("--for", "traffic", default="", help=f"Traffic type: one of {_TRAFFIC_TYPES}.")
_timeout = click.option(
    "--waypoint-timeout", "timeout", type=Seconds(), default="1m30s", show_default=True, help="How long to wait."
)
_revision = click.option("-r", "--revision", default="", help="The revision to label the waypoint with.")


@early(_name)
@click.group(cls=Group, unknown="unknown subcommand")
def waypoint() -> None:
    """Manage waypoint configuration."""


@waypoint.command()
@_name
@_for
@_revision
@boolean("--enroll-namespace", help="Label the namespace with the waypoint's name.")
@boolean("--overwrite", help="Overwrite the waypoint that the namespace uses.")
@boolean("-w", "--wait", help="Wait for the waypoint to be ready.")
@_timeout
@click.pass_obj
def apply(
    cluster: Cluster,
    name: str,
    traffic: str,
    revision: str,
    enroll_namespace: bool,
    overwrite: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Apply a waypoint configuration to the cluster."""
    where = cluster.namespace
    gateway = _gateway(name, where, traffic, revision)
    home = cluster.kubectl.get("namespace", where)
    if home is None:
        raise click.ClickException(f"namespace: {where} not found")
    if enroll_namespace:
        labels = home["metadata"].get("labels") or {}
        if _USE_WAYPOINT in labels and not overwrite:
            click.echo(
                f"⚠️ Warning: namespace ({where}) already has an enrolled Waypoint. "
                "Consider adding the `--overwrite` flag to your apply command."
            )
            return
        if labels.get(_DATAPLANE_MODE) != "ambient":
            click.echo(
                "⚠️ Warning: namespace is not enrolled in ambient. Consider running\t"
                f"`kubectl label namespace {where} {_DATAPLANE_MODE}=ambient`"
            )
    cluster.kubectl.apply(gateway, manager="istioctl")
    found = gateway["metadata"]["name"]
    click.echo(f"✅ waypoint {where}/{found} applied")
    if wait:
        _await(cluster, where, found, timeout, "timed out while waiting for waypoint")
        click.echo(f"✅ waypoint {where}/{found} is ready!")
    if enroll_namespace:
        cluster.kubectl.run(["label", "namespace", where, f"{_USE_WAYPOINT}={found}", "--overwrite"])
        click.echo(f'✅ namespace {where} labeled with "{_USE_WAYPOINT}: {found}"')


@waypoint.command()
@_name
@_for
@_revision
@click.pass_obj
def generate(cluster: Cluster, name: str, traffic: str, revision: str) -> None:
    """Generate a waypoint configuration as YAML."""
    from ambientlab.cli import goyaml

    click.echo(goyaml.text(_gateway(name, cluster.given, traffic, revision)), nl=False)


@waypoint.command(name="list")
@_unused_name
@boolean("-A", "--all-namespaces", "everywhere", help="List all waypoints in all namespaces.")
@click.pass_obj
def list_(cluster: Cluster, everywhere: bool) -> None:
    """List managed waypoint configurations."""
    found = _waypoints(cluster, None if everywhere else cluster.namespace)
    if not found:
        click.echo("No waypoints found.")
        return
    head = [*(["NAMESPACE"] if everywhere else []), "NAME", "REVISION", "TRAFFIC TYPE", "PROGRAMMED"]
    rows = []
    for gateway in found:
        metadata = gateway["metadata"]
        labels = metadata.get("labels") or {}
        programmed = _programmed(gateway)
        row = [
            metadata["name"],
            labels.get(_REVISION) or "default",
            labels.get(_WAYPOINT_FOR) or "none",
            programmed.get("status", "False"),
        ]
        rows.append([metadata["namespace"], *row] if everywhere else row)
    columns([head, *rows])


@waypoint.command()
@_unused_name
@boolean("-A", "--all-namespaces", "everywhere", help="Show the status of all waypoints.")
@boolean("-w", "--wait", default=True, help="Wait for the waypoints to be ready.")
@_timeout
@click.argument("arguments", nargs=-1)
@click.pass_obj
def status(cluster: Cluster, everywhere: bool, wait: bool, timeout: float, arguments: tuple[str, ...]) -> None:
    """Show the status of waypoints."""
    if arguments:
        raise click.ClickException(f'unknown subcommand "{arguments[0]}"')
    where = None if everywhere else cluster.namespace
    found = _waypoints(cluster, where)
    if wait:
        for gateway in found:
            if _programmed(gateway).get("status") != "True":
                home, name = gateway["metadata"]["namespace"], gateway["metadata"]["name"]
                _await(cluster, home, name, timeout, "timed out while retrieving status for waypoint")
                found = _waypoints(cluster, where)
    if not found:
        click.echo("No waypoints found.")
        return
    rows = [[*(["NAMESPACE"] if everywhere else []), "NAME", "STATUS", "TYPE", "REASON", "MESSAGE"]]
    for gateway in found:
        condition = _programmed(gateway)
        row = [
            gateway["metadata"]["name"],
            condition.get("status", "False"),
            condition.get("type", "Programmed"),
            condition.get("reason", ""),
            condition.get("message", ""),
        ]
        rows.append([gateway["metadata"]["namespace"], *row] if everywhere else row)
    columns(rows)


@waypoint.command()
@_unused_name
@click.argument("names", nargs=-1)
@boolean("--all", "everything", help="Delete all waypoints in the namespace.")
@click.option("-r", "--revision", default="", help="Delete the waypoints of this revision.")
@click.pass_obj
def delete(cluster: Cluster, names: tuple[str, ...], everything: bool, revision: str) -> None:
    """Delete a waypoint configuration from the cluster."""
    if (everything or revision) and names:
        raise click.ClickException("cannot specify waypoint names when deleting all waypoints")
    if not (everything or revision or names):
        raise click.ClickException(
            "must specify a waypoint name or delete all using --all or delete specific revision using --revision"
        )
    where = cluster.namespace
    there = {
        gateway["metadata"]["name"]: gateway["metadata"].get("labels") or {} for gateway in _waypoints(cluster, where)
    }
    if not names:
        names = tuple(name for name, labels in there.items() if not revision or labels.get(_REVISION) == revision)
    for name in names:
        if name not in there:
            click.echo(f"waypoint {where}/{name} not found")
            continue
        cluster.kubectl.run(["delete", _RESOURCE, name, "-n", where, "--wait=false"])
        click.echo(f"waypoint {where}/{name} deleted")


def _gateway(name: str, namespace: str, traffic: str, revision: str) -> dict[str, Any]:
    if name == "none":
        raise click.ClickException(f"{_FAILED}: invalid name provided for waypoint, 'none' is a reserved value")
    if traffic and traffic not in _TRAFFIC_TYPES:
        raise click.ClickException(
            f"{_FAILED}: invalid traffic type: {traffic}. Valid options are: [{' '.join(_TRAFFIC_TYPES)}]"
        )
    labels = {key: value for key, value in ((_WAYPOINT_FOR, traffic), (_REVISION, revision)) if value}
    metadata: dict[str, Any] = {"name": name or "waypoint"}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": metadata,
        "spec": {
            "gatewayClassName": WAYPOINT_CLASS,
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    }


def _waypoints(cluster: Cluster, namespace: str | None) -> list[dict[str, Any]]:
    found = [
        each
        for each in cluster.kubectl.list(_RESOURCE, namespace)
        if each["spec"]["gatewayClassName"] == WAYPOINT_CLASS
    ]
    return sorted(found, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"]))


def _await(cluster: Cluster, namespace: str, name: str, timeout: float, failure: str) -> None:
    condition = ["--for=condition=Programmed", f"--timeout={timeout}s"]
    try:
        cluster.kubectl.run(["wait", *condition, f"{_RESOURCE}/{name}", "-n", namespace])
    except KubectlError as error:
        raise click.ClickException(f"{failure}\t{namespace}/{name}: {error}") from error


def _programmed(gateway: dict[str, Any]) -> dict[str, str]:
    conditions = gateway.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Programmed"), {})
