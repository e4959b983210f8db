"""The command: reads the cluster and the files, looks through them, shows. Exit codes: 0 nothing as grave as
`--fail-on`, 1 the cluster cannot be read, 2 the options make no sense, 65 something in the files is no object or there
is no such namespace, 79 findings (as istioctl has it)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambientlab.cli import reading
from ambientlab.cli.mesh import name_option, running_paths
from ambientlab.cli.output import fail, json_text, talk
from ambientlab.cli.reading import EXIT_BAD_INPUT

if TYPE_CHECKING:
    from ambientlab.cli.analyze.report import Location, Report
    from ambientlab.host.manifests import Manifests
    from ambientlab.mesh.analysis import Finding
    from ambientlab.mesh.explain import Unseen
    from ambientlab.mesh.index import MeshIndex

EXIT_FOUND = 79
_SEVERITIES = ("info", "warning", "error")
_OF_KUBERNETES = ("kube-node-lease", "kube-public", "kube-system")


@click.command()
@click.option("-f", "--filename", "files", multiple=True, help="Manifests as if applied; a directory, or - for stdin.")
@click.option("--offline", is_flag=True, help="The files alone, without a cluster.")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Findings of this namespace alone; repeatable.")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of those of Kubernetes itself as well.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "sarif"]), default="text")
@click.option(
    "--min-severity", type=click.Choice(_SEVERITIES), default="info", show_default=True, help="What is shown."
)
@click.option(
    "--fail-on",
    type=click.Choice([*_SEVERITIES, "never"]),
    default="warning",
    show_default=True,
    help="What it exits 79 for.",
)
@click.option("--context", help="Analyse a cluster of your kubeconfig instead of the mesh of this machine.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig file of that cluster.")
@name_option
def analyze(
    files: tuple[str, ...],
    offline: bool,
    namespaces: tuple[str, ...],
    everywhere: bool,
    output: str,
    min_severity: str,
    fail_on: str,
    context: str | None,
    kubeconfig: Path | None,
    name: str,
) -> None:
    """What is wrong with a mesh: policies without effect, labels that name nothing, routes that lead nowhere, each with
    a code, why it is so, and the commands that change it.

    Nothing is written: the cluster's objects are read, here or on any cluster with Istio ambient. With -f it is that
    cluster as it would be with these files applied; objects in them without a namespace are in that of -n.
    """
    gc.disable()  # what is made lives to the end: to look for garbage in it takes as long as all the rest
    if namespaces and everywhere:
        raise click.UsageError("-n and -A exclude each other")
    if offline and (not files or context or kubeconfig):
        raise click.UsageError("--offline is for -f, and for no cluster")
    from ambientlab.mesh.analysis import Severity
    from ambientlab.mesh.explain import NoNamespaceError, check_namespace

    written = _written(files, namespaces[0] if len(namespaces) == 1 else "default") if files else None
    flags = reading.flags(context, kubeconfig)
    if offline:
        index, unseen = _offline(written)
    else:
        index, unseen = _online(written, context, kubeconfig, None if flags else name, flags)

    try:
        for namespace in namespaces:
            check_namespace(index, namespace, implied=offline)
    except NoNamespaceError as error:
        # what could not be seen may be what is not there
        fail(str(error), [*error.hints, *map(str, unseen)], EXIT_BAD_INPUT)

    def wanted(finding: Finding) -> bool:
        ref = finding.object
        home = ref.name if ref.kind == "Namespace" else ref.namespace
        asked = home in namespaces if namespaces else everywhere or home not in _OF_KUBERNETES
        return asked and finding.code.severity.rank >= Severity(min_severity).rank

    report = _report(index, written, unseen, wanted, flags)
    for refused in report.refused:
        talk(f"Error: {refused.location}: {f'{refused.what}: ' if refused.what else ''}{refused.message}", fg="red")
    click.echo(_text(report, output))
    if report.reaches(None if fail_on == "never" else Severity(fail_on)):
        raise SystemExit(EXIT_FOUND)
    if report.refused:
        raise SystemExit(EXIT_BAD_INPUT)


def _written(files: Sequence[str], namespace: str) -> Manifests:
    from ambientlab.host import manifests

    return manifests.read(reading.texts(files), namespace)


def _offline(written: Manifests | None) -> tuple[MeshIndex, list[Unseen]]:
    from ambientlab.mesh.index import index

    return index({} if written is None else reading.changed_by(written)({})), []


def _online(
    written: Manifests | None, context: str | None, kubeconfig: Path | None, name: str | None, flags: Sequence[str]
) -> tuple[MeshIndex, list[Unseen]]:
    """Of the mesh of this machine that is called `name`, or of a cluster of a kubeconfig."""
    from ambientlab.api.kinds import ISTIOGATEWAY
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.host.kubeconfig import KubeconfigError
    from ambientlab.host.tools import ToolError

    try:
        if name is not None:
            kubeconfig = running_paths(name).kubeconfig
        with reading.api(context, kubeconfig, *flags) as api:
            changed = None if written is None else reading.changed_by(written)
            return reading.read(api, *flags, changed=changed, also=(ISTIOGATEWAY,))
    except ApiError as error:
        fail(str(error), error.hints)
    except (KubeconfigError, ToolError) as error:
        fail(str(error))


def _report(
    index: MeshIndex,
    written: Manifests | None,
    unseen: Sequence[Unseen],
    wanted: Callable[[Finding], bool],
    flags: Sequence[str],
) -> Report:
    from ambientlab.cli.analyze.report import Found, Location, Refused, Report
    from ambientlab.mesh.analysis.doubts import credible, doubted
    from ambientlab.mesh.analysis.together import everything
    from ambientlab.mesh.explain import Unseen
    from ambientlab.mesh.explain.remedies import all_aimed

    names = {one.what for one in unseen}
    found = [finding for finding in credible(everything(index), names) if wanted(finding)]
    if doubts := doubted(names):
        ids = ", ".join(code.id for code in doubts)
        unseen = [*unseen, Unseen(ids, "not looked for: what seems to be missing may only not be seen")]
    aimed = [replace(finding, remedies=all_aimed(finding.remedies, *flags)) for finding in found]
    return Report(
        tuple(Found(finding, next(_locations(finding, written), None)) for finding in aimed),
        sum(len(source) for source in index.sources.values()),
        tuple(Refused(Location(p.file, p.line), p.named, p.message) for p in written.problems) if written else (),
        tuple(unseen),
    )


def _locations(finding: Finding, written: Manifests | None) -> Iterator[Location]:
    from ambientlab.cli.analyze.report import Location
    from ambientlab.mesh.analysis.cures import steps
    from ambientlab.mesh.explain import remedies

    ref = finding.object
    origin = (written.origins if written else {}).get((remedies.resource_of(ref), remedies.key_of(ref)))
    if origin is not None:
        yield Location(origin.file, origin.line_of(steps(finding.field)))


def _text(report: Report, output: str) -> str:
    match output:
        case "json":
            from ambientlab.cli.analyze.document import document

            return json_text(document(report))
        case "sarif":
            from ambientlab.cli.analyze import sarif

            return json_text(sarif.document(report))
    from ambientlab.cli.analyze.drawing import draw

    return draw(report)
