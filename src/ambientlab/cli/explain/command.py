"""The command: reads the cluster, asks, shows. Exit codes: 0 explained, 1 the cluster cannot be read, 2 the question
makes no sense, 65 the cluster has no such host or pod."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ambientlab.cli import reading
from ambientlab.cli.mesh import name_option, running_paths
from ambientlab.cli.output import at_terminal, fail, json_text, talk

if TYPE_CHECKING:
    from ambientlab.host.kubeapi import KubeApi
    from ambientlab.mesh.decide import Request

EXIT_USAGE, EXIT_UNKNOWN = 2, 65
_LEAST_PAUSE = 1.0
_SHARE_OF_READING = 10
"""While watching, the API is left alone for this many times as long as reading it took."""


Render = Callable[[], str]


@click.command()
@click.argument("url")
@click.option(
    "--from",
    "source",
    metavar="NAMESPACE/POD",
    help="Who asks; NAMESPACE/deploy/NAME for a pod of a Deployment.  [default: some pod in the mesh]",
)
@click.option("-n", "--namespace", default="", help="Of --from, which then takes POD or deploy/NAME.")
@click.option("-X", "--request", "method", default="GET", show_default=True, help="The method of the request.")
@click.option("-H", "--header", "headers", multiple=True, help="A header of the request, `Name: value`.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.option("-w", "--watch", is_flag=True, help="Stay, and show it anew whenever it changes.")
@click.option("--context", help="Explain a cluster of your kubeconfig instead of the mesh of this machine.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig file of that cluster.")
@name_option
def explain(
    url: str,
    source: str | None,
    namespace: str,
    method: str,
    headers: tuple[str, ...],
    output: str,
    watch: bool,
    context: str | None,
    kubeconfig: Path | None,
    name: str,
) -> None:
    """Why a request goes where it goes: its way hop by hop, the exact shares of where it ends, every policy that has no
    effect on it and why, and the commands that change that.

    URL is what curl would take: helloworld.hello:5000/hello, http://httpbin.httpbin:8000/get. Nothing is sent, and
    nothing is written: the cluster's objects are read, here or on any cluster with Istio ambient.
    """
    if not watch:
        # what is made lives to the end: to look for garbage in it takes as long as all the rest
        gc.disable()
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.host.kubeconfig import KubeconfigError
    from ambientlab.host.tools import ToolError
    from ambientlab.mesh.explain import AskedError, UnknownError, request
    from ambientlab.mesh.explain.remedies import aimed

    flags = reading.flags(context, kubeconfig)
    try:
        asked = request(url, method, headers)
        if namespace and source is None:
            raise AskedError("-n is the namespace of --from, which is not there", "such as --from curl -n test")
        if not flags:
            kubeconfig = running_paths(name).kubeconfig
        with reading.api(context, kubeconfig, *flags) as api:
            render = _rendering(api, source, namespace, asked, output, flags)
            if watch:
                _watch(render)
            else:
                click.echo(render())
    except UnknownError as error:
        fail(str(error), [aimed(hint, *flags) for hint in error.hints], EXIT_UNKNOWN)
    except AskedError as error:
        fail(str(error), error.hints, EXIT_USAGE)
    except ApiError as error:
        fail(str(error), error.hints)
    except (KubeconfigError, ToolError) as error:
        fail(str(error))


def _rendering(
    api: KubeApi, source: str | None, namespace: str, asked: Request, output: str, flags: Sequence[str]
) -> Render:
    """What reads the cluster as it is then, and says it."""
    from ambientlab.mesh import explain as explaining

    def render() -> str:
        built, unseen = reading.read(api, *flags)
        try:
            asker = explaining.anybody(built, asked) if source is None else explaining.named(built, source, namespace)
            found = explaining.aimed(explaining.explain(built, asker, asked, unseen), *flags)
        except explaining.UnknownError as error:
            # what could not be seen may be what is not there
            raise explaining.UnknownError(str(error), *error.hints, *map(str, unseen)) from error
        if output == "json":
            from ambientlab.cli.explain.document import document

            return json_text(document(found))
        from ambientlab.cli.explain.drawing import draw

        return draw(found)

    return render


def _watch(render: Render) -> NoReturn:
    """A host or a pod that is not there may come. Until a reader goes away or is interrupted."""
    from ambientlab.mesh.explain import UnknownError

    shown = None
    while True:
        began = time.monotonic()
        try:
            text = render()
        except UnknownError as error:
            text = "\n".join([f"Error: {error}", *(f"  → {hint}" for hint in error.hints)])
        if text != shown:
            if at_terminal(sys.stdout):
                click.clear()
            elif shown is not None:
                talk(f"\n--- {time.strftime('%H:%M:%S')}")
            click.echo(text)
            shown = text
        time.sleep(max(_LEAST_PAUSE, _SHARE_OF_READING * (time.monotonic() - began)))
