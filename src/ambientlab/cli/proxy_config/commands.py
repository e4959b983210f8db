"""The commands: parse, fetch, choose, print."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambientlab.cli import pods
from ambientlab.cli.istio.command import Group, boolean, contents, early, named
from ambientlab.cli.proxy_config import bootstrap, clusters, endpoints, extensions, listeners, loggers, routes, secrets
from ambientlab.cli.proxy_config.dump import Dump, DumpError, Message, as_json, as_yaml
from ambientlab.cli.tabwriter import PADDING, columns
from ambientlab.host.kubectl import KubectlError

if TYPE_CHECKING:
    from ambientlab.cli.istio.command import Cluster

_ALIASES = {
    "cluster": ("clusters", "c"),
    "listener": ("listeners", "l"),
    "route": ("routes", "r"),
    "endpoint": ("endpoints", "ep"),
    "bootstrap": ("b",),
    "ecds": ("ec",),
    "log": ("o",),
    "secret": ("secrets", "s"),
    "all": ("a",),
}
_LISTENER_PADDING = 1
_MASKS = {
    "cluster": "?mask=dynamic_active_clusters,dynamic_warming_clusters,static_clusters",
    "listener": "?mask=dynamic_listeners,static_listeners",
    "route": "?mask=dynamic_route_configs,static_route_configs",
    "secret": "?mask=dynamic_active_secrets,dynamic_warming_secrets",
    "bootstrap": "?mask=bootstrap",
    "ecds": "?mask=ecds_filters",
    "eds": "?include_eds=true",
    "all": "?include_eds=true",
}

Command = Callable[..., None]
_Read = TypeVar("_Read")


_ABSENT = dict.fromkeys(
    ("rootca-compare", "rc"), "all proxies of a mesh trust the roots that `istioctl proxy-config secret` shows of each"
)


@early(
    click.option("-o", "--output", help="One of json|yaml|short."),
    click.option("--proxy-admin-port", default=pods.ADMIN_PORT, help="Envoy proxy admin port."),
)
@click.group(name="proxy-config", cls=Group, aliases=_ALIASES, absent=_ABSENT)
def proxy_config() -> None:
    """Retrieve information about proxy configuration from Envoy."""


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _output(default: str = "short") -> Callable[[Command], Command]:
    return click.option("-o", "--output", default=default, show_default=True, help="One of json|yaml|short.")


_fqdn = click.option("--fqdn", default="", help="Filter clusters by substring of Service FQDN field.")
_direction = click.option("--direction", default="", help="Filter clusters by Direction field.")
_subset = click.option("--subset", default="", help="Filter clusters by substring of Subset field.")
_port = click.option("--port", type=int, default=0, help="Filter by Port field.")
_address = click.option("--address", default="", help="Filter by address field.")
_type = click.option("--type", "kind", default="", help="Filter listeners by type field.")
_route_name = click.option("--name", default="", help="Filter routes by route name field.")
_cluster_name = click.option("--cluster", default="", help="Filter endpoints by cluster name field.")
_status = click.option("--status", default="", help="Filter endpoints by status field.")
_CLUSTER_FILTER = (_fqdn, _direction, _subset, _port)
"""The fields of a ClusterFilter."""
_ENDPOINT_FILTER = (_address, _port, _cluster_name, _status)
"""The fields of an EndpointFilter."""
_verbose = boolean("--verbose", default=True, help="Output more information.")
_file = click.option("-f", "--file", type=click.Path(path_type=Path), help="Envoy config dump JSON file; - is stdin.")
_admin_port = click.option("--proxy-admin-port", "admin_port", default=pods.ADMIN_PORT, show_default=True)
_pod = click.argument("pod", required=False, default="")


class Source:
    """Where a command reads from: a pod's Envoy, or a file."""

    def __init__(self, cluster: Cluster, command: str, pod: str, file: Path | None, port: int) -> None:
        if bool(pod) == bool(file):
            click.echo(click.get_current_context().get_usage(), err=True)
            raise click.ClickException(f"{command} requires pod name or --file parameter")
        self._cluster = cluster
        self._command = command
        self._file = file
        self._port = port
        self._pod = pods.find(cluster, pod, cluster.namespace) if pod else pods.Pod("", "")

    def dump(self) -> Dump:
        return self._as(Dump, self.raw_dump())

    def raw_dump(self) -> bytes:
        where = f"{self._pod.name}.{self._pod.namespace} sidecar"
        return self._read(f"config_dump{_MASKS[self._command]}", f"failed to execute command on {where}")

    def clusters(self) -> list[Message]:
        return self._as(endpoints.parse, self._read("clusters?format=json", "failed to execute command on Envoy"))

    def _as(self, read: Callable[[bytes], _Read], text: bytes) -> _Read:
        """What is wrong with a file is told with its name."""
        try:
            return read(text)
        except DumpError as error:
            raise click.ClickException(named(self._file, error)) from None

    def _read(self, path: str, failure: str) -> bytes:
        if self._file is not None:
            return contents(self._file)
        try:
            return pods.ask(self._cluster, self._pod, path, port=self._port)
        except KubectlError as error:
            raise click.ClickException(f"{failure}: {error}") from None


