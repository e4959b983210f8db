"""Connections counted from log lines and reports, and what is served of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ambientlab.dataplane import ztunnel_metrics
from ambientlab.dataplane.ztunnel_connections import FORGOTTEN_AFTER, HIDDEN_AFTER, Connections, Ends
from ambientlab.dataplane.ztunnel_dns import Lookups, lookup_line
from ambientlab.dataplane.ztunnel_metrics import Labeller, build, samples, text
from ambientlab.mesh.ir import Protocol, Service, Workload

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
CURL = Workload(
    uid="curl", namespace="test", name="curl-1", ip="10.244.0.3", identity="spiffe://t/ns/test/sa/curl", node="n",
    protocol=Protocol.HBONE, labels=(), waypoint=None, ready=True, workload_name="curl", canonical_name="client",
    canonical_revision="v9", locality="r1/z1",
)  # fmt: skip
APP = Workload(
    uid="app", namespace="hello", name="app-1", ip="10.244.0.4", identity="spiffe://t/ns/hello/sa/app", node="n",
    protocol=Protocol.HBONE, labels=(), waypoint=None, ready=True, workload_name="app", canonical_name="app",
    canonical_revision="latest",
)  # fmt: skip
HOST = "app.hello.svc.cluster.local"
WORKLOADS = {("test", "curl-1"): CURL, ("hello", "app-1"): APP}

HBONE = (
    'src.workload="curl-1" src.namespace="test" src.identity="spiffe://t/ns/test/sa/curl" dst.addr=10.244.0.4:15008 '
    f'dst.hbone_addr=10.244.0.4:80 dst.service="{HOST}" dst.workload="app-1" dst.namespace="hello" '
    'dst.identity="spiffe://t/ns/hello/sa/app" direction="outbound" '
)
STRANGE = 'dst.addr=10.244.0.4:80 dst.workload="app-1" dst.namespace="hello" direction="inbound" '


def labeller(workloads: Mapping[tuple[str, str], Workload] = WORKLOADS) -> Labeller:
    service = Service("hello", "app", HOST, ("10.96.0.9",), (), (), (), None)
    return Labeller(lambda namespace, name: workloads.get((namespace, name)), {HOST: service}.get)


class Counted:
    """With a clock that stands still unless it is moved."""

    def __init__(self, workloads: Mapping[tuple[str, str], Workload] = WORKLOADS) -> None:
        self.now = 0.0
        self.connections = Connections(lambda: self.now, labeller(workloads).labels)

    def ended(
        self, port: int, fields: str, sent: int, received: int, ms: int, *, error: str = "", after: float = 0
    ) -> None:
        moment = datetime.fromtimestamp(BEGAN + after + ms / 1000, UTC)
        level, text = ("error", f' error="{error}"') if error else ("info", "")
        line = (
            f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}\t{level}\taccess\tconnection complete\tsrc.addr=10.244.0.3:{port} {fields}"
            f'bytes_sent={sent} bytes_recv={received} duration="{ms}ms"{text}\n'
        )
        self.connections.ended(line.encode())

    def report(self, port: int, fields: str, sent: int, received: int, *, after: float = 0) -> None:
        report = f"src.addr=10.244.0.3:{port} {fields}bytes_sent={sent} bytes_recv={received}\n"
        self.connections.report(f"{BEGAN + after:.6f}", "10.96.0.9:80", report.encode())

    def totals(self) -> tuple[int, int, int, int]:
        counts = self.connections.counts.values()
        closed = sum(sum(one.closed.values()) for one in counts)
        return sum(c.opened for c in counts), closed, sum(c.sent for c in counts), sum(c.received for c in counts)


def test_a_short_connection_is_counted_when_it_ends() -> None:
    counted = Counted()
    counted.ended(1, HBONE, 10, 200, 5)
    counted.ended(2, HBONE, 10, 200, 5)
    assert counted.totals() == (2, 2, 400, 20), "sent is what the server sent"
    assert list(counted.connections.open()) == []


def test_a_long_one_is_counted_as_it_goes() -> None:
    counted = Counted()
    counted.report(1, HBONE, 10, 200)
    counted.report(1, HBONE, 15, 300)
    assert counted.totals() == (1, 0, 300, 15)
    [one] = counted.connections.open()
    assert (one.source, one.destination, one.hbone, one.target) == (
        "10.244.0.3:1", "10.244.0.4:15008", "10.244.0.4:80", "10.96.0.9:80",
    )  # fmt: skip
    counted.ended(1, HBONE, 20, 400, 2500)
    assert counted.totals() == (1, 1, 400, 20)
    assert list(counted.connections.open()) == []


def test_connections_in_one_tunnel_are_told_apart_by_when_they_began() -> None:
    counted = Counted()
    counted.report(1, HBONE, 1, 1)
    counted.report(1, HBONE, 2, 2, after=3)
    counted.ended(1, HBONE, 5, 5, 100, after=3.5)
    assert counted.totals() == (3, 1, 8, 8), "one that nobody had reported"
    counted.ended(1, HBONE, 2, 2, 1500, after=3)
    [one] = counted.connections.open()
    assert one.began == BEGAN
    assert counted.totals() == (3, 2, 8, 8)


def test_a_connection_nobody_reports_any_more_is_not_shown_as_open() -> None:
    counted = Counted()
    counted.report(1, HBONE, 1, 1)
    counted.now += HIDDEN_AFTER
    assert list(counted.connections.open()) == []
    counted.report(1, HBONE, 3, 2)
    assert len(list(counted.connections.open())) == 1
    counted.ended(1, HBONE, 4, 3, 7000)
    assert counted.totals() == (1, 1, 3, 4), "it was late, and is no other"


def test_a_connection_that_was_never_said_to_end_is_forgotten() -> None:
    counted = Counted()
    counted.report(1, HBONE, 1, 1)
    counted.now += FORGOTTEN_AFTER
    assert list(counted.connections.open()) == []
    counted.report(1, HBONE, 1, 1)
    assert counted.totals() == (2, 0, 2, 2)


def test_metrics_have_ztunnels_labels() -> None:
    counted = Counted()
    counted.ended(1, HBONE, 10, 200, 5)
    counted.ended(2, HBONE, 0, 0, 5, error="http status: 401 Unauthorized")
    counted.ended(3, STRANGE, 7, 8, 5)
    counted.ended(4, STRANGE, 0, 0, 5, error="connection closed due to policy rejection: explicitly denied by: a/b")
    lines = text([*samples(counted.connections), *build("ztunnel")]).splitlines()
    source = (
        'reporter="source",source_workload="curl",source_canonical_service="client",source_canonical_revision="v9",'
        'source_workload_namespace="test",source_principal="spiffe://t/ns/test/sa/curl",source_app="client",'
        f'source_version="v9",source_cluster="Kubernetes",destination_service="{HOST}",'
        'destination_service_namespace="hello",destination_service_name="app",destination_workload="app",'
        'destination_canonical_service="app",destination_canonical_revision="latest",'
        'destination_workload_namespace="hello",destination_principal="spiffe://t/ns/hello/sa/app",'
        'destination_app="app",destination_version="latest",destination_cluster="Kubernetes",request_protocol="tcp",'
        'response_flags="{}",connection_security_policy="mutual_tls",source_region="r1",source_zone="z1",'
        'destination_region="unknown",destination_zone="unknown"'
    )
    assert lines[:2] == [
        "# HELP istio_tcp_connections_opened The total number of TCP connections opened.",
        "# TYPE istio_tcp_connections_opened counter",
    ]
    assert f"istio_tcp_connections_opened_total{{{source.format('-')}}} 2" in lines
    assert f"istio_tcp_connections_closed_total{{{source.format('-')}}} 1" in lines
    assert f"istio_tcp_connections_closed_total{{{source.format('CONNECT')}}} 1" in lines
    assert f"istio_tcp_connections_failed_total{{{source.format('CONNECT')}}} 1" in lines
    assert f"istio_tcp_sent_bytes_total{{{source.format('-')}}} 200" in lines
    assert f"istio_tcp_received_bytes_total{{{source.format('-')}}} 10" in lines
    [denied] = [line for line in lines if 'response_flags="DENY"' in line and "closed" in line]
    for label in (
        'reporter="destination"',
        'source_workload="unknown"',
        'source_principal="unknown"',
        'destination_principal="spiffe://t/ns/hello/sa/app"',
        'connection_security_policy="unknown"',
    ):
        assert label in denied
    assert lines[-2:] == ['istio_build{component="ztunnel",tag="1.31.0"} 1', "# EOF"]


def test_a_pod_that_is_gone_keeps_its_names() -> None:
    there = dict(WORKLOADS)
    counted = Counted(there)
    counted.ended(1, HBONE, 1, 1, 5)
    there.clear()
    counted.ended(2, HBONE.replace("hello.svc", "other.svc"), 1, 1, 5)
    assert text(samples(counted.connections)).count('source_workload="curl"') == 8


def test_of_pods_that_are_gone_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were met last: names of pods come and go, and memory is to stay."""
    monkeypatch.setattr(ztunnel_metrics, "_REMEMBERED", 3)
    there = {("test", f"pod-{n}"): replace(CURL, name=f"pod-{n}", workload_name=f"of-{n}") for n in range(4)}
    known = labeller(there)
    ends = [Ends("source", f"pod-{n}", "test", "", "", "", "", False) for n in range(4)]
    for each in ends:
        known.labels(each)
    there.clear()
    shown = [known.labels(each).before for each in ends]
    assert [f'source_workload="of-{n}"' in labels for n, labels in enumerate(shown)] == [False, True, True, True]


