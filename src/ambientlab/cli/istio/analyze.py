"""`istioctl analyze`: Istio's own messages, in its words, orders and formats (istioctl/pkg/analyze).

Files are laid over the cluster's objects as if they were applied; what the API would refuse of them is IST0106. Exit
codes: 0 nothing as grave as --failure-threshold, 64 a bad flag, 65 files that make no sense, 79 findings.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambientlab.cli.istio import files as files_
from ambientlab.cli.istio.command import Cluster, Command, boolean, contents, invalid
from ambientlab.cli.mesh import Seconds
from ambientlab.cli.output import at_terminal, printable
from ambientlab.cli.reading import EXTENSIONS

if TYPE_CHECKING:
    from ambientlab.host.manifests import Manifests, Problem, Text
    from ambientlab.mesh.analysis import Finding
    from ambientlab.mesh.analysis.istio import Named
    from ambientlab.mesh.index import MeshIndex

EXIT_DATA, EXIT_FOUND = 65, 79
_LEVELS = ("Info", "Warning", "Error")
_PAGE = "https://istio.io/v1.31/docs/reference/config/analysis"
_COLOURS = {"Warning": "\033[33m", "Error": "\033[1;31m"}
_IGNORED = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")
"""Namespaces that istioctl never looks into (pkg/kube/inject, IgnoredNamespaces)."""

_SUPPRESS = "galley.istio.io/analyze-suppress"


@dataclass(frozen=True, slots=True)
class Line:
    """A message as istioctl knows it. `kind`, `namespace` and `name` are of its object, `place` is where in a file it
    is, as `file:line`."""

    code: str
    level: str
    message: str
    kind: str
    namespace: str
    name: str
    suppressed: tuple[str, ...] = ()
    place: str = ""

    @property
    def home(self) -> str:
        """A Namespace is in itself."""
        return self.name if self.kind == "Namespace" else self.namespace

    @property
    def origin(self) -> str:
        full = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {full}"

    @property
    def rank(self) -> int:
        return _LEVELS.index(self.level)

    @property
    def order(self) -> tuple[int, str, str, str]:
        return (-self.rank, self.code, f"{self.kind}/{self.name}/{self.namespace}", self.message)

    def text(self, *, colour: bool = False) -> str:
        begin = _COLOURS.get(self.level, "") if colour else ""
        level = f"{begin}{self.level}\033[0m" if colour else self.level
        place = f" {self.place}" if self.place else ""
        return f"{level} [{self.code}] ({self.origin}{place}) {printable(self.message)}"

    def document(self) -> dict[str, str]:
        page = f"{_PAGE}/{self.code.lower()}/?ref=istioctl-analyze"
        found = {"code": self.code, "documentationUrl": page, "level": self.level, "message": self.message}
        return {**found, "origin": self.origin, **({"reference": self.place} if self.place else {})}


def line(index: MeshIndex, finding: Finding, written: Manifests | None = None) -> Line:
    """Objects of files have the line of what it is about."""
    from ambientlab.mesh.analysis.cures import steps
    from ambientlab.mesh.explain import remedies

    ref = finding.object
    resource = remedies.resource_of(ref)
    obj = remedies.object_of(index, ref) or {"metadata": {}}
    told = (obj["metadata"].get("annotations") or {}).get(_SUPPRESS, "")
    level = finding.code.severity.value.capitalize()
    origin = written.origins.get((resource, remedies.key_of(ref))) if written else None
    place = f"{origin.file}:{origin.line_of(steps(finding.field))}" if origin else ""
    suppressed = tuple(told.split(","))
    return Line(finding.code.id, level, finding.message, resource.kind, ref.namespace, ref.name, suppressed, place)


def _file(given: Text | Problem) -> str:
    return given[0] if isinstance(given, tuple) else given.file


def _at(problem: Problem) -> str:
    return f"{problem.file}:{problem.line}"


def _threshold(_: click.Context, param: click.Parameter, value: str) -> str:
    found = next((level for level in _LEVELS if level.lower() == value.lower()), None)
    if found is None:
        raise click.UsageError(invalid(value, param, "invalid level option"))
    return found


@click.command(cls=Command)
@boolean("-L", "--list-analyzers", help="List the analyzers available to run. Suppresses normal execution.")
@boolean("-k", "--use-kube", default=True, help="Set --use-kube=false to analyze files only.")
@boolean("--color", default=at_terminal(sys.stdout), help="Colours; by default where a terminal shows them.")
@boolean("-v", "--verbose", help="Enable verbose output")
@click.option("--failure-threshold", default="Error", callback=_threshold, help="The level at which it ends with 79.")
@click.option("--output-threshold", default="Info", callback=_threshold, help="The level at which messages are shown.")
@click.option("-o", "--output", default="log", help="Output format: one of [log json yaml]")
@click.option("--meshConfigFile", "mesh_config", type=click.Path(path_type=Path), help="Mesh configuration to assume.")
@boolean("-A", "--all-namespaces", help="Analyze all namespaces")
@click.option("-S", "--suppress", "suppressions", multiple=True, help="<code>=<resource>, with *; can be repeated.")
@click.option("--timeout", type=Seconds(), default="30s", help="Accepted; nothing here waits.")
@boolean("-R", "--recursive", help="[Removed: directories are always read with what is below them]")
@boolean("--ignore-unknown", help="Don't complain about un-parseable input documents.")
@click.option("-r", "--revision", default="default", help="Accepted; one revision is analyzed, that of the cluster.")
@click.option("--remote-contexts", multiple=True, help="Contexts of other clusters; refused, one cluster is analyzed.")
@click.option("--analyzer", "chosen", multiple=True, help="Run this analyzer alone; can be repeated.")
@click.option("-f", "--filename", "also", multiple=True, hidden=True)
@click.argument("files", nargs=-1)
@click.pass_obj
def analyze(
    cluster: Cluster,
    /,
    list_analyzers: bool,
    use_kube: bool,
    color: bool,
    verbose: bool,
    failure_threshold: str,
    output_threshold: str,
    output: str,
    mesh_config: Path | None,
    all_namespaces: bool,
    suppressions: tuple[str, ...],
    recursive: bool,
    ignore_unknown: bool,
    remote_contexts: tuple[str, ...],
    chosen: tuple[str, ...],
    also: tuple[str, ...],
    files: tuple[str, ...],
    **_: object,
) -> None:
    """Analyze Istio configuration and print validation messages.

    FILES are manifests or directories of them; - is stdin. They are analyzed as if they were applied to the cluster, or
    with --use-kube=false for themselves. Codes are explained at https://istio.io/latest/docs/reference/config/analysis/
    """
    from ambientlab.mesh.analysis.istio import NAMED

    if output.lower() not in ("log", "json", "yaml"):
        raise click.UsageError(f"{output.lower()} not a valid option for format. See istioctl analyze --help")
    if list_analyzers:
        for one in NAMED:
            click.echo(f"* {one.name}:\n    {one.description}")
        return
    if recursive:
        click.echo("The recursive flag has been removed and is hardcoded to true without explicitly specifying it.")
        return
    if remote_contexts:
        raise click.ClickException("--remote-contexts: this istioctl analyzes one cluster at a time")
    given = list(_texts([*files, *also]))
    namespace = cluster.namespace if use_kube else cluster.given or "default"
    if use_kube and cluster.kubectl.get("namespace", namespace) is None:
        click.echo(f'namespace "{namespace}" not found', err=True)
        return
    suppressed = _suppressed(suppressions)
    target = "all namespaces" if all_namespaces else f"namespace: {namespace}"
    index, written = _index(cluster if use_kube else None, given, namespace, mesh_config)
    run = _chosen(chosen, target, of_files=not use_kube, verbose=verbose)
    lines = [
        one for one in _lines(index, written, run) if not _hidden(one, "" if all_namespaces else namespace, suppressed)
    ]
    shown = [one for one in lines if one.rank >= _LEVELS.index(output_threshold)]
    # colours that were asked for are written wherever it goes
    click.echo(_rendered(shown, output.lower(), colour=color), color=color)
    unread = _unread(written)
    if not shown:
        click.echo(_nothing(target, [*map(_file, given)], unread), err=True)
    if output.lower() == "log":
        grave = any(one.rank >= _LEVELS.index(failure_threshold) for one in lines)
        _end(target, grave=grave, unread=unread > 0 and not ignore_unknown)


def _unread(written: Manifests) -> int:
    """How many documents are none, after it has told of each."""
    found = [problem for problem in written.problems if not problem.named]
    for problem in found:
        click.echo(f"Error(s) adding files: {_at(problem)}: {printable(problem.message)}", err=True)
    return len(found)


def _end(target: str, *, grave: bool, unread: bool) -> None:
    if grave:
        click.echo(f"Error: Analyzers found issues when analyzing {target}.", err=True)
        click.echo(f"See {_PAGE} for more information about causes and resolutions.", err=True)
        sys.exit(EXIT_FOUND)
    if unread:
        click.echo("Error: Some files couldn't be parsed.", err=True)
        sys.exit(EXIT_DATA)


def _chosen(names: Sequence[str], target: str, *, of_files: bool, verbose: bool) -> list[Named]:
    """The analysers to run: all if none of the names is one's. Of files alone it is not known which pods and Services
    there are."""
    from ambientlab.mesh.analysis.istio import NAMED

    wanted = [one for one in NAMED if one.name in names] or NAMED
    run = [one for one in wanted if not (of_files and one.about_workloads)]
    if verbose:
        click.echo(f"Analyzed resources in {target}", err=True)
        for title, some in (("Skipped", [one for one in wanted if one not in run]), ("Executed", run)):
            if some:
                click.echo("\n".join([f"{title} analyzers:", *(f"\t {one.name}" for one in some)]), err=True)
        click.echo("", err=True)
    return run


def _lines(index: MeshIndex, written: Manifests, run: Iterable[Named]) -> list[Line]:
    """What is found, and what the API refuses of files, the gravest first."""
    from ambientlab.mesh.analysis import analyse

    found = {line(index, finding, written) for finding in analyse(index, [one.analyser for one in run])}
    found |= {one for problem in written.problems if problem.named for one in _refused(problem)}
    return sorted(found, key=lambda one: one.order)


def _rendered(lines: Sequence[Line], output: str, *, colour: bool) -> str:
    documents = [one.document() for one in lines]
    if output == "json":
        return json.dumps(documents, indent="\t", ensure_ascii=False)
    if output == "yaml":
        from ambientlab.cli import goyaml

        return goyaml.text(documents)
    return "\n".join(one.text(colour=colour) for one in lines)


def _nothing(target: str, names: Sequence[str], unread: int) -> str:
    if unread:
        what = "file" if unread == 1 else "files"
        return f"No validation issues found when analyzing {target} (but {unread} {what} could not be parsed)."
    if len(names) > 1:
        return "\n  - ".join(["✔ No validation issues found when analyzing:", *names])
    return f"✔ No validation issues found when analyzing {names[0] if names else target}."


def _suppressed(values: Iterable[str]) -> list[tuple[str, str]]:
    from ambientlab.mesh.analysis.istio import CODES

    found = []
    for value in values:
        code, equals, pattern = value.partition("=")
        if not equals or "=" in pattern:
            raise click.ClickException(f"{value} is not a valid suppression value. See istioctl analyze --help")
        if code not in CODES:
            click.echo(
                f"Warning: Supplied message code '{code}' is an unknown message code and will not have any effect.",
                err=True,
            )
        found.append((code, pattern))
    return found


def _hidden(one: Line, namespace: str, suppressed: Iterable[tuple[str, str]]) -> bool:
    if one.home in _IGNORED or (namespace and one.home and one.home != namespace):
        return True
    if one.code in one.suppressed or "*" in one.suppressed:
        return True
    # the form of the command's own examples, and that of messages, which is what istioctl compares with
    names = (one.origin, f"{one.kind} {one.name}.{one.namespace}")
    return any(code == one.code and fnmatch.fnmatchcase(name, p) for code, p in suppressed for name in names)


def _texts(names: Iterable[str]) -> Iterator[Text | Problem]:
    for path in (path for name in names for path in files_.named(name)):
        if str(path) == "-" or files_.is_manifest(path):
            yield files_.text(path)
        else:
            known = " ".join(EXTENSIONS)
            click.echo(f"Skipping file {path}, recognized file extensions are: [{known}]", err=True)


def _index(
    cluster: Cluster | None, given: Sequence[Text | Problem], namespace: str, mesh_config: Path | None
) -> tuple[MeshIndex, Manifests]:
    """The cluster, if there is one, as it would be with the files in it."""
    from ambientlab.api.kinds import DEPLOYMENT, ISTIOGATEWAY
    from ambientlab.cli import reading
    from ambientlab.host import manifests
    from ambientlab.mesh.index import index, meshconfig

    written = manifests.read(given, namespace)
    changed = reading.changed_by(written)
    if cluster is None:
        found = index(changed({}))
    else:
        with cluster.api() as api:
            found, unseen = reading.read(api, changed=changed if given else None, also=(ISTIOGATEWAY, DEPLOYMENT))
        for gap in unseen:
            click.echo(f"Warning: {gap.what} not seen: {gap.why}", err=True)
    if mesh_config is not None:
        config = {
            "metadata": {"name": "istio", "namespace": ""},
            "data": {"mesh": contents(mesh_config).decode(errors="replace")},
        }
        meshconfig.take_up(found.mesh_config, config)
        found.settle()
    return found, written


def _refused(problem: Problem) -> Iterator[Line]:
    """What the API says of an object of a file; each thing by itself that Istio has against it."""
    from ambientlab.mesh.analysis.istio.codes import SCHEMA_ERROR

    kind, _, name = problem.named.partition(" ")
    code, template = SCHEMA_ERROR.code, SCHEMA_ERROR.template
    level = code.severity.value.capitalize()
    for text in problem.errors or (problem.message,):
        yield Line(code.id, level, template.format(text), kind, problem.namespace, name, (), _at(problem))
