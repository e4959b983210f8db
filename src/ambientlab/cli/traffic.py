"""`ambientlab traffic`: real requests from a pod, what became of them, and whether that is what was expected."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ambientlab.api import numbers
from ambientlab.cli import reading
from ambientlab.cli.mesh import Seconds, name_option
from ambientlab.cli.output import at_terminal, fail, json_out, printable, talk

if TYPE_CHECKING:
    from ambientlab.api.objects import Object
    from ambientlab.host.kubectl import Kubectl
    from ambientlab.traffic.answers import Requests
    from ambientlab.traffic.expectations import Expected, Verdict
    from ambientlab.traffic.tally import Tally

EXIT_USAGE = 2
_NOTHING = "none"
_NUMBER = 200
_BAR, _NAME = 24, 22
"""Columns; with the figures behind them a line has 80."""
_FRAME = 0.1  # seconds between two pictures
_BETWEEN = 0.5  # seconds between two samples that wait for a rollout


@click.command()
@click.argument("url")
@click.option(
    "--from", "source", metavar="NS/POD", required=True, help="The pod that asks; deploy/NAME for one of its."
)
@click.option("--container", default="", help="Which of the pod's containers.")
@click.option(
    "-n", "number", type=click.IntRange(1, 1_000_000), help=f"How many requests; {_NUMBER} without --duration."
)
@click.option("-c", "parallel", type=click.IntRange(1, 500), default=1, show_default=True, help="How many at once.")
@click.option("--rps", "rate", type=click.FloatRange(0, 100_000), default=0.0, help="How many to begin a second.")
@click.option("--duration", "seconds", type=Seconds(), default=0.0, help="How long to begin new ones, such as 10s.")
@click.option("--timeout", "patience", type=Seconds(), default="20s", show_default=True, help="How long one may take.")
@click.option("-X", "--method", default="GET", show_default=True, help="The HTTP method.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of each request.")
@click.option("--keep-alive", "reuse", is_flag=True, help="Use connections again; without, each request has its own.")
@click.option("--by", default="version", show_default=True, help="version, instance, status or header:NAME.")
@click.option("--expect", metavar="v1=95,v2=5", default="", help="The share of each group in percent, or none.")
@click.option("--expect-status", metavar="500=10%", default="", help="The share of a status; 0 is no answer.")
@click.option("--expect-delay", metavar="2s=50%", default="", help="The share of requests delayed by so much or more.")
@click.option("--max-p99", type=Seconds(), default=None, help="What 99 of 100 answers may take at most.")
@click.option("--significance", type=click.FloatRange(1e-9, 0.5), default=0.001, show_default=True)
@click.option("--until-stable", is_flag=True, help="Ask again until the answers are as expected.")
@click.option("--wait", type=Seconds(), default="60s", show_default=True, help="How long --until-stable tries.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "csv", "svg", "html"]), default="text")
@name_option
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Another cluster than this machine's mesh.")
@click.option("--context", help="The same, by a context of the kubeconfig.")
def traffic(
    url: str,
    by: str,
    expect: str,
    expect_status: str,
    expect_delay: str,
    max_p99: float | None,
    significance: float,
    until_stable: bool,
    wait: float,
    output: str,
    name: str,
    kubeconfig: Path | None,
    context: str | None,
    **asked: Any,
) -> None:
    """Send real requests from a pod and count what comes back.

    Each request has a connection of its own, as each `curl` has. Where you expect nothing of them, versions and
    instances are compared with what `ambientlab explain` says; --expect none leaves that out. Exit status 0: the
    answers fit what was expected, or nothing was; 1: they do not; 2: nothing could be sent.
    """
    from ambientlab.traffic import expectations

    try:
        requests = _requests(url, **asked)
        expected = _expected(expect, expect_status, expect_delay, max_p99, by)
        _check_by(by)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
    kubectl, flags = _cluster(name, kubeconfig, context)
    requests = _with_pod(kubectl, requests)
    foreseen = expect != _NOTHING and not expected
    if foreseen:
        expected = _foreseen(kubectl, requests, by)
    if until_stable and not expected:
        message = "--until-stable needs something to wait for: --expect, --expect-status, ..."
        raise click.UsageError(message, click.get_current_context())
    end = time.monotonic() + (wait if until_stable else 0)
    while True:
        tally, whole = _sample(kubectl, requests, by, flags, live=output == "text")
        if foreseen and not _comparable(tally, expected):
            expected = expectations.Expected()
        verdicts = expectations.judge(tally, expected, significance)
        if not whole or expectations.passed(verdicts) or time.monotonic() + _BETWEEN > end:
            break
        time.sleep(_BETWEEN)
    _show(output, requests, by, tally, verdicts, significance)
    if foreseen and verdicts and output == "text":
        _say("Expected is what `ambientlab explain` says; --expect v1=95,v2=5 is for something else.")
    raise SystemExit(0 if expectations.passed(verdicts) else 1)


def _requests(url: str, method: str, headers: Sequence[str], number: int | None, **others: Any) -> Requests:
    """As options have it. Raises ValueError."""
    from ambientlab.traffic.answers import Requests
    from ambientlab.traffic.sending import url_of

    if number is None:
        number = 0 if others["seconds"] else _NUMBER
    lines = tuple(_header(text) for text in headers)
    return Requests(url=url_of(url).geturl(), method=_token(method), headers=lines, number=number, **others)


def _expected(groups: str, statuses: str, delays: str, p99: float | None, by: str) -> Expected:
    from ambientlab.traffic.expectations import Expected, shares, whole

    wanted = shares(groups) if groups not in ("", _NOTHING) else {}
    if wanted:
        whole(wanted)
    if by == "status":
        wanted = {f"HTTP {group}" if group.isdigit() else group: share for group, share in wanted.items()}
    codes = shares(statuses) if statuses else {}
    if wrong := [code for code in codes if code != "0" and (numbers.whole(code, 599) or 0) < 100]:
        raise ValueError(f"--expect-status: {wrong[0]!r} is no HTTP status")
    late = shares(delays) if delays else {}
    seconds = {_duration(text): share for text, share in late.items()}
    return Expected(wanted, {int(code): share for code, share in codes.items()}, seconds, p99 or 0)


def _foreseen(kubectl: Kubectl, requests: Requests, by: str) -> Expected:
    from ambientlab.cli.prediction import predicted
    from ambientlab.host.kubeapi import ApiError
    from ambientlab.host.kubeconfig import KubeconfigError
    from ambientlab.host.tools import ToolError
    from ambientlab.mesh.explain import AskedError
    from ambientlab.traffic.expectations import Expected

    try:
        return Expected(predicted(kubectl, requests, by))
    except (ApiError, AskedError, KubeconfigError, ToolError) as error:
        talk(f"What to expect is not known: {error}")
        return Expected()


def _comparable(tally: Tally, expected: Expected) -> bool:
    """Whether those who answered say who they are."""
    if tally.groups.keys() & expected.groups.keys() or not any(answer.status for answer in tally.answers):
        return True
    if expected.groups:
        talk("Those who answered do not say who they are, so they are not compared with what explain expects.")
    return False


def _duration(text: str) -> float:
    try:
        return Seconds().convert(text, None, None)
    except click.BadParameter as error:
        raise ValueError(f"--expect-delay: {error.message}") from None


def _check_by(by: str) -> None:
    from ambientlab.traffic.answers import by as reader

    reader(by)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or "\n" in text or "\r" in text:
        raise ValueError(f"-H {text!r} is not NAME: VALUE")
    return _token(name.strip()), value.strip()


def _token(text: str) -> str:
    import re

    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text):
        raise ValueError(f"{text!r} is no name that HTTP allows")
    return text


def _cluster(name: str, kubeconfig: Path | None, context: str | None) -> tuple[Kubectl, Sequence[str]]:
    """The cluster that was named, or this machine's own mesh, and the flags that name it."""
    from ambientlab.cli.mesh import running_paths
    from ambientlab.host.kubectl import Kubectl

    if kubeconfig is None and context is None:
        return Kubectl(running_paths(name).kubeconfig), ()
    return Kubectl(kubeconfig, context), reading.flags(context, kubeconfig)


