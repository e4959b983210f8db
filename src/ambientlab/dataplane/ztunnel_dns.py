"""ztunnel's metrics of DNS, and its lines about it (istio/ztunnel, src/dns/metrics.rs and src/dns/server.rs,
access_log): what captured pods have asked for.

The cluster's DNS server answers in its place: what ztunnel would have asked it for counts as forwarded, and a forwarded
question without an answer as a failure (hickory-resolver has an error for that).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import NamedTuple

from ambientlab.dataplane.ztunnel_log import DNS_SCOPE
from ambientlab.dataplane.ztunnel_metrics import head, written
from ambientlab.mesh.ir import Workload

_REQUESTS, _FORWARDED, _FAILED, _SECONDS = (
    f"istio_dns_{name}"
    for name in ("requests", "upstream_requests", "upstream_failures", "upstream_request_duration_seconds")
)
_HELP = {
    _REQUESTS: "Total number of DNS requests (unstable)",
    _FORWARDED: "Total number of DNS requests forwarded to upstream (unstable)",
    _FAILED: "Total number of DNS requests that failed to forward upstream (unstable)",
    _SECONDS: "Total time in seconds Istio takes to get DNS response from upstream (unstable)",
}
_BOUNDS = (0.001, 0.005, 0.01, 0.1, 1.0, 5.0)


class Question(NamedTuple):
    """Who asks how for what: the type of record and the protocol in lower case."""

    type: str
    protocol: str
    service: str
    revision: str


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    forwarded: int = 0
    failed: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))


class Lookups:
    """Of one run of the node proxy."""

    def __init__(self) -> None:
        self._counts: dict[Question, _Counts] = {}

    def count(
        self, source: Workload | None, type_: str, protocol: str, *, forwarded: bool, failed: bool, seconds: float
    ) -> None:
        """`failed` and `seconds` are of what was forwarded."""
        names = ("", "") if source is None else (source.canonical_name, source.canonical_revision)
        counts = self._counts.setdefault(Question(type_.lower(), protocol, *names), _Counts())
        counts.requests += 1
        if forwarded:
            counts.forwarded += 1
            counts.failed += failed
            counts.seconds += seconds
            counts.buckets[bisect_left(_BOUNDS, seconds)] += 1

    def samples(self) -> list[str]:
        """Lines, by metric."""
        lines: list[str] = []
        for metric, what in _HELP.items():
            found = [line for question, counts in self._counts.items() for line in _samples(metric, question, counts)]
            if found:
                lines += [*head(metric, "histogram" if metric == _SECONDS else "counter", what), *found]
        return lines


def lookup_line(source: Workload | None, type_: str, name: str, result: str, records: int) -> bytes:
    """Names are anybody's words: what would be more than text is written as Rust's strings have it."""
    workload, namespace = ("unknown", "unknown") if source is None else (source.name, source.namespace)
    asked = name.encode("unicode_escape").decode().replace('"', '\\"')
    return (
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}\tdebug\t{DNS_SCOPE}\t"
        f'src.workload="{workload}" src.namespace="{namespace}" query="{type_}" domain="{asked}" '
        f'result="{result}" endpoints={records}\n'
    ).encode()


def _samples(metric: str, question: Question, counts: _Counts) -> Iterator[str]:
    labels = written(
        {
            "request_query_type": question.type,
            "request_protocol": question.protocol,
            "source_canonical_service": question.service,
            "source_canonical_revision": question.revision,
        }
    )
    if metric == _REQUESTS:
        yield f"{metric}_total{{{labels}}} {counts.requests}"
    elif not counts.forwarded:
        return
    elif metric == _FORWARDED:
        yield f"{metric}_total{{{labels}}} {counts.forwarded}"
    elif metric == _FAILED:
        if counts.failed:
            yield f"{metric}_total{{{labels}}} {counts.failed}"
    else:
        yield f"{metric}_sum{{{labels}}} {counts.seconds}"
        yield f"{metric}_count{{{labels}}} {counts.forwarded}"
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), accumulate(counts.buckets), strict=True):
            yield f'{metric}_bucket{{le="{bound}",{labels}}} {count}'