def test_pods_of_one_deployment_count_as_one() -> None:
    twin = replace(CURL, uid="twin", name="curl-2", ip="10.244.0.5")
    counted = Counted({**WORKLOADS, ("test", "curl-2"): twin})
    counted.ended(1, HBONE, 10, 200, 5)
    counted.ended(2, HBONE.replace("curl-1", "curl-2"), 10, 200, 5)
    lines = [line for line in samples(counted.connections) if "sent_bytes_total" in line]
    assert [line.rpartition(" ")[2] for line in lines if not line.startswith("#")] == ["400"]


ASKED = 'request_query_type="a",request_protocol="udp",source_canonical_service="client",source_canonical_revision="v9"'


def test_every_question_of_the_dns_counts_and_what_was_forwarded_besides() -> None:
    lookups = Lookups()
    lookups.count(CURL, "A", "udp", forwarded=False, failed=False, seconds=0.5)
    lookups.count(CURL, "A", "udp", forwarded=True, failed=True, seconds=0.25)
    lookups.count(CURL, "A", "udp", forwarded=True, failed=False, seconds=0.001)
    lines = lookups.samples()
    duration = "istio_dns_upstream_request_duration_seconds"
    assert lines == [
        "# HELP istio_dns_requests Total number of DNS requests (unstable).",
        "# TYPE istio_dns_requests counter",
        f"istio_dns_requests_total{{{ASKED}}} 3",
        "# HELP istio_dns_upstream_requests Total number of DNS requests forwarded to upstream (unstable).",
        "# TYPE istio_dns_upstream_requests counter",
        f"istio_dns_upstream_requests_total{{{ASKED}}} 2",
        "# HELP istio_dns_upstream_failures Total number of DNS requests that failed to forward upstream (unstable).",
        "# TYPE istio_dns_upstream_failures counter",
        f"istio_dns_upstream_failures_total{{{ASKED}}} 1",
        f"# HELP {duration} Total time in seconds Istio takes to get DNS response from upstream (unstable).",
        f"# TYPE {duration} histogram",
        f"{duration}_sum{{{ASKED}}} 0.251",
        f"{duration}_count{{{ASKED}}} 2",
        f'{duration}_bucket{{le="0.001",{ASKED}}} 1',
        f'{duration}_bucket{{le="0.005",{ASKED}}} 1',
        f'{duration}_bucket{{le="0.01",{ASKED}}} 1',
        f'{duration}_bucket{{le="0.1",{ASKED}}} 1',
        f'{duration}_bucket{{le="1.0",{ASKED}}} 2',
        f'{duration}_bucket{{le="5.0",{ASKED}}} 2',
        f'{duration}_bucket{{le="+Inf",{ASKED}}} 2',
    ]


def test_who_asks_and_is_not_known_is_called_so_and_what_was_not_forwarded_has_no_time() -> None:
    lookups = Lookups()
    lookups.count(None, "AAAA", "tcp", forwarded=False, failed=False, seconds=0.0)
    (_, _, line) = lookups.samples()
    unknown = 'source_canonical_service="unknown",source_canonical_revision="unknown"'
    assert line == f'istio_dns_requests_total{{request_query_type="aaaa",request_protocol="tcp",{unknown}}} 1'


def test_a_name_that_is_asked_for_cannot_be_more_than_text() -> None:
    line = lookup_line(None, "A", 'x"\n2026\tinfo\x1b[0m\xe9.', "forwarded", 0).decode()
    assert line.count("\n") == 1
    assert line.split("\t", 3)[3] == (
        'src.workload="unknown" src.namespace="unknown" query="A" domain="x\\"\\n2026\\tinfo\\x1b[0m\\xe9." '
        'result="forwarded" endpoints=0\n'
    )
