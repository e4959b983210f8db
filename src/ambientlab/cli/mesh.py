"""`up`, `down`, `status`, `logs` and `doctor`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from ambientlab.cli.output import fail, json_out, step, table, talk
from ambientlab.host.paths import DEFAULT_NAME, MeshPaths, PathError, known_meshes, mesh_paths

name_option = click.option(
    "--name", default=DEFAULT_NAME, envvar="AMBIENTLAB_NAME", show_default=True, help="Which mesh."
)
kubeconfig_option = click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig file to write to.")
output_option = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")


def paths_for(name: str) -> MeshPaths:
    try:
        return mesh_paths(name)
    except PathError as error:
        fail(str(error), code=2)


def running_paths(name: str) -> MeshPaths:
    """The mesh's places, or the advice to start it."""
    from ambientlab.host import process

    paths = paths_for(name)
    if process.running(paths) is None:
        option = "" if name == DEFAULT_NAME else f" --name {name}"
        fail(f"mesh {name!r} is not running", [f"ambientlab up{option}"])
    return paths


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Seconds(click.ParamType[float]):
    """A duration in Go's notation, as kubectl takes it: 60s, 1m30s; a bare number means seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self.fail(f"{value!r} is not a duration such as 60s or 1m30s", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)


@click.command()
@name_option
@kubeconfig_option
@click.option("--wait", "patience", type=Seconds(), default="60s", show_default=True, help="How long Ready may take.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless it fails.")
def up(name: str, kubeconfig: Path | None, patience: float, quiet: bool) -> None:
    """Start the mesh in the background and wait until it is Ready.

    Doing it twice does no harm. The context ambientlab-NAME is merged into the kubeconfig and made the current one.
    """
    from ambientlab.host import kubeconfig as kube
    from ambientlab.host import lifecycle
    from ambientlab.host.tools import ToolError

    paths = paths_for(name)
    begun = False

    def report(done: lifecycle.Step) -> None:
        nonlocal begun
        if quiet:
            return
        if not begun:
            talk(f"Starting mesh {name!r}", bold=True)
            begun = True
        step(f"{done.text} ({done.milliseconds} ms)")

    try:
        target = kube.target(str(kubeconfig) if kubeconfig else None, mesh=name)
        started = lifecycle.up(paths, patience=patience, report=report, kubeconfig_path=target)
    except lifecycle.LifecycleError as error:
        fail(str(error), error.hints)
    except (PathError, ToolError, kube.KubeconfigError) as error:
        fail(str(error))
    if quiet:
        return
    if not started:
        talk(f"Mesh {name!r} runs already.")
    talk(f'Set kubectl context to "{paths.context}" in {target}')
    talk("Next: ambientlab shell" + ("" if name == DEFAULT_NAME else f" --name {name}"))


@click.command()
@name_option
@kubeconfig_option
@click.option("--purge", is_flag=True, help="Delete its objects, certificates and logs too.")
def down(name: str, kubeconfig: Path | None, purge: bool) -> None:
    """Stop the mesh. Its objects are there again after the next `up`, unless --purge; its pods then run anew, which
    each of them counts as a restart, as after a restart of a node.
    """
    from ambientlab.host import kubeconfig as kube
    from ambientlab.host import lifecycle

    paths = paths_for(name)
    try:
        target = kube.target(str(kubeconfig) if kubeconfig else None)
        was_running = lifecycle.down(paths, purge=purge, kubeconfig_path=target)
    except lifecycle.LifecycleError as error:
        fail(str(error), error.hints)
    except kube.KubeconfigError as error:
        fail(str(error))
    talk(f"Mesh {name!r} {'stopped' if was_running else 'was not running'}{', its state is gone' if purge else ''}.")


@click.command()
@click.option("--name", help="Only this mesh.  [default: every mesh of this user]")
@output_option
def status(name: str | None, output: str) -> None:
    """What runs, and where. Exits 1 when the named mesh does not run."""
    from ambientlab.host.inspect import inspect

    names = [name] if name else known_meshes()
    found = [inspect(paths_for(each)) for each in names]
    if output == "json":
        json_out(found)
    elif not found:
        talk("No mesh on this machine. Next: ambientlab up")
    else:
        table(
            ["NAME", "STATUS", "PID", "API", "PODS", "MEMORY", "STATE"],
            [
                [
                    each["name"],
                    each["status"],
                    str(each["pid"] or "-"),
                    each["server"] or "-",
                    f"{each['podsReady']}/{each['pods']}" if each["pods"] is not None else "-",
                    f"{each['memoryMiB']} MiB" if each["memoryMiB"] else "-",
                    each["state"],
                ]
                for each in found
            ],
        )
    if name and found[0]["status"] != "Running":
        raise SystemExit(1)


@click.command()
@name_option
@click.argument("component", default="daemon")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what comes.")
@click.option("--tail", type=click.IntRange(min=0), help="Only the last lines.")
def logs(name: str, component: str, follow: bool, tail: int | None) -> None:
    """The logs of the mesh's own components: daemon, istiod, istio-cni.

    Pods have theirs in `kubectl logs`; ztunnel's access log is `kubectl logs -n istio-system ds/ztunnel`.
    """
    from ambientlab.host import logtail

    paths = paths_for(name)
    files = {"daemon": paths.daemon_log, **{each: paths.log_of(each) for each in ("istiod", "istio-cni")}}
    if component not in files:
        fail(f"no component {component!r}", [f"one of: {', '.join(files)}"], code=2)
    if not files[component].exists():
        fail(f"mesh {name!r} has no {component} log yet", [f"ambientlab up --name {name}"])
    try:
        logtail.show(files[component], sys.stdout.buffer, last=tail, follow=follow, cri=component != "daemon")
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"cannot read {error.filename}: {error.strerror}")


@click.command()
@output_option
def doctor(output: str) -> None:
    """Can this machine run a mesh? Names the setting in the way and the command that fixes it; exits 1 then."""
    from ambientlab.host.doctor import examine

    findings = examine()
    if output == "json":
        json_out([{"check": each.check, "ok": each.ok, "detail": each.detail, "fix": each.fix} for each in findings])
    else:
        for each in findings:
            mark = "✓" if each.ok else "✗"
            click.echo(f" {mark} {each.check}: {each.detail}")
            if not each.ok and each.fix:
                click.echo(f"     fix: {each.fix}")
    if any(not each.ok for each in findings):
        raise SystemExit(1)
