"""`istioctl version`: the client's, istiod's as it says itself, and those of the proxies it serves.

istioctl/pkg/version and pkg/version/cobra.go. The client tells which Istio it behaves as; by its revision it is no
build of Istio's.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from ambientlab.api.objects import condition_holds
from ambientlab.cli import pods
from ambientlab.cli.istio import istiod
from ambientlab.cli.istio.command import Cluster, Command, boolean
from ambientlab.cluster import BUILD, ISTIO_VERSION
from ambientlab.host.kubectl import KubectlError, plain

_FIELDS = {
    "version": "Version",
    "revision": "GitRevision",
    "golang_version": "GolangVersion",
    "status": "BuildStatus",
    "tag": "GitTag",
}
"""Of Go's BuildInfo, as JSON and as its long form name them."""
_CLIENT = {"version": ISTIO_VERSION, "revision": BUILD, "golang_version": "", "status": "Clean", "tag": ISTIO_VERSION}

_ABSENT = "Istio is not present in the cluster"


@click.command(cls=Command)
@boolean("--remote", default=True, help="Use --remote=false to suppress control plane check")
@boolean("-s", "--short", default=True, help="Use --short=false to generate full version information")
@click.option("-o", "--output", default="", help="One of 'yaml' or 'json'.")
@click.option("-r", "--revision", default="", help="Control plane revision")
@click.pass_obj
def version(cluster: Cluster, remote: bool, short: bool, output: str, revision: str) -> None:
    """Prints out build version information"""
    if output not in ("", "yaml", "json"):
        raise click.ClickException("--output must be 'yaml' or 'json'")
    servers = _servers(cluster, revision) if remote else None
    proxies = _proxies(cluster, revision) if remote else None
    if output:
        found: dict[str, Any] = {"clientVersion": _CLIENT}
        found |= {"meshVersion": servers} if servers else {}
        found |= {} if proxies is None else {"dataPlaneVersion": proxies}
        click.echo(_text(found, output))
    elif short:
        _brief(servers, proxies)
    else:
        click.echo(f"client version: {_long('version.BuildInfo', _CLIENT, _FIELDS)}")
        for one in servers or ():
            click.echo(f"{one['Component']} version: {_long('version.BuildInfo', one['Info'], _FIELDS)}")
        for proxy in proxies or ():
            click.echo(f"data plane version: {_long('version.ProxyInfo', proxy, {name: name for name in proxy})}")


def _text(found: dict[str, Any], output: str) -> str:
    if output == "json":
        return json.dumps(found, indent=2)
    from ambientlab.cli import goyaml

    return goyaml.text(found)


def _brief(servers: list[dict[str, Any]] | None, proxies: list[dict[str, str]] | None) -> None:
    click.echo(f"client version: {ISTIO_VERSION}")
    versions = [one["Info"]["version"] for one in servers or ()]
    if len(set(versions)) == 1:
        click.echo(f"control plane version: {versions[0]}")
    else:
        for one in servers or ():
            click.echo(f"{one['Component']} version: {one['Info']['version']}")
    if proxies is not None:
        counted = Counter(proxy["IstioVersion"] for proxy in proxies)
        words = [f"{version} ({count} proxies)" for version, count in sorted(counted.items())]
        click.echo(f"data plane version: {', '.join(words) or 'none'}")


def _servers(cluster: Cluster, revision: str) -> list[dict[str, Any]] | None:
    """What each istiod says at /version, `version-revision-status`."""
    try:
        found = cluster.kubectl.list("pods", cluster.istio_namespace, istiod.selector(revision))
        ready = [pod for pod in found if condition_holds(pod, "Ready")]
        if not ready:
            click.echo(f'{_ABSENT}: no running Istio pods in namespace "{cluster.istio_namespace}"', err=True)
            return None
        servers = []
        for pod in ready:
            where = pods.Pod(pod["metadata"]["name"], cluster.istio_namespace)
            said = istiod.ask(cluster, where, "version").decode()
            labels = pod["metadata"].get("labels") or {}
            info = _info(said)
            servers.append(
                {"Component": labels.get("istio", ""), "Revision": labels.get(istiod.REVISION, ""), "Info": info}
            )
    except (click.ClickException, KubectlError) as error:
        click.echo(f"{_ABSENT}: {plain(str(error))}", err=True)
        return None
    return servers


def _info(said: str) -> dict[str, str]:
    """The version of a build that has no release is of several parts itself: `1.31-alpha.8f3d...`"""
    version, revision, status = said.rsplit("-", 2) if said.count("-") >= len("--") else (said, "", "")
    return {"version": version, "revision": revision, "golang_version": "", "status": status, "tag": version}


def _proxies(cluster: Cluster, revision: str) -> list[dict[str, str]] | None:
    try:
        found = [proxy for proxies in istiod.syncz(cluster, revision=revision).values() for proxy in proxies]
    except (click.ClickException, KubectlError):
        return None
    return [
        {"ID": proxy["proxy"], "IstioVersion": proxy.get("istio_version", ""), "Type": proxy.get("proxy_type", "")}
        for proxy in found
    ]


def _long(kind: str, values: dict[str, str], names: dict[str, str]) -> str:
    """As Go's %#v writes a struct."""
    fields = ", ".join(f'{name}:"{values.get(key, "")}"' for key, name in names.items())
    return f"{kind}{{{fields}}}"
