"""The command: asks the API what it would make of the manifests, and says what that does to traffic. Exit codes: 0
nothing changes for traffic, 1 something is wrong with an object or an option, or the cluster cannot be read, 2 traffic
changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ambientlab.cli import reading
from ambientlab.cli.output import EXIT_FAILURE
from ambientlab.cli.plan import planning
from ambientlab.cli.plan.delete import delete

if TYPE_CHECKING:
    from ambientlab.cli.plan.report import Report
    from ambientlab.host.deletion import Deletion
    from ambientlab.host.kubeapi import KubeApi
    from ambientlab.host.manifests import Written
    from ambientlab.host.pruning import Pruning
    from ambientlab.host.rehearsal import Rehearser


class _UsageError(click.UsageError):
    exit_code = EXIT_FAILURE


@contextmanager
def _usage() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        raise _UsageError(error.format_message(), error.ctx) from None


class _Group(click.Group):
    """Exit code 2 means that traffic changes, and not, as click has it, that an option makes no sense."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _usage():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _usage():
            return super().invoke(ctx)


@click.group(cls=_Group, invoke_without_command=True, subcommand_metavar="[delete ...]")
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
@planning.options
@click.pass_context
def plan(
    ctx: click.Context,
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
    another than before, what has no effect and why, and what the API refuses. With `delete`, what it would do if they
    were deleted.

    Nothing is written: the API is asked for dry runs, here or on any cluster with Istio ambient. Exits 0 if nothing
    changes for traffic, 2 if something does, 1 if an object is refused, the cluster cannot be read or an option makes
    no sense.
    """
    if (command := ctx.invoked_subcommand) is not None:
        if any(ctx.get_parameter_source(each) is ParameterSource.COMMANDLINE for each in ctx.params):
            raise click.UsageError(f"options of {command} come behind it")
        return
    if not (files or kustomize or deleted):
        raise click.UsageError("name manifests with -f or -k, or objects to delete with --delete")
    if not server_side and (force_conflicts or field_manager is not None):
        raise click.UsageError("--force-conflicts and --field-manager are for --server-side")
    if prune and bool(selector) is everything:
        raise click.UsageError("--prune takes either -l, for what has these labels, or --all")
    if not prune and (selector or everything or allowed):
        raise click.UsageError("-l, --all and --prune-allowlist are for --prune")
    if missing := [text for text in deleted if "/" not in text]:
        raise click.UsageError(f"{missing[0]!r} names no object: it is written as in httproute/split")
    from ambientlab.host.deletion import Deletion
    from ambientlab.host.pruning import Pruning
    from ambientlab.host.rehearsal import Rehearser, ServerSide

    with planning.telling():
        found = planning.written(files, kustomize, recursive=recursive)
        with planning.opened(context, kubeconfig, name) as api:
            by = ServerSide(field_manager or "kubectl", force_conflicts) if server_side else None
            pruning = Pruning(selector, allowed) if prune else None
            flags = reading.flags(context, kubeconfig)
            report = _planned(api, Rehearser(api, namespace, by), found, Deletion(deleted), pruning, namespace, flags)
    planning.show(report, output)


def _planned(
    api: KubeApi,
    rehearser: Rehearser,
    found: planning.Found,
    deletion: Deletion,
    pruning: Pruning | None,
    namespace: str | None,
    flags: Sequence[str],
) -> Report:
    from ambientlab.cli.plan import report
    from ambientlab.mesh.explain import check_namespace

    manifests, unreadable = planning.parted(found)
    cluster = reading.cluster(api, *flags)
    if namespace is not None and _expects(namespace, manifests, deletion):
        check_namespace(cluster.index, namespace)
    targets = deletion.targets(api, rehearser)
    applied = rehearser.apply(manifests)
    rehearsals = [applied, rehearser.delete(targets)]
    left: list[str] = []
    if pruning is not None and not (unreadable or applied.problems):
        places = {target.place for target in targets}
        pruned = [one for one in pruning.targets(api, rehearser, applied.outcomes) if one.place not in places]
        rehearsals.append(rehearser.delete(pruned, "pruned"))
        left += report.left(pruning, cluster.index, applied.outcomes)
    return planning.report(api, cluster, rehearsals, unreadable, left, flags)


def _expects(namespace: str, manifests: Sequence[Written], deletion: Deletion) -> bool:
    """Whether the namespace has to be there: for what names none, and the manifests do not make it."""
    values = [one.value for one in manifests if isinstance(one.value, dict)]
    metas = [(value.get("kind"), meta) for value in values if isinstance(meta := value.get("metadata"), dict)]
    if any(kind == "Namespace" and meta.get("name") == namespace for kind, meta in metas):
        return False
    return bool(deletion.arguments) or any("namespace" not in meta for _, meta in metas)


plan.add_command(delete)
