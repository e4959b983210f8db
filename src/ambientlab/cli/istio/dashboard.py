"""`istioctl dashboard`: leads to pages that pods serve, until it is interrupted (istioctl/pkg/dashboard).

Envoy's and ztunnel's admin pages and istiod's debug pages are here; ControlZ is not. Kiali, Prometheus and the like are
what somebody installs: they are found by the labels that their charts give them.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from ambientlab.cli import pods
from ambientlab.cli.istio import istiod
from ambientlab.cli.istio.command import Cluster, Group, boolean, early
from ambientlab.host.kubectl import KubectlError

_ADDONS = {
    "grafana": ("Grafana", "app.kubernetes.io/name=grafana", 3000, ""),
    "jaeger": ("Jaeger", "app=jaeger", 16686, ""),
    "kiali": ("Kiali", "app=kiali", 20001, "/kiali"),
    "prometheus": ("Prometheus", "app.kubernetes.io/name=prometheus", 9090, ""),
    "skywalking": ("SkyWalking", "app=skywalking-ui", 8080, ""),
    "zipkin": ("Zipkin", "app=zipkin", 9411, ""),
}
_CONTROLZ = 9876


_OPTIONS = (
    boolean("--browser", default=True, help="Open a browser; --browser=false only prints the address."),
    click.option("--address", default="localhost", help="Address to listen on. [default: localhost]"),
    click.option("-p", "--port", default=0, help="Local port to listen to."),
)


@early(*_OPTIONS)
@click.group(cls=Group, unknown="unknown dashboard")
def dashboard() -> None:
    """Access to Istio web UIs"""


def _listening(command: Callable[..., None]) -> Callable[..., None]:
    """What all commands take: they get the cluster and what to do with an address."""

    @click.pass_obj
    def run(cluster: Cluster, /, browser: bool, address: str, port: int, **options: Any) -> None:
        command(cluster, Page(cluster, port, address, browser), **options)

    made: Callable[..., None] = functools.update_wrapper(run, command)
    for option in _OPTIONS:
        made = option(made)
    return made


@dataclass(frozen=True, slots=True)
class Page:
    """Where a pod's page is wanted."""

    cluster: Cluster
    port: int
    address: str
    browser: bool

    def show(self, pod: pods.Pod, port: int, path: str = "") -> None:
        """At the same port here if it is free, else at some port, as istioctl does. Returns when it is interrupted."""
        kubectl = self.cluster.kubectl
        shown = f"[{self.address}]" if ":" in self.address else self.address
        address = "127.0.0.1" if self.address == "localhost" else self.address
        failure = ""
        for local in [self.port] if self.port else [port, 0]:
            try:
                with kubectl.tunnel(pod.name, pod.namespace, port, local=local, address=address) as served:
                    self._open(f"http://{shown}:{served.port}{path}")
                    try:
                        served.process.wait()
                    except KeyboardInterrupt:
                        return
                    raise click.ClickException(f"lost connection to pod {pod.name}.{pod.namespace}")
            except KubectlError as error:
                failure = pods.unreachable(pod, error)
        raise click.ClickException(failure)

    def _open(self, url: str) -> None:
        click.echo(url)
        opener = shutil.which("xdg-open")
        if not self.browser:
            click.echo("skipping opening a browser")
        elif opener is None:
            click.echo(f"Failed to open browser; open {url} in your browser.")
        else:
            subprocess.Popen([opener, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _addon(name: str, title: str, selector: str, port: int, path: str) -> None:
    @dashboard.command(name=name, help=f"Open {title} web UI")
    @_listening
    @click.option("--ui-port", default=port, show_default=True, help="The component dashboard UI port.")
    def show(cluster: Cluster, page: Page, ui_port: int) -> None:
        for namespace in (cluster.istio_namespace, cluster.namespace):
            found = pods.select(cluster, selector, namespace)
            if found:
                page.show(found[0], ui_port, path)
                return
        raise click.ClickException(f"no pods found with selector {selector}")


for _name, _more in _ADDONS.items():
    _addon(_name, *_more)


def _proxy(name: str, words: str) -> None:
    @dashboard.command(name=name, help=words)
    @_listening
    @click.option("-l", "--selector", default="", help="Label selector")
    @click.option("--ui-port", default=pods.ADMIN_PORT, show_default=True, help="The component dashboard UI port.")
    @click.argument("names", nargs=-1)
    def show(cluster: Cluster, page: Page, selector: str, ui_port: int, names: tuple[str, ...]) -> None:
        pod = _one(cluster, names, selector, "", "specify a pod or --selector")
        page.show(pod, ui_port)


_proxy("proxy", "Open admin web UI for a proxy: a waypoint's Envoy, or ztunnel")
_proxy("envoy", "Open Envoy admin web UI (deprecated: use proxy)")


@dashboard.command(name="istiod-debug")
@_listening
@click.option("-l", "--selector", default="", help="Label selector")
@click.option("-r", "--revision", default="", help="Control plane revision")
@click.argument("names", nargs=-1)
def istiod_debug(cluster: Cluster, page: Page, selector: str, revision: str, names: tuple[str, ...]) -> None:
    """Open Istio debug web UI"""
    pod = _istiod(cluster, names, selector, revision)
    page.show(pod, istiod.PORT, "/debug")


@dashboard.command()
@_listening
@click.option("-l", "--selector", default="", help="Label selector")
@click.option("-r", "--revision", default="", help="Control plane revision")
@click.option("--ctrlz_port", "port_", default=_CONTROLZ, show_default=True, help="ControlZ port")
@click.argument("names", nargs=-1)
def controlz(cluster: Cluster, page: Page, selector: str, revision: str, port_: int, names: tuple[str, ...]) -> None:
    """Open ControlZ web UI, which the istiod of ambientlab has not"""
    pod = _istiod(cluster, names, selector, revision)
    try:
        pods.ask(cluster, pod, "", port=port_)
    except KubectlError as error:
        hint = "istioctl dashboard istiod-debug shows what it says of itself"
        raise click.ClickException(f"{pod.name} has no ControlZ at port {port_} ({error}); {hint}") from None
    page.show(pod, port_)


def _istiod(cluster: Cluster, names: tuple[str, ...], selector: str, revision: str) -> pods.Pod:
    if bool(names) + bool(selector) + bool(revision) > 1:
        raise click.ClickException("only one of name, --selector, or --revision can be specified")
    if revision:
        selector = istiod.selector(revision)
    return _one(cluster, names, selector, cluster.istio_namespace, "specify a pod, --selector, or --revision")


def _one(cluster: Cluster, names: tuple[str, ...], selector: str, namespace: str, nothing: str) -> pods.Pod:
    """In the namespace that is asked about, if none is named."""
    if not (names or selector):
        raise click.ClickException(nothing)
    if names and selector:
        raise click.ClickException("name cannot be provided when a selector is specified")
    namespace = namespace or cluster.namespace
    if names:
        return pods.find(cluster, names[0], namespace)
    found = pods.select(cluster, selector, namespace)
    if not found:
        raise click.ClickException("no pods found")
    return found[0]