def _with_pod(kubectl: Kubectl, requests: Requests) -> Requests:
    """`NS/deploy/NAME` becomes the name of one of its pods."""
    from dataclasses import replace

    from ambientlab.host.kubectl import KubectlError

    namespace, _, pod = requests.source.partition("/")
    if not namespace or not pod or pod.count("/") > 1:
        fail(f"--from {requests.source!r} is not NAMESPACE/POD", ["such as --from test/curl"], code=EXIT_USAGE)
    kind, _, name = pod.rpartition("/")
    if kind in ("", "pod", "pods", "po"):
        return replace(requests, source=f"{namespace}/{name}")
    try:
        owner = kubectl.get(kind, name, namespace)
        labels = (((owner or {}).get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        if owner is None or not labels:
            _check_namespace(kubectl, namespace)
            fail(f"{kind}/{name} in namespace {namespace} has no pods", code=EXIT_USAGE)
        pods = kubectl.list("pods", namespace, ",".join(f"{key}={value}" for key, value in labels.items()))
    except KubectlError as error:
        fail(str(error), code=EXIT_USAGE)
    running = [pod for pod in pods if _stays(pod)]
    if not running:
        fail(f"no pod of {kind}/{name} in namespace {namespace} runs", code=EXIT_USAGE)
    return replace(requests, source=f"{namespace}/{running[0]['metadata']['name']}")


def _stays(pod: Object) -> bool:
    """A pod that is about to end is called Running until it has."""
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def _sample(kubectl: Kubectl, requests: Requests, by: str, flags: Sequence[str], *, live: bool) -> tuple[Tally, bool]:
    """The answers, and whether they are all."""
    from ambientlab.host.tools import ToolError
    from ambientlab.traffic.answers import by as reader
    from ambientlab.traffic.answers import header_of
    from ambientlab.traffic.sending import TrafficError, send
    from ambientlab.traffic.tally import Tally

    tally, whole = Tally(reader(by)), True
    drawn = Drawing() if live and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else None
    try:
        answers = send(kubectl.command, requests, header=header_of(by), body=by in ("version", "instance"))
        for answer in answers:
            tally.add(answer)
            if drawn is not None:
                drawn.update(requests, tally)
    except KeyboardInterrupt:
        if not tally.total:
            raise
        whole = False
        talk("Interrupted; this is what came until then.")
    except ToolError as error:
        fail(str(error), code=EXIT_USAGE)
    except TrafficError as error:
        _failed(error, kubectl, requests, flags)
    finally:
        if drawn is not None:
            drawn.clear()
    if not tally.total:
        fail(f"{requests.source} sent nothing", code=EXIT_USAGE)
    return tally, whole


def _failed(error: Exception, kubectl: Kubectl, requests: Requests, flags: Sequence[str]) -> NoReturn:
    from ambientlab.mesh.explain.remedies import aimed
    from ambientlab.traffic.sending import UnknownHostError

    namespace = requests.source.partition("/")[0]
    _check_namespace(kubectl, namespace)
    what, where = ("services", "-A") if isinstance(error, UnknownHostError) else ("pods", f"-n {namespace}")
    command = aimed(f"kubectl get {what} {where}", *flags)
    fail(str(error), [f"see which {what} there are: {command}"], code=EXIT_USAGE)


def _check_namespace(kubectl: Kubectl, namespace: str) -> None:
    from ambientlab.host.kubectl import KubectlError
    from ambientlab.mesh.explain import NoNamespaceError

    try:
        names = [one["metadata"]["name"] for one in kubectl.list("namespaces")]
    except KubectlError:
        return
    if namespace not in names:
        error = NoNamespaceError(namespace, names)
        fail(str(error), error.hints, code=EXIT_USAGE)


def _say(text: str, later: str = "") -> None:
    from ambientlab.cli.layout import wrapped

    click.echo("\n".join(wrapped(printable(text), "", later)))


class Drawing:
    """Bars that grow on a terminal, replaced by the result at the end."""

    def __init__(self) -> None:
        self._lines = 0
        self._last = 0.0

    def update(self, requests: Requests, tally: Tally) -> None:
        if time.monotonic() - self._last < _FRAME:
            return
        self._last = time.monotonic()
        self.clear()
        lines = [*_bars(tally), f"{tally.total}{f' of {requests.number}' if requests.number else ''} answered"]
        lines = self._fitting(lines)
        click.echo("\n".join(lines), err=True)
        self._lines = len(lines)

    def _fitting(self, lines: list[str]) -> list[str]:
        """What the terminal has room for: a line that it breaks, and one that has left it, could not be cleared."""
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
        return [line[: columns - 1] for line in lines[-max(1, rows - 1) :]] if columns else lines

    def clear(self) -> None:
        if self._lines:
            click.echo(f"\x1b[{self._lines}F\x1b[J", err=True, nl=False)
            self._lines = 0


def _bars(tally: Tally) -> list[str]:
    from ambientlab.traffic.export import percent, span

    rows = tally.rows()
    width = min(_NAME, max((len(row.name) for row in rows), default=0))
    lines = []
    for row in rows:
        name = printable(row.name if len(row.name) <= width else f"{row.name[: width - 1]}…")
        bar = ("█" * max(1, round(row.share * _BAR))).ljust(_BAR)
        lines.append(f"{name.ljust(width)} {bar} {percent(row.share):>7} {row.count:>7}  {span(row)}".rstrip())
    return lines


def _show(output: str, requests: Requests, by: str, tally: Tally, verdicts: list[Verdict], significance: float) -> None:
    from ambientlab.traffic import export
    from ambientlab.traffic.answers import header_of

    match output:
        case "json":
            return json_out(export.as_json(requests, by, tally, verdicts) | {"significance": significance})
        case "csv":
            found = export.as_csv(tally, header_of(by))
            return click.echo(printable(found) if at_terminal(sys.stdout) else found, nl=False)
        case "svg":
            return click.echo(export.as_svg(requests, tally), nl=False)
        case "html":
            return click.echo(export.as_html(requests, by, tally, verdicts), nl=False)
    pace = f", {tally.total / tally.seconds:.0f}/s" if tally.seconds else ""
    own = "" if requests.reuse else ", each on a connection of its own"
    _say(f"{tally.total} requests from {requests.source} to {requests.url}")
    _say(f"{tally.seconds:.1f} s{pace}{own}; by {by}, with 95 % intervals:")
    click.echo("")
    click.echo("\n".join(_bars(tally)))
    latency = "  ".join(f"{name} {export.milliseconds(seconds)}" for name, seconds in export.latencies(tally))
    click.echo(f"\nlatency   {latency}")
    _say("outcomes  " + "  ".join(f"{name}: {count}" for name, count in tally.outcomes.most_common()), " " * 10)
    if verdicts:
        click.echo("")
        for verdict in verdicts:
            _say(export.text(verdict), "  ")
        click.echo(f"Below p={significance:g} an answer does not fit.")
