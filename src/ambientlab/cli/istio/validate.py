"""`istioctl validate`: what the API would say of files, without asking it (istioctl/pkg/validate).

Objects are admitted as the API admits them. A Service's port has to say what it carries, and a Deployment's pods what
they are: these are istioctl's own demands, which it does not make of Istio's namespace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambientlab.cli.istio import facts
from ambientlab.cli.istio import files as files_
from ambientlab.cli.istio.command import Cluster, Command

if TYPE_CHECKING:
    from ambientlab.api.objects import Object
    from ambientlab.host.manifests import Problem, Text

_OPS = "https://istio.io/v1.31/docs/ops"
_REQUIREMENTS = f"{_OPS}/deployment/requirements/"
_SELECTION = f"{_OPS}/configuration/traffic-management/protocol-selection/"
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
    from ambientlab.api.kinds import DEPLOYMENT, SERVICE
    from ambientlab.api.validation.semantic import webhook_warnings
    from ambientlab.host import manifests
    from ambientlab.mesh.ir import Key

    if not files:
        raise click.ClickException(_MISSING)
    errors: list[str] = []
    given = list(_texts(files, errors))
    written = manifests.read(given, cluster.given or "default")
    warnings: dict[str, list[str]] = defaultdict(list)
    notices: list[str] = []
    errors += [text for problem in written.problems for text in _wrong(problem)]
    found = {
        (resource, Key(objects.namespace(obj), objects.name(obj))): obj
        for resource, some in written.objects.items()
        for obj in some
    }
    for (resource, key), origin in written.origins.items():
        obj = found[(resource, key)]
        named = f"{resource.kind}/{key.namespace}/{key.name}"
        warnings[origin.file] += [f"{named}: {text}" for text in webhook_warnings(resource, obj)]
        if resource in (SERVICE, DEPLOYMENT) and key.namespace == cluster.istio_namespace:
            continue
        if resource is SERVICE:
            errors += [f"{named}: {text}" for text in _ports(obj)]
        elif resource is DEPLOYMENT:
            notices += _labels(obj)
    for notice in notices:
        click.echo(notice, err=True)
    for file in (one[0] for one in given if isinstance(one, tuple)):
        if some := warnings[file]:
            click.echo("\n\t* ".join([f'"{file}" has warnings: ', *some]) + "\n", err=True)
        elif not errors:
            click.echo("validation succeed" if file == "-" else f'"{file}" is valid', err=True)
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise click.ClickException("\n\t* ".join([f"{count} occurred:", *errors]) + "\n\n")


def _texts(names: Iterable[str], errors: list[str]) -> Iterator[Text | Problem]:
    """Of files that are named, whatever they are called, and of those in directories that are manifests by their
    names. What cannot be read is added to the errors."""
    for name in names:
        try:
            found = files_.named(name)
        except click.ClickException as error:
            errors.append(f'cannot stat file "{name}": {error.message}')
            continue
        for path in (each for each in found if found == [Path(name)] or files_.is_manifest(each)):
            try:
                yield files_.text(path)
            except click.ClickException as error:
                errors.append(f'cannot read file "{path}": {error.message}')


def _wrong(problem: Problem) -> Iterator[str]:
    if not problem.named:
        yield f"failed to decode file {problem.file}:  {problem.message}"
        return
    kind, _, name = problem.named.partition(" ")
    for text in problem.errors or (problem.message,):
        yield f"{kind}/{problem.namespace}/{name}: {text}"


def _ports(service: Object) -> Iterator[str]:
    """What of a Service's ports says no protocol (validateServicePortPrefix)."""
    metadata = service["metadata"]
    where = f'service "{metadata["name"]}/{metadata.get("namespace", "")}/:"'
    for port in service["spec"].get("ports") or ():
        name, declared = port.get("name", ""), port.get("appProtocol")
        if port.get("protocol") == "UDP":
            continue
        if declared is not None:
            if not _known(declared):
                yield f"{where} doesn't follow Istio protocol selection. This is not recommended, See {_SELECTION}"
        elif not name:
            yield f"{where} has an unnamed port. This is not recommended, See {_REQUIREMENTS}"
        elif not _known(name.partition("-")[0]):
            yield f'{where} port "{name}" does not follow the Istio naming convention. See {_REQUIREMENTS}'


def _known(protocol: str) -> bool:
    """To pkg/config/protocol, which Kubernetes' own names for appProtocol are not."""
    from ambientlab.mesh.index.services import protocol_named

    return protocol.lower() in ("udp", "http_proxy") or ("/" not in protocol and protocol_named(protocol) is not None)


def _labels(deployment: Object) -> Iterator[str]:
    """That telemetry has no names for what a Deployment runs (validateDeploymentLabel)."""
    metadata = deployment["metadata"]
    labels = (deployment["spec"]["template"].get("metadata") or {}).get("labels") or {}
    if not all(any(label in labels for label in some) for some in (facts.NAMED_BY, facts.VERSIONED_BY)):
        written = " ".join(f'"{key}":"{value}"' for key, value in sorted(labels.items()))
        where = f'deployment "{metadata["name"]}/{metadata.get("namespace", "")}:"'
        advice = f"may not provide Istio metrics and telemetry labels: map[{written}]. See {_REQUIREMENTS}"
        yield f"{where} {advice}"
