"""Installing, as far as there is anything to: this mesh comes with Istio, and goes with it.

Each command says what runs instead of doing what it is named for; on a cluster that is not ambientlab's they do nothing
but say so. `verify-install`, which istioctl had until 1.23, really looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import click

from ambientlab.cli.istio.command import Cluster, Command, Group, boolean, early
from ambientlab.cluster import ISTIO_VERSION, NODE_NAME

_yes = boolean("-y", "--skip-confirmation", help="Nothing is changed, so nothing is asked.")
_files = click.option("-f", "--filename", "files", multiple=True, help="Path to an IstioOperator file; not read.")
_set = click.option("-s", "--set", "settings", multiple=True, help="A setting of an installation; none is made.")
_revision = click.option("-r", "--revision", default="", help="Control plane revision; there is one, `default`.")
_manifests = click.option("-d", "--manifests", "--charts", "manifests", default="", help="Path to charts; not read.")
_dry = boolean("--dry-run", help="Nothing is changed anyway.")
_force = boolean("--force", help="Nothing is changed, forced or not.")
_verify = boolean("--verify", help="Verify the installation as well.")
_timeout = click.option("--readiness-timeout", default="5m0s", help="Nothing is waited for.")


def _changing(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that would change an installation."""
    for option in (_dry, _revision, _manifests, _force, _yes, _set, _files):
        command = option(command)
    return command


class Part(NamedTuple):
    kind: str
    name: str
    words: str


_PARTS = (
    Part("deployment", "istiod", "Istiod"),
    Part("daemonset", "istio-cni-node", "CNI"),
    Part("daemonset", "ztunnel", "Ztunnel"),
)
_CRDS = (
    "gateways.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
    "virtualservices.networking.istio.io",
    "destinationrules.networking.istio.io",
    "serviceentries.networking.istio.io",
    "authorizationpolicies.security.istio.io",
    "peerauthentications.security.istio.io",
    "requestauthentications.security.istio.io",
    "telemetries.telemetry.istio.io",
)


@click.command(cls=Command)
@_changing
@_verify
@_timeout
@click.pass_obj
def install(cluster: Cluster, /, verify: bool, settings: tuple[str, ...], files: tuple[str, ...], **_: Any) -> None:
    """Says what is installed: this mesh comes with Istio."""
    _only_here(cluster)
    _runs()
    for setting in settings:
        if setting != "profile=ambient":
            click.echo(f"! {setting} has no effect: there is one profile here, ambient", err=True)
    for file in files:
        click.echo(f"! {file} is not read; mesh-wide settings are in ConfigMap istio-system/istio", err=True)
    if verify:
        _verified(cluster)


@click.command(cls=Command)
@_changing
@_verify
@_timeout
@click.pass_obj
def upgrade(cluster: Cluster, /, verify: bool, **_: Any) -> None:
    """Says what is installed: it comes with the package."""
    _only_here(cluster)
    _runs()
    if verify:
        _verified(cluster)
    click.echo("Another version comes with another version of the package: pip install --upgrade ambientlab")


@click.command(cls=Command)
@boolean("--purge", help="Delete all Istio related sources for all versions; nothing is deleted here.")
@_changing
@boolean("-v", "--verbose", help="There is no more to say.")
@click.pass_obj
def uninstall(cluster: Cluster, /, purge: bool, revision: str, files: tuple[str, ...], **_: Any) -> None:
    """Says how to stop this mesh, which is its only uninstallation."""
    if not (purge or revision or files):
        raise click.ClickException(
            "at least one of the --revision (or --set revision=<revision>), --filename or --purge flags must be set"
        )
    _only_here(cluster)
    _runs()
    click.echo("Nothing was removed: a mesh is nothing without it. `ambientlab down --purge` removes the mesh.")


_ABSENT = {
    "install": "the mesh comes with Istio; `istioctl install` says what runs",
    "translate": "nothing here is installed by Helm",
}


@early(_dry)
@click.group(cls=Group, absent=_ABSENT)
def manifest() -> None:
    """Commands related to Istio manifests"""


@manifest.command()
@_dry
@boolean("--cluster-specific", help="Accepted; what is printed is the cluster's own.")
@_files
@_set
@_force
@_manifests
@_revision
@click.option("-o", "--output", type=click.File("w"), default="-", help="A file to write to.")
@click.pass_obj
def generate(cluster: Cluster, /, output: Any, **_: Any) -> None:
    """Prints what an installation of this mesh consists of, as it is in the cluster."""
    from ambientlab.cli import goyaml

    _only_here(cluster)
    objects = [cluster.kubectl.get(part.kind, part.name, cluster.istio_namespace) for part in _PARTS]
    objects += [cluster.kubectl.get("configmap", "istio", cluster.istio_namespace)]
    for obj in filter(None, objects):
        obj.pop("status", None)
        for field in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"):
            obj["metadata"].pop(field, None)
        output.write(goyaml.text(obj) + "---\n")


@click.command(cls=Command)
@_files
@_manifests
@_revision
@click.pass_obj
def verify_install(cluster: Cluster, /, **_: Any) -> None:
    """Verifies Istio Installation Status: its kinds, and whether istiod, the CNI agent and ztunnel are ready."""
    _verified(cluster)


def _verified(cluster: Cluster) -> None:
    kinds = {crd["metadata"]["name"]: crd for crd in cluster.kubectl.list("customresourcedefinitions")}
    failures = 0
    for name in _CRDS:
        conditions = (kinds.get(name, {}).get("status") or {}).get("conditions") or ()
        good = any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
        failures += not good
        click.echo(f"{_mark(good)} CustomResourceDefinition: {name} checked {_outcome(good)}")
    for part in _PARTS:
        found = cluster.kubectl.get(part.kind, part.name, cluster.istio_namespace)
        good = found is not None and _ready(found)
        failures += not good
        what = f"{part.kind.capitalize().replace('set', 'Set')}: {part.name}.{cluster.istio_namespace}"
        click.echo(f"{_mark(good)} {what} checked {_outcome(good)}")
    click.echo(f"Checked {len(_CRDS)} custom resource definitions")
    click.echo(f"Checked {len(_PARTS)} Istio components")
    if failures:
        raise click.ClickException(f"Istio installation failed, incomplete or does not match: {failures} not ready")
    click.echo("✔ Istio is installed and verified successfully")


def _ready(workload: dict[str, Any]) -> bool:
    status = workload.get("status") or {}
    if workload["kind"] == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        return bool(0 < wanted == ready)
    replicas: int = workload["spec"].get("replicas", 1)
    return bool(0 < replicas == status.get("readyReplicas", 0))


def _mark(good: bool) -> str:
    return "✔" if good else "✘"


def _outcome(good: bool) -> str:
    return "successfully" if good else "unsuccessfully: it is missing or not ready"


def _runs() -> None:
    for part in _PARTS:
        click.echo(f"✔ {part.words} installed: {part.kind} {part.name}")
    click.echo(f"This mesh runs Istio {ISTIO_VERSION} with the ambient profile; it comes with it, nothing was changed.")


def _only_here(cluster: Cluster) -> None:
    """Raises for another cluster: this program installs nothing, and must not say that something is installed there."""
    nodes = {node["metadata"]["name"] for node in cluster.kubectl.list("nodes")}
    if nodes != {NODE_NAME}:
        raise click.ClickException(
            "this cluster is not ambientlab's, and this istioctl does not install Istio: use Istio's own for that"
        )
