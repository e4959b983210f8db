"""`istioctl validate`: what the API would say of files, without asking it (istioctl/pkg/validate).

Objects are admitted as the API admits them. A Service's port has to say what it carries: that is istioctl's own demand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ambientlab.cli.istio.analyze import texts
from ambientlab.cli.istio.command import Cluster, Command

if TYPE_CHECKING:
    from ambientlab.api.objects import Object

_REQUIREMENTS = "https://istio.io/v1.31/docs/ops/deployment/requirements/"
_MISSING = """error: you must specify resources by --filename.
Example resource specifications include:
   '-f rsrc.yaml'
   '--filename=rsrc.json'"""


@click.command(cls=Command)
@click.option("-f", "--filename", "files", multiple=True, help="Inputs of files to validate")
@click.pass_obj
def validate(cluster: Cluster, files: tuple[str, ...]) -> None:
    """Validate Istio policy and rules files"""
    from ambientlab.api import objects
    from ambientlab.api.kinds import SERVICE
    from ambientlab.api.validation.semantic import webhook_warnings
    from ambientlab.host import manifests
    from ambientlab.mesh.ir import Key

    if not files:
        raise click.ClickException(_MISSING)
    given = list(texts(files))
    written = manifests.read(given, cluster.given or "default")
    warnings: dict[str, list[str]] = defaultdict(list)
    errors = [f"{problem.named or problem.file}: {problem.message}" for problem in written.problems]
    found = {
        (resource, Key(objects.namespace(obj), objects.name(obj))): obj
        for resource, some in written.objects.items()
        for obj in some
    }
    for (resource, key), origin in written.origins.items():
        obj = found[(resource, key)]
        named = f"{resource.kind}/{key.namespace}/{key.name}"
        warnings[origin.file] += [f"{named}: {text}" for text in webhook_warnings(resource, obj)]
        if resource is SERVICE:
            errors += [f"{named}: {text}" for text in _ports(obj)]
    for file, _ in given:
        if some := warnings[file]:
            click.echo("\n\t* ".join([f'"{file}" has warnings: ', *some]) + "\n", err=True)
        elif not errors:
            click.echo("validation succeed" if file == "-" else f'"{file}" is valid', err=True)
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise click.ClickException("\n\t* ".join([f"{count} occurred:", *errors]) + "\n\n")


def _ports(service: Object) -> Iterator[str]:
    from ambientlab.mesh.index.services import app_protocol
    from ambientlab.mesh.ir import AppProtocol

    metadata = service["metadata"]
    for port in service["spec"].get("ports") or ():
        if port.get("protocol", "TCP") == "TCP" and app_protocol(port) is AppProtocol.UNDECLARED and port.get("name"):
            where = f"{metadata['name']}/{metadata.get('namespace', '')}/:"
            wrong = f'port "{port["name"]}" does not follow the Istio naming convention'
            yield f'service "{where}" {wrong}. See {_REQUIREMENTS}'
