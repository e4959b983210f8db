"""Requests by one curl, and what it reports of each.

A process for each request would cost more than the request. The requests differ only in the URL's fragment, which curl
counts up and does not send. Left to itself, curl would hold parallel requests back in the hope of sharing a connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SERVICE_TIME = "x-envoy-upstream-service-time"


class Report(NamedTuple):
    """Of one request. `problem` is curl's exit code, `service` the milliseconds that the service took."""

    status: int
    connections: int
    seconds: float
    problem: int
    service: int
    header: str
    body: str


def command(
    url: str,
    number: int,
    token: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    parallel: int = 1,
    patience: float,
    header: str = "",
) -> list[str]:
    """`token` is what nobody can guess who writes a body; `header` is one of the response to report. Bodies of parallel
    requests are not shown, since they would be mixed up."""
    fields = f"%{{http_code}} %{{num_connects}} %{{time_total}} %{{exitcode}} %header{{{SERVICE_TIME}}}"
    shown = f" %header{{{header}}}" if header else ""
    argv = ["curl", "-s", "-m", f"{patience:g}", "-w", f"\n{token} {fields}{shown}\n"]
    for name, value in headers:
        argv += ["-H", f"{name}: {value}"]
    if parallel > 1:
        argv += ["-Z", "--parallel-immediate", "--parallel-max", str(parallel), "-o", "/dev/null"]
    return [*argv, f"{url}#[1-{number}]"]


def parse(text: str, token: str) -> Iterator[Report]:
    start = 0
    for mark in re.finditer(rf"\n{token} (\d+) (\d+) ([\d.]+) (\d+) (\d*)(?: (.*))?\n", text):
        status, connections, problem, service = int(mark[1]), int(mark[2]), int(mark[4]), int(mark[5] or 0)
        yield Report(status, connections, float(mark[3]), problem, service, mark[6] or "", text[start : mark.start()])
        start = mark.end()
