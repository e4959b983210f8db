"""The command: reads the cluster, looks through it, shows. Exit codes: 0 nothing as grave as `--fail-on`, 1 the cluster
cannot be read, 2 the options make no sense, 79 findings (as istioctl has it)."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambientlab.cli import reading
from ambientlab.cli.mesh import name_option, running_paths
from ambientlab.cli.output import fail, json_text

if TYPE_CHECKING:
    from ambientlab.cli.analyze.report import Report
    from ambientlab.mesh.analysis import Finding

EXIT_FOUND = 79
_SEVERITIES = ("info", "warning", "error")
_OF_KUBERNETES = ("kube-node-lease", "kube-public", "kube-system")


@click.command()
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Findings of this namespace alone; repeatable.")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of those of Kubernetes itself as well.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
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

    Nothing is written: the cluster's objects are read, here or on any cluster with Istio ambient.
    """
    gc.disable()  # what is made lives to the end: to look for garbage in it takes as long as all the rest
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.host.kubeconfig import KubeconfigError
    from ambientlab.host.tools import ToolError
    from ambientlab.mesh.analysis import Severity

    if namespaces and everywhere:
        raise click.UsageError("-n and -A exclude each other")
    flags = [*(["--context", context] if context else []), *(["--kubeconfig", str(kubeconfig)] if kubeconfig else [])]
    try:
        if not flags:
            kubeconfig = running_paths(name).kubeconfig
        with reading.api(context, kubeconfig) as api:
            index, unseen = reading.read(api, *flags)
    except ApiError as error:
        fail(str(error), error.hints)
    except (KubeconfigError, ToolError) as error:
        fail(str(error))
    from ambientlab.cli.analyze.report import Found, Report
    from ambientlab.mesh.analysis import ANALYSERS, analyse
    from ambientlab.mesh.explain.remedies import all_aimed

    def wanted(finding: Finding) -> bool:
        ref = finding.object
        home = ref.name if ref.kind == "Namespace" else ref.namespace
        asked = home in namespaces if namespaces else everywhere or home not in _OF_KUBERNETES
        return asked and finding.code.severity.rank >= Severity(min_severity).rank

    found = [
        replace(finding, remedies=all_aimed(finding.remedies, *flags))
        for finding in analyse(index, ANALYSERS)
        if wanted(finding)
    ]
    objects = sum(len(source) for source in index.sources.values())
    report = Report(tuple(map(Found, found)), objects, (), tuple(unseen))
    click.echo(_text(report, output))
    if report.reaches(None if fail_on == "never" else Severity(fail_on)):
        raise SystemExit(EXIT_FOUND)


def _text(report: Report, output: str) -> str:
    if output == "json":
        from ambientlab.cli.analyze.document import document

        return json_text(document(report))
    from ambientlab.cli.analyze.drawing import draw

    return draw(report)