def _source(command: Callable[..., None]) -> Command:
    """What all commands take that read a configuration: they get the Source that it comes to."""

    @click.pass_obj
    def run(cluster: Cluster, /, file: Path | None, admin_port: int, pod: str, **options: Any) -> None:
        name = click.get_current_context().command.name or ""
        command(Source(cluster, name, pod, file, admin_port), **options)

    return _options(_file, _admin_port, _pod)(functools.update_wrapper(run, command))


def _print(output: str, value: Callable[[], Any], summary: Callable[[], None]) -> None:
    try:
        if output == "json":
            click.echo(as_json(value()))
        elif output == "yaml":
            click.echo(as_yaml(value()))
        elif output == "short":
            summary()
        else:
            raise click.ClickException(f'output format "{output}" not supported')
    except DumpError as error:
        raise click.ClickException(str(error)) from None


@proxy_config.command()
@_options(*_CLUSTER_FILTER, _output(), _source)
def cluster(source: Source, output: str, **parts: Any) -> None:
    """Retrieves cluster configuration for the Envoy in the specified pod."""
    dump, chosen = source.dump(), clusters.ClusterFilter(**parts)

    def found() -> list[Message]:
        return [one for one in dump.clusters() if chosen.admits(one)]

    _print(output, found, lambda: columns([clusters.HEADER, *clusters.rows(found())]))


@proxy_config.command()
@_options(_address, _type, _port, _verbose, _output(), _source)
@click.option("--waypoint", is_flag=True, hidden=True, help="Output waypoint information.")
def listener(
    source: Source,
    address: str,
    kind: str,
    port: int,
    verbose: bool,
    output: str,
    waypoint: bool,
) -> None:
    """Retrieves listener configuration for the Envoy in the specified pod."""
    dump = source.dump()
    chosen = listeners.ListenerFilter(address, port, kind)

    def found() -> list[Message]:
        return [one for one in dump.listeners() if chosen.admits(one)]

    def summary() -> None:
        if waypoint:
            rows = [listeners.WAYPOINT_HEADER, *listeners.waypoint_rows(dump.listeners())]
        elif verbose:
            rows = [listeners.HEADER, *(row for one in listeners.ordered(found()) for row in listeners.rows(one))]
        else:
            rows = [listeners.BRIEF, *map(listeners.brief, listeners.ordered(found()))]
        columns(rows, _LISTENER_PADDING)

    _print(output, found, summary)


@proxy_config.command()
@_options(_route_name, _verbose, _output(), _source)
def route(
    source: Source,
    name: str,
    verbose: bool,
    output: str,
) -> None:
    """Retrieves route configuration for the Envoy in the specified pod."""
    dump = source.dump()

    def found() -> list[Message]:
        return [one for one in dump.routes() if name in ("", one.get("name"))]

    def summary() -> None:
        if verbose:
            columns([routes.HEADER, *(row for one in found() for row in routes.rows(one))])
        else:
            columns([routes.BRIEF, *map(routes.brief, found())])

    _print(output, found, summary)


@proxy_config.command()
@_options(*_ENDPOINT_FILTER, _output(), _source)
def endpoint(source: Source, output: str, **parts: Any) -> None:
    """Retrieves endpoint configuration for the Envoy in the specified pod."""
    found, chosen = source.clusters(), endpoints.EndpointFilter(**parts)
    _print(
        output,
        lambda: endpoints.with_hosts(found, chosen),
        lambda: columns([endpoints.HEADER, *endpoints.rows(found, chosen)]),
    )


@proxy_config.command(hidden=True)
@_options(*_ENDPOINT_FILTER, _output(), _source)
def eds(source: Source, output: str, **parts: Any) -> None:
    """Retrieves endpoint configuration for the Envoy in the specified pod."""
    dump, chosen = source.dump(), endpoints.EndpointFilter(**parts)
    _print(
        output,
        lambda: endpoints.eds_with_hosts(dump.endpoints(), chosen),
        lambda: columns([endpoints.EDS_HEADER, *endpoints.eds_rows(dump.endpoints(), chosen)]),
    )


@proxy_config.command()
@_options(_output(), _source)
def secret(source: Source, output: str) -> None:
    """Retrieves secret configuration for the Envoy in the specified pod."""
    dump = source.dump()
    _print(output, lambda: dump.section("SecretsConfigDump"), lambda: _secrets(dump))


def _secrets(dump: Dump) -> None:
    header, rows = secrets.rows(dump.section("SecretsConfigDump"), datetime.now(UTC))
    if not rows:
        click.echo("No active or warming secrets found.")
        return
    columns([header, *rows])


@proxy_config.command()
@_options(_output(), _source)
def ecds(source: Source, output: str) -> None:
    """Retrieves typed extension configuration for the Envoy in the specified pod."""
    dump = source.dump()
    _print(output, lambda: dump.section("EcdsConfigDump"), lambda: columns([extensions.HEADER, *extensions.rows(dump)]))


