"""`istioctl proxy-status`: what istiod has sent to each proxy, and what it has taken (istioctl/pkg/writer/pilot).

Asked of istiod's pods, by port-forward, as JSON of /debug/syncz.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ambientlab.api.printers.columns import duration
from ambientlab.cli import pods
from ambientlab.cli.istio import istiod
from ambientlab.cli.istio.command import Command, contents, named
from ambientlab.cli.proxy_config.dump import Dump, DumpError
from ambientlab.cli.shapes import moment
from ambientlab.cli.tabwriter import columns
from ambientlab.host.kubectl import KubectlError

if TYPE_CHECKING:
    from ambientlab.cli.istio.command import Cluster

_IGNORED, _NOT_SENT = "IGNORED", "NOT SENT"
_TYPE = "type.googleapis.com/envoy."
_SHORT = {
    f"{_TYPE}config.cluster.v3.Cluster": "CDS",
    f"{_TYPE}config.listener.v3.Listener": "LDS",
    f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment": "EDS",
    f"{_TYPE}config.route.v3.RouteConfiguration": "RDS",
    f"{_TYPE}config.core.v3.TypedExtensionConfig": "ECDS",
    f"{_TYPE}extensions.transport_sockets.tls.v3.Secret": "SDS",
    "type.googleapis.com/istio.workload.Address": "WDS",
    "type.googleapis.com/istio.security.Authorization": "WADS",
}
"""The first four come first, in this order, as in istioctl."""
_CORE = ("CDS", "LDS", "EDS", "RDS")
_ALWAYS = ("CDS", "LDS", "EDS", "RDS", "ECDS")


@click.command(name="proxy-status", cls=Command)
@click.option("-o", "--output", default="table", show_default=True, help="One of json|yaml|table.")
@click.option("-v", "--verbosity", type=int, default=0, show_default=True, help="1 shows all xDS types.")
@click.option("-r", "--revision", default="", help="Control plane revision")
@click.option("--file", type=click.Path(path_type=Path), help="Envoy config dump JSON file; - is stdin.")
@click.option("--proxy-admin-port", "port", default=pods.ADMIN_PORT, show_default=True, help="Envoy proxy admin port")
@click.argument("pod", required=False, default="")
@click.pass_obj
def proxy_status(
    cluster: Cluster, output: str, verbosity: int, revision: str, file: Path | None, port: int, pod: str
) -> None:
    """Retrieves the synchronization status of each Envoy in the mesh."""
    if pod:
        _compare(cluster, pod, file, port)
        return
    if output not in ("json", "yaml", "table"):
        raise click.ClickException(f'output format "{output}" not supported')
    served = istiod.syncz(cluster, cluster.given, revision)
    if output != "table":
        for name, proxies in served.items():
            click.echo(_text(_document(name, proxies), output))
        return
    found = [{**proxy, "istiod": name} for name, proxies in served.items() for proxy in proxies]
    found.sort(key=lambda proxy: proxy["proxy"])
    if verbosity:
        columns(_verbose(found))
    else:
        columns([["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"], *map(_row, found)])


def _text(document: dict[str, Any], output: str) -> str:
    if output == "json":
        return json.dumps(document, indent=4)
    from ambientlab.cli import goyaml

    return goyaml.text(document)


def _document(name: str, proxies: list[dict[str, Any]]) -> dict[str, Any]:
    """istiod's answer to istio.io/debug/syncz, which istioctl shows as it is."""
    return {
        "resources": [_client_config(proxy) for proxy in sorted(proxies, key=lambda proxy: str(proxy["proxy"]))],
        "typeUrl": "istio.io/debug/syncz",
        "controlPlane": {"identifier": json.dumps({"Component": "istiod", "ID": name})},
    }


def _client_config(proxy: dict[str, Any]) -> dict[str, Any]:
    configs = []
    for url, resource in sorted(proxy["resources"].items()):
        updated = {"lastUpdated": resource["sentTime"]} if resource.get("sentTime") else {}
        error = {"errorState": {"details": resource["lastError"]}} if resource.get("lastError") else {}
        status = _word(resource).replace(" ", "_")
        configs.append({"typeUrl": url, **updated, "configStatus": status, **error})
    metadata = {
        "CLUSTER_ID": proxy.get("cluster_id", ""),
        "ISTIO_VERSION": proxy.get("istio_version", ""),
        "NAMESPACE": proxy["proxy"].rpartition(".")[2],
    }
    node = {"id": proxy["proxy"], "metadata": metadata}
    kind = f"{_TYPE}service.status.v3.ClientConfig"
    return {"@type": kind, "node": node, "genericXdsConfigs": configs}


