"""ztunnel's metrics of TCP connections, in Prometheus' text format, with its labels (istio/ztunnel,
src/proxy/metrics.rs and src/metrics/meta.rs).

Those of DNS are in `ztunnel_dns`; the sockets of its listeners, which it counts as well, are not counted here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ambientlab.cluster import CLUSTER_ID, ISTIO_VERSION
from ambientlab.dataplane.ztunnel_connections import NO_FLAG, Connections, Counts, Ends
from ambientlab.mesh.ir import Service, Workload, names, nearness

CONTENT_TYPE = "text/plain; charset=utf-8"

_HELP = {
    "istio_tcp_connections_opened": "The total number of TCP connections opened",
    "istio_tcp_connections_closed": "The total number of TCP connections closed",
    "istio_tcp_received_bytes": "The size of total bytes received during request in case of a TCP connection",
    "istio_tcp_sent_bytes": "The size of total bytes sent during response in case of a TCP connection",
    "istio_tcp_connections_failed": "The total number of TCP connections that failed to establish (unstable)",
}
_UNKNOWN = "unknown"
_REMEMBERED = 10_000
"""Pods, those among them that are gone."""
_SIDE = ("workload", "canonical_service", "canonical_revision", "workload_namespace")

FindWorkload = Callable[[str, str], Workload | None]
"""By namespace and name."""
FindService = Callable[[str], Service | None]
"""By host."""


class Labels(NamedTuple):
    """Of a time series, but for the response flags, which stand between the two."""

    before: str
    behind: str

    def text(self, flag: str) -> str:
        return f'{self.before},response_flags="{flag}",{self.behind}'


class Labeller:
    """Says what connections are counted as, by their ends as the mesh knows these when they are met: a pod may be gone
    when its metrics are read. What has no name then keeps the one it had before."""

    def __init__(self, workload: FindWorkload, service: FindService) -> None:
        self._workload = workload
        self._service = service
        self._known: OrderedDict[tuple[str, str], Workload] = OrderedDict()

    def labels(self, ends: Ends) -> Labels:
        source = self._find(ends.source_namespace, ends.source)
        destination = self._find(ends.destination_namespace, ends.destination)
        service = names.meant(ends.source_namespace, ends.service, self._service) if ends.service else None
        before = {
            "reporter": ends.reporter,
            **_side("source", ends.source_namespace, source, ends.source_identity),
            "destination_service": ends.service,
            "destination_service_namespace": "" if service is None else service.namespace,
            "destination_service_name": "" if service is None else service.name,
            **_side(
                "destination",
                ends.destination_namespace,
                destination,
                "" if destination is None else destination.identity,
            ),
            "request_protocol": "tcp",
        }
        behind = {
            "connection_security_policy": "mutual_tls" if ends.tunnelled else "unknown",
            **_place("source", source),
            **_place("destination", destination),
        }
        return Labels(written(before), written(behind))

    def _find(self, namespace: str, name: str) -> Workload | None:
        found = self._workload(namespace, name) if name else None
        if found is None:
            return self._known.get((namespace, name))
        self._known[namespace, name] = found
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


def samples(connections: Connections[Labels]) -> list[str]:
    """Lines, by metric."""
    found: dict[str, list[str]] = {name: [] for name in _HELP}
    for labels, counts in connections.counts.items():
        for name, flag, value in _samples(counts):
            found[name].append(f"{name}_total{{{labels.text(flag)}}} {value}")
    lines: list[str] = []
    for name, known in found.items():
        lines += [*head(name, "counter", _HELP[name]), *known] if known else []
    return lines


def build(component: str) -> list[str]:
    """Which version of Istio a component is of."""
    labels = f'component="{component}",tag="{ISTIO_VERSION}"'
    return gauge("istio_build", "Istio component build info", labels, 1)


def gauge(name: str, what: str, labels: str, value: int) -> list[str]:
    return [*head(name, "gauge", what), f"{name}{{{labels}}} {value}"]


def text(lines: Iterable[str]) -> str:
    return "\n".join([*lines, "# EOF", ""])


def head(name: str, kind: str, what: str) -> tuple[str, str]:
    return f"# HELP {name} {what}.", f"# TYPE {name} {kind}"


def _samples(counts: Counts) -> Iterable[tuple[str, str, int]]:
    """Bytes are counted before it is known how a connection ends."""
    yield "istio_tcp_connections_opened", NO_FLAG, counts.opened
    for flag, number in counts.closed.items():
        yield "istio_tcp_connections_closed", flag, number
        if flag != NO_FLAG:
            yield "istio_tcp_connections_failed", flag, number
    yield "istio_tcp_received_bytes", NO_FLAG, counts.received
    yield "istio_tcp_sent_bytes", NO_FLAG, counts.sent


def _side(side: str, namespace: str, workload: Workload | None, principal: str) -> dict[str, str]:
    name, service, revision = (
        ("", "", "")
        if workload is None
        else (workload.workload_name, workload.canonical_name, workload.canonical_revision)
    )
    return {
        **{f"{side}_{label}": value for label, value in zip(_SIDE, (name, service, revision, namespace), strict=True)},
        f"{side}_principal": principal,
        f"{side}_app": service,
        f"{side}_version": revision,
        f"{side}_cluster": "" if workload is None else CLUSTER_ID,
    }


def _place(side: str, workload: Workload | None) -> dict[str, str]:
    region, zone, _ = nearness.parts("" if workload is None else workload.locality)
    return {f"{side}_region": region, f"{side}_zone": zone}


def written(labels: Mapping[str, str]) -> str:
    """With ztunnel's word for what is not known (DefaultedUnknown)."""
    return ",".join(f'{name}="{_escaped(value) or _UNKNOWN}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
