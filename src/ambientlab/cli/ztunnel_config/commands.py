"""The commands: find the ztunnel, fetch its dump, choose, print."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambientlab.cli import pods
from ambientlab.cli.istio.command import Group, boolean, contents, named
from ambientlab.cli.tabwriter import columns
from ambientlab.cli.ztunnel_config import tables
from ambientlab.cli.ztunnel_config.dump import Dump, DumpError
from ambientlab.host.kubectl import KubectlError

if TYPE_CHECKING:
    from ambientlab.cli.istio.command import Cluster

_ALIASES = {
    "workload": ("workloads", "w"),
    "service": ("services", "s", "svc"),
    "policy": ("policies", "p", "pol"),
    "certificate": ("certificates", "certs", "cert"),
    "connections": ("cons",),
    "log": ("o",),
}
_PADDING = 1
_DAEMONSET = "daemonset/ztunnel"
_LEVELS = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")
_ZTUNNEL_LEVELS = {"warning": "warn", "critical": "error"}

Command = Callable[..., None]


@click.group(name="ztunnel-config", cls=Group, aliases=_ALIASES)
def ztunnel_config() -> None:
    """Update or retrieve current Ztunnel configuration."""


_output = click.option("-o", "--output", default="short", show_default=True, help="One of json|yaml|short.")
_node = click.option("--node", default="", help="The node whose ztunnel is asked.")
_file = click.option("-f", "--file", type=click.Path(path_type=Path), help="Ztunnel dump JSON file; - is stdin.")
_port = click.option("--proxy-admin-port", "admin_port", default=pods.ADMIN_PORT, show_default=True)
_pod = click.argument("pod", required=False, default="")
_of_namespace = click.option("--workload-namespace", default="", help="Filter workloads by namespace field.")


class Source:
    """Where a command reads from; `target` is the workload that was named in place of a ztunnel."""

    def __init__(self, cluster: Cluster, pod: str, node: str, file: Path | None, port: int) -> None:
        if (file is not None) + bool(pod) + bool(node) > 1:
            click.echo(click.get_current_context().get_usage(), err=True)
            raise click.ClickException("at most one of --file, --node, or pod name must be passed")
        self._cluster = cluster
        self._file = file
        self._port = port
        self._asked = pod
        self._home = cluster.given or cluster.istio_namespace
        self._node = node
        self.target: pods.Pod | None = None

    def dump(self, *, of_one: bool = False) -> Dump:
        """`of_one`: ztunnels differ in what is asked for, so that one must be named where there are several."""
        try:
            return Dump(self._read(of_one=of_one))
        except DumpError as error:
            raise click.ClickException(named(self._file, error)) from None

    def instances(self) -> list[pods.Pod]:
        """The ztunnel that was named, or all there are."""
        if not self._asked:
            return pods.find_all(self._cluster, _DAEMONSET, self._cluster.istio_namespace)
        found = pods.find(self._cluster, self._asked, self._home)
        if not self._is_ztunnel(found):
            raise click.ClickException(f"workloads command is only supported by Ztunnel proxies: {found.name}")
        return [found]

    def post(self, ztunnel: pods.Pod, path: str) -> str:
        try:
            return pods.ask(self._cluster, ztunnel, path, method="POST", port=self._port).decode()
        except KubectlError as error:
            raise click.ClickException(
                f"{ztunnel.name}.{ztunnel.namespace}: failed to execute command on Ztunnel: {error}"
            ) from None

    def _read(self, *, of_one: bool) -> bytes:
        if self._file is not None:
            return contents(self._file)
        ztunnel = self._ztunnel(of_one=of_one)
        try:
            return pods.ask(self._cluster, ztunnel, "config_dump", port=self._port)
        except KubectlError as error:
            where = f"{ztunnel.name}.{ztunnel.namespace} Ztunnel"
            raise click.ClickException(f"failed to execute command on {where}: {error}") from None

    def _ztunnel(self, *, of_one: bool) -> pods.Pod:
        if self._node:
            return self._on_node(self._node)
        if self._asked:
            found = pods.find(self._cluster, self._asked, self._home)
        else:
            every = pods.find_all(self._cluster, _DAEMONSET, self._home)
            if not every:
                raise click.ClickException(f'no pods match "{_DAEMONSET}"')
            if of_one and len(every) != 1:
                raise click.ClickException("ztunnel pod name or --node must be set")
            found = every[0]
        return found if self._is_ztunnel(found) else self._of_workload(found)

    def _of_workload(self, workload: pods.Pod) -> pods.Pod:
        pod = self._cluster.kubectl.get("pod", workload.name, workload.namespace)
        if pod is None:
            words = f'pods "{workload.name}" not found'
            raise click.ClickException(f"failed to get pod {workload.name}.{workload.namespace}: {words}")
        node = pod["spec"].get("nodeName")
        if not node:
            raise click.ClickException(f"pod {workload.name}.{workload.namespace} is not scheduled to a node")
        self.target = workload
        return self._on_node(node)

    def _on_node(self, node: str) -> pods.Pod:
        home = self._cluster.istio_namespace
        owner = self._cluster.kubectl.get("daemonset", "ztunnel", home)
        if owner is None:
            raise click.ClickException('daemonsets.apps "ztunnel" not found')
        labels = owner["spec"]["selector"].get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        there = [p for p in self._cluster.kubectl.list("pods", home, selector) if p["spec"].get("nodeName") == node]
        if not there:
            raise click.ClickException("no pods found")
        return pods.Pod(there[0]["metadata"]["name"], home)

    def _is_ztunnel(self, pod: pods.Pod) -> bool:
        """By its label `app`, else by its name (istioctl/pkg/util/ambient, IsZtunnelPod)."""
        found = self._cluster.kubectl.get("pod", pod.name, pod.namespace) or {}
        label = found.get("metadata", {}).get("labels", {}).get("app")
        return pod.name.startswith("ztunnel") if label is None else label == "ztunnel"


def _source(command: Callable[..., None]) -> Command:
    """What all commands take: they get the Source that it comes to."""

    @click.pass_obj
    def run(cluster: Cluster, /, file: Path | None, node: str, admin_port: int, pod: str, **options: Any) -> None:
        command(Source(cluster, pod, node, file, admin_port), **options)

    made: Command = functools.update_wrapper(run, command)
    for option in (_pod, _port, _file, _node):
        made = option(made)
    return made


def _print(output: str, value: Callable[[], Any], rows: Callable[[], None]) -> None:
    if output == "json":
        click.echo(json.dumps(value(), indent=4, ensure_ascii=False))
    elif output == "yaml":
        from ambientlab.cli import goyaml

        click.echo(goyaml.text(value()))
    elif output == "short":
        rows()
    else:
        raise click.ClickException(f'output format "{output}" not supported')


@ztunnel_config.command()
@_source
@_output
@_of_namespace
@click.option("--address", default="", help="Filter workloads by address field.")
@click.option("--workload-node", default="", help="Filter workloads by node.")
def workload(source: Source, output: str, workload_namespace: str, address: str, workload_node: str) -> None:
    """Retrieves workload configuration for the specified Ztunnel pod, or of the named workload."""
    dump = source.dump()
    name, namespace = ("", workload_namespace) if source.target is None else source.target
    chosen = tables.WorkloadFilter(namespace, name, address, workload_node)
    _print(
        output,
        lambda: [one for one in dump.workloads if chosen.admits(one)],
        lambda: columns(tables.workloads(dump, chosen), _PADDING),
    )


@ztunnel_config.command()
@_source
@_output
@click.option("--service-namespace", default="", help="Filter services by namespace field.")
def service(source: Source, output: str, service_namespace: str) -> None:
    """Retrieves services for the specified Ztunnel pod."""
    dump = source.dump()
    _print(
        output,
        lambda: tables.ordered_services(dump, service_namespace),
        lambda: columns(tables.services(dump, service_namespace), _PADDING),
    )


@ztunnel_config.command()
@_source
@_output
@click.option("--policy-namespace", default="", help="Filter policies by namespace field.")
def policy(source: Source, output: str, policy_namespace: str) -> None:
    """Retrieves policies for the specified Ztunnel pod."""
    dump = source.dump()
    _print(
        output,
        lambda: tables.ordered(dump, policy_namespace),
        lambda: columns(tables.policies(dump, policy_namespace), _PADDING),
    )


@ztunnel_config.command()
@_source
@_output
def certificate(source: Source, output: str) -> None:
    """Retrieves certificate for the specified Ztunnel pod."""
    dump = source.dump(of_one=True)
    _print(
        output,
        lambda: dump.certificates,
        lambda: columns(tables.certificates(dump, datetime.now(UTC)), tables.CERTIFICATE_PADDING),
    )


@ztunnel_config.command()
@_source
@_output
@_of_namespace
@click.option("--direction", default="", help="Filter workloads by direction (inbound or outbound).")
@boolean("--raw", help="If set, show IP addresses instead of names.")
def connections(source: Source, output: str, workload_namespace: str, direction: str, raw: bool) -> None:
    """Retrieves connections for the specified Ztunnel pod, or of the named workload."""
    dump = source.dump(of_one=True)
    name, namespace = ("", workload_namespace) if source.target is None else source.target
    chosen = tables.ConnectionFilter(namespace, name, direction, raw)
    _print(
        output,
        lambda: tables.ordered_states(dump, chosen),
        lambda: columns(tables.connections(dump, chosen), _PADDING),
    )


@ztunnel_config.command(name="all")
@_source
@_output
@boolean("--with-headers", help="Print summary with headers.")
def all_(source: Source, output: str, with_headers: bool) -> None:
    """Retrieves all configuration for the specified Ztunnel pod."""
    dump = source.dump()

    def summary() -> None:
        parts = {
            "WORKLOAD": (tables.workloads(dump, tables.WorkloadFilter()), _PADDING),
            "SERVICE": (tables.services(dump, ""), _PADDING),
            "POLICY": (tables.policies(dump, ""), _PADDING),
            "SECRET": (tables.certificates(dump, datetime.now(UTC)), tables.CERTIFICATE_PADDING),
            "CONNECTIONS": (tables.connections(dump, tables.ConnectionFilter()), _PADDING),
        }
        for name, (rows, padding) in parts.items():
            click.echo(f"\n------ {name} INFO ------\n" if with_headers else "")
            columns(rows, padding)

    _print(output, lambda: dump.raw, summary)


@ztunnel_config.command()
@_source
@_output
@click.option("--level", default="", help="[<logger>:]<level>,... or <level> for all loggers.")
@boolean("-r", "--reset", help="Reset levels to default value (info).")
def log(source: Source, output: str, level: str, reset: bool) -> None:
    """Retrieves logging levels of the Ztunnel instance in the specified pod, and updates them."""
    if reset and level:
        raise click.ClickException("--level cannot be combined with --reset")
    if output != "short":
        raise click.ClickException("--output is not applicable for this command")
    if reset:
        click.echo('log level reset; using default value "info" for Ztunnel', err=True)
        level = "info"
    for part in filter(None, level.split(",")):
        word = re.split("[:=]", part.split("::")[-1], maxsplit=1)[-1]
        if word not in _LEVELS:
            raise click.ClickException(f"unrecognized logging level: {word}")
    query = f"level={_ZTUNNEL_LEVELS.get(level, level)}{'&reset' if reset else ''}"
    for one in source.instances():
        click.echo(f"{one.name}.{one.namespace}:\n{source.post(one, f'logging?{query}')}")