def _compare(cluster: Cluster, text: str, file: Path | None, port: int) -> None:
    pod = pods.find(cluster, text, cluster.namespace)
    found = cluster.kubectl.get("pod", pod.name, pod.namespace) or {"metadata": {}}
    if (found["metadata"].get("labels") or {}).get("app") == "ztunnel":
        click.echo(f"Sync diff is not available for ztunnel pod {pod.name}.{pod.namespace}")
        return
    try:
        envoy = Dump(contents(file) if file is not None else pods.ask(cluster, pod, "config_dump", port=port))
    except DumpError as error:
        raise click.ClickException(f"could not contact sidecar: {named(file, error)}") from None
    except (click.ClickException, KubectlError) as error:
        raise click.ClickException(f"could not contact sidecar: {error}") from None
    try:
        for line in compared(_sent(cluster, pod), envoy):
            click.echo(line)
    except DumpError as error:
        raise click.ClickException(str(error)) from None


def compared(sent: Dump, envoy: Dump) -> Iterator[str]:
    """What istiod wants beside what Envoy runs (istioctl/pkg/writer/compare)."""
    for what, *where in _COMPARED:
        known, there = _bodies(sent, *where), _bodies(envoy, *where)
        verdict = "Match" if known == there else "Don't Match"
        yield f"{what} {verdict}" + (f" (RDS last loaded at {_loaded(envoy)})" if what == "Routes" else "")
        yield from unified_diff(known, there, f"Istiod {what}", f"Envoy {what}", lineterm="", n=_CONTEXT)


_CONTEXT = 7
_COMPARED = (
    ("Clusters", "ClustersConfigDump", "dynamic_active_clusters", "cluster"),
    ("Listeners", "ListenersConfigDump", "dynamic_listeners", "listener"),
    ("Routes", "RoutesConfigDump", "dynamic_route_configs", "route_config"),
)


def _sent(cluster: Cluster, pod: pods.Pod) -> Dump:
    """Of the istiod that serves the proxy."""
    path = f"debug/config_dump?proxyID={quote(f'{pod.name}.{pod.namespace}', safe='')}"
    failure: Exception | None = None
    for one in istiod.instances(cluster):
        try:
            return Dump(istiod.ask(cluster, one, path))
        except (KubectlError, DumpError) as error:
            failure = error
    raise click.ClickException(f"unable to find config dump in Istiod responses: {failure}")


def _bodies(dump: Dump, kind: str, field: str, body: str) -> list[str]:
    """Lines of JSON, by name. Versions say nothing: Envoy keeps a listener's when its filter chains alone change."""
    found = []
    for one in dump.section(kind).get(field) or ():
        state = one.get("active_state") or {} if body == "listener" else one
        found.append(state.get(body) or {})
    found.sort(key=lambda body: str(body.get("name", "")))
    return json.dumps(found, indent=4, sort_keys=True).splitlines()


def _loaded(envoy: Dump) -> str:
    configs = envoy.section("RoutesConfigDump").get("dynamic_route_configs") or ()
    moments = [found for one in configs if (found := moment(one.get("last_updated", ""))) is not None]
    return f"{max(moments).astimezone():%a, %d %b %Y %H:%M:%S %Z}" if moments else "never"


def _row(proxy: dict[str, Any]) -> list[str]:
    known = [_short(url) for url, resource in proxy["resources"].items() if _status(resource) != _IGNORED]
    types = [*(short for short in _CORE if short in known), *sorted(short for short in known if short not in _CORE)]
    subscribed = f"{len(types)} ({','.join(types)})" if types else "0"
    return [proxy["proxy"], proxy.get("cluster_id", ""), proxy["istiod"], proxy.get("istio_version", ""), subscribed]


def _verbose(proxies: list[dict[str, Any]]) -> list[list[str]]:
    """Types in the order of their full names (printAllVerbose)."""
    always = {url for url, short in _SHORT.items() if short in _ALWAYS}
    types = [_short(url) for url in sorted(always | {url for proxy in proxies for url in proxy["resources"]})]
    rows = [["NAME", "CLUSTER", *types, "ISTIOD", "VERSION"]]
    for proxy in proxies:
        statuses = {_short(url): _status(resource) for url, resource in proxy["resources"].items()}
        after = [proxy["istiod"], proxy.get("istio_version", "")]
        rows.append([proxy["proxy"], proxy.get("cluster_id", ""), *(statuses.get(t, _IGNORED) for t in types), *after])
    return rows


def _short(type_url: str) -> str:
    return _SHORT.get(type_url, type_url)


def _status(resource: dict[str, str]) -> str:
    word, then = _word(resource), moment(resource.get("sentTime", ""))
    if word == _NOT_SENT or then is None:
        return word
    return f"{word} ({duration((datetime.now(UTC) - then).total_seconds())})"


def _word(resource: dict[str, str]) -> str:
    """pilot/pkg/xds/statusgen.go, debugSyncStatus."""
    if resource.get("lastError"):
        return "ERROR"
    if not resource.get("sent"):
        return _NOT_SENT
    return "SYNCED" if resource.get("acked") == resource["sent"] else "STALE"