@proxy_config.command(name="bootstrap")
@_options(_output("json"), _source)
def bootstrap_(source: Source, output: str) -> None:
    """Retrieves bootstrap configuration for the Envoy in the specified pod."""
    dump = source.dump()
    section = functools.partial(dump.section, "BootstrapConfigDump")
    _print(output, section, lambda: columns(bootstrap.rows(section()), padding=1))


@proxy_config.command()
@click.option("--level", "levels", default="", help="[<logger>:]<level>,... or <level> for all loggers.")
@boolean("-r", "--reset", help="Reset levels to default value (warning).")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("-o", "--output", hidden=True)
@_options(_admin_port, _pod)
@click.pass_obj
def log(ctx: Cluster, levels: str, reset: bool, selector: str, output: str | None, admin_port: int, pod: str) -> None:
    """Retrieves logging levels of the Envoy in the specified pod, and sets them."""
    if output is not None:
        raise click.ClickException("--output is not applicable for this command")
    if not pod and not selector:
        raise click.ClickException("log requires pod name or --selector")
    if reset and levels:
        raise click.ClickException("--level cannot be combined with --reset")
    home = ctx.namespace
    found = pods.select(ctx, selector, home) if selector else pods.find_all(ctx, pod, home)
    if not found:
        raise click.ClickException("no pods found")

    def post(one: pods.Pod, query: str) -> str:
        try:
            return pods.ask(ctx, one, f"logging{query}", method="POST", port=admin_port).decode()
        except KubectlError as error:
            raise click.ClickException(f"failed to execute command on Envoy: {error}") from None

    for one in found:
        answer = post(one, "")
        for name, level in loggers.wanted("warning" if reset else levels, answer).items():
            answer = post(one, f"?{name}={level}")
        click.echo(f"{one.name}.{one.namespace}:\n{answer}", nl=False)


@proxy_config.command(name="all")
@_options(_fqdn, _direction, _subset, _port, _address, _type, _route_name, _verbose, _output(), _source)
@boolean("--with-headers", help="Print summary with headers.")
def all_(
    source: Source,
    fqdn: str,
    direction: str,
    subset: str,
    port: int,
    address: str,
    kind: str,
    name: str,
    verbose: bool,
    output: str,
    with_headers: bool,
) -> None:
    """Retrieves all configuration for the Envoy in the specified pod."""
    del verbose  # the long form is what a summary of everything has
    if output == "json":
        click.echo(source.raw_dump().decode(errors="replace"))
        return
    dump = source.dump()

    def summary() -> None:
        chosen = clusters.ClusterFilter(fqdn, port, subset, direction), listeners.ListenerFilter(address, port, kind)
        hosts = endpoints.EndpointFilter(address, port)
        for number, (title, rows, padding) in enumerate(_everything(dump, *chosen, name, hosts)):
            if number:
                click.echo()
            if with_headers:
                click.echo(f"------ {title} INFO ------\n")
            columns(rows, padding)

    if output == "yaml":
        from ambientlab.cli import goyaml

        click.echo(goyaml.text(dump.raw))
    else:
        _print(output, lambda: dump.raw, summary)


def _everything(
    dump: Dump,
    of_clusters: clusters.ClusterFilter,
    of_listeners: listeners.ListenerFilter,
    of_routes: str,
    of_hosts: endpoints.EndpointFilter,
) -> Iterator[tuple[str, list[list[str]], int]]:
    """The tables of `all`: title, rows, and the spaces between their columns. Names say which table they are of."""
    yield "BOOTSTRAP", [*bootstrap.rows(dump.section("BootstrapConfigDump"))], 1
    found = [one for one in dump.clusters() if of_clusters.admits(one)]
    yield "CLUSTER", [["NAME", *clusters.HEADER], *(clusters.prefixed(one) for one in found)], PADDING
    shown = listeners.ordered([one for one in dump.listeners() if of_listeners.admits(one)])
    rows = [[f"listener/{one.get('name', '')}", *row] for one in shown for row in listeners.rows(one)]
    yield "LISTENER", [["NAME", *listeners.HEADER], *rows], _LISTENER_PADDING
    configs = [one for one in dump.routes() if of_routes in ("", one.get("name"))]
    yield "ROUTE", [routes.HEADER, *_under("route", [row for one in configs for row in routes.rows(one)])], PADDING
    header, certificates = secrets.rows(dump.section("SecretsConfigDump"), datetime.now(UTC))
    yield "SECRET", [header, *_under("secret", certificates)], PADDING
    hosts = endpoints.eds_rows(dump.endpoints(), of_hosts)
    yield "ENDPOINTS", [endpoints.EDS_HEADER, *_under("endpoint", hosts)], PADDING


def _under(kind: str, rows: Iterable[list[str]]) -> Iterator[list[str]]:
    for name, *rest in rows:
        yield [f"{kind}/{name}", *rest]
