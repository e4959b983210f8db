"""istiod as istioctl asks it: its pods, by port-forward to their monitoring port.

pkg/kube/client.go, AllDiscoveryDo.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from ambientlab.cli import pods
from ambientlab.cli.istio.command import Cluster
from ambientlab.cli.shapes import ShapeError, each, message, text, values
from ambientlab.host.kubectl import KubectlError, plain

PORT = 15014
REVISION = "istio.io/rev"


def selector(revision: str) -> str:
    return f"app=istiod,{REVISION}={revision}" if revision else "app=istiod"


def instances(cluster: Cluster, revision: str = "") -> list[pods.Pod]:
    found = pods.select(cluster, selector(revision), cluster.istio_namespace)
    if not found:
        raise click.ClickException(f'no running Istio pods in "{cluster.istio_namespace}"')
    return found


def ask(cluster: Cluster, istiod: pods.Pod, path: str) -> bytes:
    """Raises KubectlError."""
    return pods.ask(cluster, istiod, path, port=PORT)


def syncz(cluster: Cluster, namespace: str = "", revision: str = "") -> dict[str, list[dict[str, Any]]]:
    """The proxies of a namespace or of all, by the istiod that serves them."""
    query = f"?namespace={quote(namespace, safe='')}" if namespace else ""
    try:
        return {one.name: proxies(ask(cluster, one, f"debug/syncz{query}")) for one in instances(cluster, revision)}
    except KubectlError as error:
        raise click.ClickException(plain(str(error))) from None


_RESOURCE = message(dict.fromkeys(("sent", "acked", "sentTime", "lastError"), text))
_PROXY = message({**dict.fromkeys(("proxy", "cluster_id", "istio_version"), text), "resources": values(_RESOURCE)})


def proxies(answer: str | bytes) -> list[dict[str, Any]]:
    """istiod's own answer (pilot/pkg/xds/debug.go, SyncStatus), in which empty fields are left out."""
    try:
        found: list[dict[str, Any]] = each(_PROXY)(json.loads(answer))
    except (ValueError, RecursionError, ShapeError) as error:
        raise click.ClickException(f"what answers at port {PORT} is no istiod: {error}") from None
    return [{"proxy": "", "resources": {}, **one} for one in found]
