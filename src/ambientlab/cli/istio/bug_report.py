"""`istioctl bug-report`: what helps others to see what is wrong, in one archive, without anybody's secrets.

The flags are those of tools/bug-report/pkg/bugreport. Logs are those of Istio's own containers; of Secrets there are
names alone, and `redaction` goes over everything that is written.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from ambientlab import files
from ambientlab.cli import pods
from ambientlab.cli.istio import istiod, redaction
from ambientlab.cli.istio.command import Cluster, Command, boolean
from ambientlab.cli.mesh import Seconds
from ambientlab.cli.shapes import moment
from ambientlab.cluster import BUILD, ISTIO_VERSION
from ambientlab.host.kubectl import Kubectl, KubectlError

_NAME = "bug-report"
_OF_KUBERNETES = "kube-system,kube-public,kube-node-lease,local-path-storage"
_CONTAINERS = {"istio-proxy": "proxies", "discovery": "istiod", "install-cni": "cni"}
"""Istio's, and the folder that what is known of each goes to."""

_KINDS = {
    "nodes": "nodes",
    "k8s-resources": "namespaces,pods,services,serviceaccounts,endpointslices,deployments,daemonsets,replicasets",
    "events": "events",
    "gateway-api": "gatewayclasses,gateways.gateway.networking.k8s.io,httproutes,grpcroutes,tcproutes,tlsroutes,"
    "referencegrants,backendtlspolicies",
    "istio": "virtualservices,destinationrules,serviceentries,workloadentries,sidecars,envoyfilters,"
    "gateways.networking.istio.io,authorizationpolicies,peerauthentications,requestauthentications,telemetries,"
    "wasmplugins",
}
_ENVOY = ("config_dump", "clusters", "listeners", "server_info", "stats/prometheus")
_ZTUNNEL = ("config_dump",)


@dataclass(frozen=True, slots=True)
class Selection:
    """One --include or --exclude: alternatives for each part, of which the empty ones choose everything."""

    namespaces: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    def chooses(self, pod: Mapping[str, Any], container: str) -> bool:
        metadata = pod["metadata"]
        name = metadata["name"]
        owners = {one["name"] for one in metadata.get("ownerReferences") or ()}
        return (
            _any(self.namespaces, [metadata["namespace"]])
            # a Deployment's ReplicaSets are called after it
            and _any(self.deployments, [*owners, *(owner.rpartition("-")[0] for owner in owners)])
            and _any(self.pods, [name])
            and _pairs(self.labels, metadata.get("labels") or {})
            and _pairs(self.annotations, metadata.get("annotations") or {})
            and _any(self.containers, [container])
        )


def selection(text: str) -> Selection:
    """`ns1,ns2/dep/pod/label=value/annotation=value/container`. Raises ClickException."""
    parts = [tuple(filter(None, part.split(","))) for part in text.split("/")]
    if len(parts) > len(Selection.__dataclass_fields__):
        raise click.ClickException(f"bad selection {text!r}: it has more than six parts")
    for pair in (*(parts[3] if len(parts) > 3 else ()), *(parts[4] if len(parts) > 4 else ())):
        if "=" not in pair:
            raise click.ClickException(f"bad label/annotation selection {pair}, must have format key=value")
    return Selection(*parts)


