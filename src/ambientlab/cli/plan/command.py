"""The command: asks the API what it would make of the manifests, and says what that does to traffic. Exit codes: 0
nothing changes for traffic, 1 something is wrong with an object or an option, or the cluster cannot be read, 2 traffic
changes."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambientlab.cli import reading
from ambientlab.cli.mesh import name_option, running_paths
from ambientlab.cli.output import EXIT_FAILURE, fail, json_text

if TYPE_CHECKING:
    from ambientlab.cli.plan.report import Report
    from ambientlab.host.kubeapi import KubeApi
    from ambientlab.host.manifests import Problem, Written
    from ambientlab.host.pruning import Pruning
    from ambientlab.host.rehearsal import ServerSide
    from ambientlab.mesh.plan import Denial


class _UsageError(click.UsageError):
    exit_code = EXIT_FAILURE


@contextmanager
def _usage() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        raise _UsageError(error.format_message(), error.ctx) from None


class _Command(click.Command):
    """Exit code 2 means that traffic changes, and not, as click has it, that an option makes no sense."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _usage():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _usage():
            return super().invoke(ctx)


@click.command(cls=_Command)
@click.option("-f", "--filename", "files", multiple=True, help="Manifests to apply; a directory, or - for stdin.")
@click.option("-R", "--recursive", is_flag=True, help="Of directories, those within them as well.")
@click.option("-k", "--kustomize", type=click.Path(exists=True, file_okay=False), help="A kustomization to apply.")
@click.option("--server-side", is_flag=True, help="As `kubectl apply --server-side`.")
@click.option("--force-conflicts", is_flag=True, help="With --server-side: take fields over that others manage.")
@click.option("--field-manager", help="With --server-side: who applies.  [default: kubectl]")
@click.option("--delete", "deleted", multiple=True, metavar="KIND/NAME", help="An object to delete; repeatable.")
@click.option("--prune", is_flag=True, help="Delete what was applied and is not among the manifests; with -l or --all.")
@click.option("-l", "--selector", default="", help="Prune what has these labels.")
@click.option("--all", "everything", is_flag=True, help="Prune whatever its labels.")
@click.option(
    "--prune-allowlist",
    "allowed",
    multiple=True,
    metavar="GROUP/VERSION/KIND",
    help="What to prune. [default: kubectl's]",
)
@click.option("-n", "--namespace", help="Of objects that name none.  [default: the context's]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.option("--context", help="Plan for a cluster of your kubeconfig instead of the mesh of this machine.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig file of that cluster.")
@name_option
def plan(
    files: tuple[str, ...],
    recursive: bool,
    kustomize: str | None,
    server_side: bool,
    force_conflicts: bool,
    field_manager: str | None,
    deleted: tuple[str, ...],
    prune: bool,
    selector: str,
    everything: bool,
    allowed: tuple[str, ...],
    namespace: str | None,
    output: str,
    context: str | None,
    kubeconfig: Path | None,
    name: str,
) -> None:
    """What manifests would do to traffic if they were applied: for every service and client that notice, what is then
    another than before, what has no effect and why, and what the API refuses.

    Nothing is written: the API is asked for dry runs, here or on any cluster with Istio ambient. Exits 0 if nothing
    changes for traffic, 2 if something does, 1 if an object is refused, the cluster cannot be read or an option makes
    no sense.
    """
    gc.disable()  # what is made lives to the end: to look for garbage in it takes as long as all the rest
    if not (files or kustomize or deleted):
        raise click.UsageError("name manifests with -f or -k, or objects to delete with --delete")
    if not server_side and (force_conflicts or field_manager is not None):
        raise click.UsageError("--force-conflicts and --field-manager are for --server-side")
    if prune and bool(selector) is everything:
        raise click.UsageError("--prune takes either -l, for what has these labels, or --all")
    if not prune and (selector or everything or allowed):
        raise click.UsageError("-l, --all and --prune-allowlist are for --prune")
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.host.kubeconfig import KubeconfigError
    from ambientlab.host.kubectl import KubectlError, plain
    from ambientlab.host.pruning import PruneError, Pruning
    from ambientlab.host.rehearsal import ServerSide
    from ambientlab.host.tools import ToolError
    from ambientlab.mesh.explain import NoNamespaceError

    flags = reading.flags(context, kubeconfig)
    try:
        found = list(_written(files, kustomize, recursive=recursive))
        if not (found or deleted):
            fail("there are no objects in what -f and -k name")
        if not flags:
            kubeconfig = running_paths(name).kubeconfig
        with reading.api(context, kubeconfig, *flags, rehearsing=True) as api:
            pruning = Pruning(selector, allowed) if prune else None
            by = ServerSide(field_manager or "kubectl", force_conflicts) if server_side else None
            report = _planned(api, found, deleted, pruning, namespace, by, flags)
    except (ApiError, NoNamespaceError) as error:
        fail(str(error), error.hints)
    except (KubeconfigError, KubectlError, PruneError, ToolError) as error:
        fail(plain(str(error)))
    click.echo(_text(report, output))
    raise SystemExit(report.exit_code)


def _written(files: Sequence[str], kustomize: str | None, *, recursive: bool) -> Iterator[Written | Problem]:
    from ambientlab.host import manifests

    yield from manifests.written(reading.texts(files, recursive=recursive))
    if kustomize is not None:
        from ambientlab.host.kubectl import Kubectl

        yield from manifests.written([(f"kubectl kustomize {kustomize}", Kubectl().run(["kustomize", kustomize]))])


def _planned(
    api: KubeApi,
    found: Sequence[Written | Problem],
    deleted: Sequence[str],
    pruning: Pruning | None,
    namespace: str | None,
    server_side: ServerSide | None,
    flags: Sequence[str],
) -> Report:
    from ambientlab.cli.plan import report
    from ambientlab.host.manifests import Problem
    from ambientlab.host.rehearsal import Rehearser, UnknownKindError
    from ambientlab.host.seen import connections
    from ambientlab.mesh.explain import check_namespace
    from ambientlab.mesh.plan import denials, denying
    from ambientlab.mesh.plan import plan as planned

    index, unseen = reading.read(api, *flags)
    if namespace is not None and _expects(namespace, found, deleted):
        check_namespace(index, namespace)
    rehearser = Rehearser(api, namespace, server_side)
    try:
        targets = list(dict.fromkeys(rehearser.target(text) for text in deleted))
    except UnknownKindError as error:
        fail(str(error), ["kubectl api-resources"])
    applied = rehearser.apply([one for one in found if not isinstance(one, Problem)])
    unreadable = [one for one in found if isinstance(one, Problem)]
    gone = [rehearser.delete(targets)]
    left: list[str] = []
    if pruning is not None and not (unreadable or applied.problems):
        pruned = [one for one in pruning.targets(api, rehearser, applied.outcomes) if one not in targets]
        gone.append(rehearser.delete(pruned, "pruned"))
        left += report.left(pruning, index, applied.outcomes)
    outcomes = (*applied.outcomes, *(outcome for some in gone for outcome in some.outcomes))
    problems = [*unreadable, *applied.problems, *(problem for some in gone for problem in some.problems)]
    changes = [outcome.change for outcome in outcomes if outcome.verb != "unchanged"]
    result = report.aimed(planned(index, changes), *flags)
    denied: list[Denial] = []
    if denying(result.comparison):
        seen, unreadable_logs = connections(api, index, result.before)
        denied += denials(result.comparison, seen)
        unseen += unreadable_logs
    ordered = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
    return report.Report(result, outcomes, ordered, index, tuple(left), tuple(denied), tuple(unseen))


def _expects(namespace: str, found: Sequence[Written | Problem], deleted: Sequence[str]) -> bool:
    """Whether the namespace has to be there: for what names none, and the manifests do not make it."""
    from ambientlab.host.manifests import Problem

    values = [one.value for one in found if not isinstance(one, Problem) and isinstance(one.value, dict)]
    metas = [(value.get("kind"), meta) for value in values if isinstance(meta := value.get("metadata"), dict)]
    if any(kind == "Namespace" and meta.get("name") == namespace for kind, meta in metas):
        return False
    return bool(deleted) or any("namespace" not in meta for _, meta in metas)


def _text(report: Report, output: str) -> str:
    if output == "json":
        from ambientlab.cli.plan.document import document

        return json_text(document(report))
    from ambientlab.cli.plan.drawing import draw

    return draw(report)
