"""What deleting would do to traffic, of what `kubectl delete` would delete."""

from __future__ import annotations

from pathlib import Path

import click

from ambientlab.cli import reading
from ambientlab.cli.mesh import Seconds
from ambientlab.cli.plan import planning


@click.command()
@click.argument("arguments", nargs=-1, metavar="[KIND NAME...]")
@click.option("-f", "--filename", "files", multiple=True, help="Manifests of what to delete; a directory, or -.")
@click.option("-R", "--recursive", is_flag=True, help="Of directories, those within them as well.")
@click.option("-k", "--kustomize", type=click.Path(exists=True, file_okay=False), help="A kustomization of it.")
@click.option("-l", "--selector", default="", help="What has these labels, of a kind or among the manifests.")
@click.option("--field-selector", "fields", default="", help="What has these fields, of a kind.")
@click.option("--all", "everything", is_flag=True, help="All of a kind.")
@click.option(
    "-A", "--all-namespaces", "everywhere", is_flag=True, help="With a selector or --all: in whatever namespace."
)
@click.option(
    "--cascade",
    type=click.Choice(["background", "foreground", "orphan"]),
    default="background",
    show_default=True,
    help="What becomes of what they own: it goes as well, or stays (orphan).",
)
@click.option("--force", is_flag=True, help="Accepted: how long deleting takes is not told.")
@click.option("--grace-period", "grace", type=int, default=-1, help="Accepted, as --force.")
@click.option("--now", "at_once", is_flag=True, help="Accepted, as --force.")
@click.option("--wait", type=bool, expose_value=False, help="Accepted, as --force.")
@click.option("--timeout", type=Seconds(), expose_value=False, help="Accepted, as --force.")
@click.option("--ignore-not-found", is_flag=True, help="Pass over what is not there, as -l and --all do.")
@planning.options
def delete(
    arguments: tuple[str, ...],
    files: tuple[str, ...],
    recursive: bool,
    kustomize: str | None,
    selector: str,
    fields: str,
    everything: bool,
    everywhere: bool,
    cascade: str,
    force: bool,
    grace: int,
    at_once: bool,
    ignore_not_found: bool,
    namespace: str | None,
    output: str,
    context: str | None,
    kubeconfig: Path | None,
    name: str,
) -> None:
    """What deleting would do to traffic: `ambientlab plan` before what you would type behind `kubectl`.

    Objects are named as KIND NAME..., KIND,KIND NAME... or KIND/NAME..., by manifests, or by labels. What they own goes
    with them, unless with --cascade=orphan. Nothing is written. Exit codes are those of `ambientlab plan`.
    """
    from ambientlab.host.deletion import Deletion, check_grace
    from ambientlab.host.rehearsal import Rehearser
    from ambientlab.mesh.explain import check_namespace

    flags = reading.flags(context, kubeconfig)
    deletion = Deletion(arguments, selector, everything, everywhere, fields)
    with planning.telling():
        check_grace(force=force, at_once=at_once, grace=grace)
        deletion.check(manifests=bool(files or kustomize))
        manifests, unreadable = planning.parted(planning.written(files, kustomize, recursive=recursive))
        with planning.opened(context, kubeconfig, name) as api:
            cluster = reading.cluster(api, *flags)
            rehearser = Rehearser(api, namespace)
            targets, problems = rehearser.targets(deletion.chosen(manifests))
            targets += deletion.targets(api, rehearser)
            ignoring = ignore_not_found or deletion.selects
            if namespace is not None and not ignoring and any(one.key.namespace == namespace for one in targets):
                check_namespace(cluster.index, namespace)
            gone = rehearser.delete(targets, ignore_not_found=ignoring, propagation=cascade.capitalize())
            report = planning.report(api, cluster, [gone], [*unreadable, *problems], (), flags)
    planning.show(report, output)
