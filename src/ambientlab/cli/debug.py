"""`ambientlab debug`: the way from objects to proxies laid open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ambientlab.cli.output import json_text, talk
from ambientlab.cli.reading import EXIT_BAD_INPUT, texts

if TYPE_CHECKING:
    from ambientlab.mesh.index import MeshIndex


@click.group()
def debug() -> None:
    """The pipeline laid open: what becomes of objects on their way to the proxies."""


@debug.command()
@click.option("-f", "--filename", "files", multiple=True, required=True, help="Manifests; a directory, or - for stdin.")
@click.option("--stage", type=click.Choice(["ir", "xds", "status"]), required=True, help="Which stage to show.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def translate(files: tuple[str, ...], stage: str, output: str) -> None:
    """Translate manifests as istiod does, without a cluster.

    ir is the mesh as everything that decides about traffic sees it, xds what each proxy is told of it, status what the
    objects are told. Objects are taken as they are, statuses included: a Gateway without an address in its status is
    no waypoint yet. So take them from a cluster:

        kubectl get ns,pods,svc,endpointslices,gtw,httproutes -A -o yaml | ambientlab debug translate -f - --stage ir

    Exits 65 where a manifest is refused; the others are translated.
    """
    from ambientlab.api import objects
    from ambientlab.host import manifests
    from ambientlab.mesh.index import index

    read = manifests.read(texts(files))
    for problem in read.problems:
        talk(f"Error: {problem.where}: {problem.message}", fg="red")
    for obj in read.foreign:
        talk(f"passed over: {obj['kind']} {obj['metadata'].get('name', 'without a name')}, which is none of the mesh's")
    value = objects.copy(_STAGES[stage](index(read.objects)))  # nothing but plain data, and nothing of it twice
    if output == "json":
        click.echo(json_text(value))
    else:
        import yaml

        click.echo(yaml.dump(value, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False), nl=False)
    if read.problems:
        raise SystemExit(EXIT_BAD_INPUT)


def _ir(built: MeshIndex) -> Any:
    from ambientlab.mesh.plain import plain

    mesh = built.mesh
    return {
        "workloads": {str(key): plain(value) for key, value in mesh.workloads.items()},
        "services": {host: plain(value) for host, value in mesh.services.items()},
        "waypoints": {str(key): plain(value) for key, value in mesh.waypoints.items()},
        "routes": {f"{host}:{port}": plain(table) for (host, port), table in mesh.routes.items()},
        "connections": {f"{host}:{port}": plain(route) for (host, port), route in mesh.tcp_routes.items()},
        "guards": {f"{waypoint} {host}".rstrip(): plain(guard) for (waypoint, host), guard in mesh.guards.items()},
        "authorizations": {str(key): plain(value) for key, value in mesh.authorizations.items()},
    }


def _xds(built: MeshIndex) -> Any:
    """By proxy, type and name."""
    from google.protobuf import json_format

    from ambientlab.mesh.capture import Captured
    from ambientlab.mesh.ir import Protocol
    from ambientlab.mesh.xds.proxies import Proxies
    from ambientlab.mesh.xds.types import NODE_PROXY

    proxies = Proxies(built.graph, built.mesh)
    for workload in built.mesh.workloads.values():
        if workload.protocol is Protocol.HBONE:
            where = f"/run/netns/{workload.name}"
            names = workload.uid, workload.namespace, workload.name
            pod = Captured(*names, workload.ip, where, workload.identity, ip6=workload.second_ip)
            proxies.ztunnel.captured.set(workload.key, pod)
    for key in built.mesh.waypoints:
        proxies.waypoints.served.set(key, key)
    built.settle()
    told = {"ztunnel": proxies.told(NODE_PROXY)}
    told |= {f"waypoint {key}": proxies.told(key) for key in sorted(built.mesh.waypoints)}
    return {
        proxy: {
            kind.rpartition(".")[2]: {
                name: json_format.MessageToDict(message, preserving_proto_field_name=True)
                for name, message in some.items()
            }
            for kind, some in resources.items()
        }
        for proxy, resources in told.items()
    }


def _status(built: MeshIndex) -> Any:
    from datetime import UTC, datetime

    from ambientlab.mesh.plain import plain
    from ambientlab.mesh.status import Statuses

    statuses = Statuses(built)
    built.settle()
    wanted = statuses.wanted(datetime.now(UTC))
    return {
        "status": {f"{resource.kind} {key}": value for (resource, key), value in wanted.items() if value},
        "diagnostics": [plain(diagnostic) for diagnostic in built.diagnostics()],
    }


_STAGES: Mapping[str, Callable[[MeshIndex], Any]] = {"ir": _ir, "xds": _xds, "status": _status}