def _any(patterns: Sequence[str], names: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _pairs(patterns: Sequence[str], found: Mapping[str, str]) -> bool:
    wanted = [pattern.partition("=")[::2] for pattern in patterns]
    return not wanted or any(key in found and fnmatchcase(found[key], value) for key, value in wanted)


@click.command(cls=Command, name="bug-report")
@click.option(
    "--include", multiple=True, help="Whose logs to include: ns/deployment/pod/label=v/annotation=v/container."
)
@click.option("--exclude", multiple=True, help="Whose logs to leave out, of those included.")
@click.option("--duration", type=Seconds(), help="How far to go back for log entries.")
@click.option("--start-time", help="From when log entries are included, as RFC 3339.")
@click.option("--end-time", help="Until when log entries are included, as RFC 3339.")
@click.option("--tail", default=0, help="Maximum number of log lines for each container; 0 is unlimited.")
@click.option("--timeout", type=Seconds(), default="30m", help="Maximum amount of time to spend.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Where to write while it is collected.")
@click.option("--output-dir", type=click.Path(path_type=Path), default=".", help="Where the archive goes.")
@click.option("--istio-namespace", help="Namespace where Istio control plane is installed.")
@click.option("--critical-errs", help="Accepted; logs are taken whatever errors are in them.")
@click.option("--ignore-errs", help="Accepted; logs are taken whatever errors are in them.")
@click.option("--rq-concurrency", type=int, help="Accepted; one thing is asked after another.")
@click.option("-f", "--filename", help="Refused: give flags in place of a file of them.")
@boolean("--skip-coredumps", help="Accepted; no dumps of memory are taken.")
@boolean("--skip-netstat", help="Accepted; nothing is run in containers.")
@boolean("--dry-run", help="Only say what would be fetched, don't fetch or write.")
@boolean("--full-secrets", help="Refused: this istioctl puts no secrets into archives.")
@boolean("--skip-cluster-dump", help="Skip cluster-wide resources.")
@boolean("--skip-analyze", help="Skip istioctl analyze.")
@boolean("--skip-proxy-debug", help="Skip what proxies say of themselves.")
@click.option("--proxy-admin-port", "port", default=pods.ADMIN_PORT, show_default=True, help="Envoy proxy admin port")
@click.pass_obj
def bug_report(
    cluster: Cluster,
    /,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    duration: float | None,
    start_time: str | None,
    end_time: str | None,
    tail: int,
    timeout: float,
    directory: Path | None,
    output_dir: Path,
    istio_namespace: str | None,
    dry_run: bool,
    full_secrets: bool,
    skip_cluster_dump: bool,
    skip_analyze: bool,
    skip_proxy_debug: bool,
    port: int,
    filename: str | None,
    **_: object,
) -> None:
    """Captures cluster information and logs of Istio's components into an archive, to help diagnose problems.

    It has no private key, no token and nothing of what Secrets hold. Look into it before you pass it on all the same.
    """
    if full_secrets:
        raise click.ClickException("--full-secrets: this istioctl puts no secrets into archives")
    if filename:
        raise click.ClickException("--filename: this istioctl reads no file of settings, give them as flags")
    for place in (output_dir, directory or output_dir):
        if not place.is_dir():
            raise click.ClickException(f"{place} is no directory to write to")
    if duration is not None and start_time:
        raise click.ClickException("only one --start-time or --duration may be set")
    if istio_namespace:
        cluster.istio_namespace = istio_namespace
    cluster.until = time.monotonic() + timeout
    times = Times(duration, _moment("start-time", start_time), _moment("end-time", end_time), tail)
    containers = list(_containers(cluster.kubectl, [*map(selection, include)], [*map(selection, exclude)]))
    steps = list(_versions(cluster))
    if not skip_cluster_dump:
        steps += _objects(cluster.kubectl, cluster.istio_namespace)
    steps += _logs(cluster.kubectl, containers, times)
    if not skip_proxy_debug:
        steps += _pages(cluster, containers, port)
    if not skip_analyze:
        steps.append(Step("analyze/all", lambda: _analyzed(cluster)))
    names = "\n".join(f"{_path(pod)}/{container}" for pod, container in containers)
    click.echo(f"✅ Fetching logs for the following containers:\n\n{names}\n")
    target = output_dir / f"{_NAME}.tar.gz"
    if dry_run:
        for step in steps:
            click.echo(f"would fetch {step.path}")
        click.echo(f"✅ Dry run, skipping archive creation at {target}.")
        return
    _written(steps, directory or output_dir, target, cluster.until)
    click.echo(f"✅ Creating an archive at {target}.\n✅ Done.")


def _containers(
    kubectl: Kubectl, include: Sequence[Selection], exclude: Sequence[Selection]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Istio's own, with their pods."""
    exclude = [selection(_OF_KUBERNETES), *exclude]
    for pod in kubectl.list("pods"):
        for name in (one["name"] for one in pod["spec"]["containers"] if one["name"] in _CONTAINERS):
            chosen = not include or any(each.chooses(pod, name) for each in include)
            if chosen and not any(each.chooses(pod, name) for each in exclude):
                yield pod, name


@dataclass(frozen=True, slots=True)
class Times:
    """Which log entries are wanted: from a start on, or from so many seconds before the end."""

    seconds: float | None
    start: datetime | None
    end: datetime | None
    tail: int

    @property
    def flags(self) -> list[str]:
        start = self.start
        if self.seconds is not None:
            start = (self.end or datetime.now(UTC)) - timedelta(seconds=self.seconds)
        flags = [f"--since-time={start.isoformat()}"] if start is not None else []
        return [*flags, *([f"--tail={self.tail}"] if self.tail else []), "--timestamps"]

    def admitted(self, text: str) -> str:
        """Without the stamps that the lines have."""
        lines = []
        for line in text.removesuffix("\n").split("\n"):
            stamp, _, rest = line.partition(" ")
            if self.end is None or (at := moment(stamp)) is None or at <= self.end:
                lines.append(rest)
        return "\n".join(lines)


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    found = moment(text)
    if found is None:
        raise click.ClickException(f"bad format for {name}: {text}, expect RFC3339 e.g. 2006-01-02T15:04:05Z07:00")
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """A file of the archive, and what fetches it. Raises KubectlError or ClickException where that does not work."""

    path: str
    fetch: Callable[[], str] = field(repr=False)


def _versions(cluster: Cluster) -> Iterator[Step]:
    def versions() -> str:
        known = [f"istioctl {ISTIO_VERSION} ({BUILD})"]
        for one in istiod.instances(cluster):
            known.append(f"{one.name} {istiod.ask(cluster, one, 'version').decode()}")
        for proxies in istiod.syncz(cluster).values():
            known += [f"{proxy['proxy']} {proxy.get('istio_version', '')}" for proxy in proxies]
        return "\n".join(known)

    yield Step("versions", versions)
    yield Step("cluster/cluster-info", lambda: cluster.kubectl.run(["version", "-o", "yaml"]))


def _objects(kubectl: Kubectl, istio_namespace: str) -> Iterator[Step]:
    import yaml

    def written(kinds: str, namespace: str | None) -> str:
        return yaml.safe_dump_all(map(redaction.obj, kubectl.list(kinds, namespace)), sort_keys=False)

    def fetched(kinds: str, namespace: str | None = None) -> str:
        with suppress(KubectlError):
            return written(kinds, namespace)
        parts = []  # one kind that is not there or not to be read keeps kubectl from all
        for kind in kinds.split(","):
            try:
                parts.append(written(kind, namespace))
            except KubectlError as error:
                parts.append(f"# {kind}: {error}\n")
        return "---\n".join(parts)

    def secrets() -> str:
        columns = "NAMESPACE:.metadata.namespace,NAME:.metadata.name,TYPE:.type"
        return kubectl.run(["get", "secrets", "-A", "-o", f"custom-columns={columns}"])

    for name, kinds in _KINDS.items():
        yield Step(f"cluster/{name}.yaml", lambda kinds=kinds: fetched(kinds))  # type: ignore[misc]  # mypy infers no type for a default
    yield Step("cluster/mesh-config.yaml", lambda: fetched("configmaps", istio_namespace))
    yield Step("cluster/secrets", secrets)


def _logs(kubectl: Kubectl, containers: Sequence[tuple[Mapping[str, Any], str]], times: Times) -> Iterator[Step]:
    def fetched(pod: Mapping[str, Any], container: str) -> str:
        metadata = pod["metadata"]
        where = ["-n", metadata["namespace"], metadata["name"], "-c", container]
        return times.admitted(kubectl.run(["logs", *where, *times.flags]))

    for pod, container in containers:
        path = f"{_CONTAINERS[container]}/{_path(pod)}/{container}.log"
        yield Step(path, lambda pod=pod, container=container: fetched(pod, container))  # type: ignore[misc]  # see above


def _pages(cluster: Cluster, containers: Sequence[tuple[Mapping[str, Any], str]], port: int) -> Iterator[Step]:
    """What proxies and istiod answer about themselves."""
    for pod, container in containers:
        metadata = pod["metadata"]
        where = pods.Pod(metadata["name"], metadata["namespace"])
        ztunnel = (metadata.get("labels") or {}).get("app") == "ztunnel"
        asked: tuple[str, ...] = ()
        if container == "istio-proxy":
            asked = _ZTUNNEL if ztunnel else _ENVOY
        elif container == "discovery":
            asked = ("debug/syncz", "metrics")
        at = istiod.PORT if container == "discovery" else port
        for page in asked:
            path = f"{_CONTAINERS[container]}/{_path(pod)}/{page.replace('/', '_')}"
            yield Step(path, lambda where=where, page=page, at=at: pods.ask(cluster, where, page, port=at).decode())  # type: ignore[misc]  # see above


def _analyzed(cluster: Cluster) -> str:
    flags = [*(["--context", cluster.context] if cluster.context else [])]
    flags += ["--kubeconfig", str(cluster.kubeconfig)] if cluster.kubeconfig else []
    command = [sys.executable, "-P", "-m", "ambientlab.cli.istioctl", "analyze", "-A", *flags, *cluster.impersonated]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=cluster.kubectl.left())
    except subprocess.TimeoutExpired:
        raise KubectlError("istioctl analyze did not end in time") from None
    return done.stdout


def _path(pod: Mapping[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _written(steps: Sequence[Step], directory: Path, target: Path, until: float) -> None:
    """What could be fetched; the rest is told in the archive too."""
    failures = []
    try:
        with tempfile.TemporaryFile(dir=directory) as draft:
            with tarfile.open(fileobj=draft, mode="w:gz") as archive:
                for step in steps:
                    if time.monotonic() > until:
                        failures.append(f"{step.path}: no time was left")
                        continue
                    try:
                        _add(archive, step.path, step.fetch())
                    except (KubectlError, click.ClickException, UnicodeDecodeError) as error:
                        failures.append(f"{step.path}: {error}")
                if failures:
                    _add(archive, "errors", "\n".join(failures))
            draft.seek(0)
            files.write_whole(target, draft.read())
    except OSError as error:
        raise click.ClickException(f"cannot write {target}: {error.strerror or error}") from None
    for failure in failures:
        click.echo(f"⚠️ {failure}", err=True)


def _add(archive: tarfile.TarFile, path: str, text: str) -> None:
    content = redaction.text(text).encode()
    entry = tarfile.TarInfo(f"{_NAME}/{path}")
    entry.size, entry.mtime, entry.mode = len(content), int(datetime.now(UTC).timestamp()), 0o600
    archive.addfile(entry, io.BytesIO(content))
