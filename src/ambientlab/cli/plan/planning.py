"""What the commands have in common: the manifests, the API that is asked, and what comes of its answers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from ambientlab.cli import reading
from ambientlab.cli.mesh import name_option, running_paths
from ambientlab.cli.output import fail, json_text

if TYPE_CHECKING:
    from ambientlab.api.resources import Resource
    from ambientlab.cli.plan.report import Report
    from ambientlab.cli.reading import Cluster
    from ambientlab.host.kubeapi import KubeApi
    from ambientlab.host.manifests import Problem, Written
    from ambientlab.host.rehearsal import Outcome, Rehearsal
    from ambientlab.mesh.plan import Denial

    Found = Sequence[Written | Problem]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_OPTIONS = (
    click.option("-n", "--namespace", help="Of objects that name none.  [default: the context's]"),
    click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text"),
    click.option("--context", help="Plan for a cluster of your kubeconfig instead of the mesh of this machine."),
    click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig file of that cluster."),
    name_option,
)


def options(command: _Command) -> _Command:
    """Which namespace and which cluster are meant, and how to write about them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def written(files: Sequence[str], kustomize: str | None, *, recursive: bool) -> Found:
    """The objects of manifests. Raises KubectlError."""
    from ambientlab.host import manifests

    found = list(manifests.written(reading.texts(files, recursive=recursive)))
    if kustomize is not None:
        from ambientlab.host.kubectl import Kubectl

        made = Kubectl().run(["kustomize", kustomize])
        found += manifests.written([(f"kubectl kustomize {kustomize}", made)])
    if (files or kustomize is not None) and not found:
        fail("there are no objects in what -f and -k name")
    return found


def parted(found: Found) -> tuple[list[Written], list[Problem]]:
    """What can be an object, and what cannot."""
    from ambientlab.host.manifests import Problem

    return (
        [one for one in found if not isinstance(one, Problem)],
        [one for one in found if isinstance(one, Problem)],
    )


@contextmanager
def telling() -> Iterator[None]:
    """What is wrong with the cluster, or with what is asked of it, ends the program."""
    gc.disable()  # what is made lives to the end: to look for garbage in it takes as long as all the rest
    from ambientlab.host.deletion import DeletionError
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.host.kubeconfig import KubeconfigError
    from ambientlab.host.kubectl import KubectlError, plain
    from ambientlab.host.pruning import PruneError
    from ambientlab.host.served import UnknownKindError
    from ambientlab.host.tools import ToolError
    from ambientlab.mesh.explain import NoNamespaceError

    try:
        yield
    except (ApiError, NoNamespaceError) as error:
        fail(str(error), error.hints)
    except UnknownKindError as error:
        fail(str(error), ["kubectl api-resources"])
    except (DeletionError, KubeconfigError, KubectlError, PruneError, ToolError) as error:
        fail(plain(str(error)))


@contextmanager
def opened(context: str | None, kubeconfig: Path | None, name: str) -> Iterator[KubeApi]:
    """The API of the cluster that is meant."""
    flags = reading.flags(context, kubeconfig)
    file = kubeconfig if flags else running_paths(name).kubeconfig
    with reading.api(context, file, *flags, rehearsing=True) as api:
        yield api


def report(
    api: KubeApi,
    cluster: Cluster,
    rehearsals: Sequence[Rehearsal],
    unreadable: Sequence[Problem],
    left: Sequence[str],
    flags: Sequence[str],
) -> Report:
    """What becomes of traffic with everything that was rehearsed, beside what could not be."""
    from ambientlab.cli.plan.report import Report, aimed
    from ambientlab.host.seen import connections
    from ambientlab.mesh.plan import denials, denying, plan

    index, unseen = cluster.index, cluster.unseen
    outcomes = tuple(_warned(outcome, cluster.unread) for some in rehearsals for outcome in some.outcomes)
    problems = [*unreadable, *(problem for some in rehearsals for problem in some.problems)]
    ordered = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
    changes = [outcome.change for outcome in outcomes if outcome.verb != "unchanged"]
    result = aimed(plan(index, [one for one in changes if one.resource not in cluster.unread]), *flags)
    denied: tuple[Denial, ...] = ()
    if denying(result.comparison):
        seen, unreadable_logs = connections(api, index, result.before)
        denied = tuple(denials(result.comparison, seen))
        unseen = [*unseen, *unreadable_logs]
    return Report(result, outcomes, ordered, index, tuple(left), denied, tuple(unseen))


def _warned(outcome: Outcome, unread: Mapping[Resource, str]) -> Outcome:
    """That there is no effect of it, where Istio passes over its kind."""
    why = unread.get(outcome.change.resource)
    if why is None or outcome.change.new is None:
        return outcome
    return replace(outcome, warnings=(*outcome.warnings, f"no effect: {why}"))


def show(found: Report, output: str) -> NoReturn:
    """The end of a command."""
    click.echo(_text(found, output))
    raise SystemExit(found.exit_code)


def _text(found: Report, output: str) -> str:
    if output == "json":
        from ambientlab.cli.plan.document import document

        return json_text(document(found))
    from ambientlab.cli.plan.drawing import draw

    return draw(found)
