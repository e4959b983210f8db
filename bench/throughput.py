"""Requests per second and latencies between two pods, as ratios to Envoys configured by hand (`bench.handwritten`)."""

from __future__ import annotations

from bench.compare import ROUNDS, SECONDS, latencies, median, once
from bench.report import Row
from bench.topology import both, in_pod

LEAST_RATIO = 0.9


def rows() -> list[Row]:
    with both() as topology:
        found = topology.compare("L4 HBONE", "service", least=LEAST_RATIO)
        found += topology.compare("passthrough", "direct", "passthrough")
        direct = [once(in_pod("outside"), topology.urls["direct"], SECONDS) for _ in range(ROUNDS)]
        found.append(Row("direct req/s", round(median(direct, "requests_per_second")), "/s", detail=latencies(direct)))
        return found
