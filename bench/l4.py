"""ztunnel's part: traffic against Envoys configured by hand; pods that join the mesh, a proxy that dies, many pods."""

from __future__ import annotations

from bench import crowd, enrolment, policies, restart, scale
from bench.compare import ROUNDS, SECONDS, latencies, median
from bench.load import NEW_CONNECTIONS
from bench.report import Row
from bench.topology import Topology, both

LEAST_RATIO = 0.95


def rows() -> list[Row]:
    with both() as topology:
        found = _to_direct(topology)
        for name, path, hand in (("HBONE", "service", "service"), ("passthrough", "direct", "passthrough")):
            found += topology.compare(name, path, hand, LEAST_RATIO)
            found += topology.compare(f"{name}, 64 KiB answers,", path, hand, LEAST_RATIO, bulk=True)
            found += topology.compare(f"{name}, new connections,", path, hand, LEAST_RATIO, NEW_CONNECTIONS, seconds=1)
    return [*found, *enrolment.rows(), *policies.rows(), *restart.rows(), *crowd.rows(), *scale.rows()]


def _to_direct(topology: Topology) -> list[Row]:
    """What the mesh costs: between pods outside of it, out of it, and inside it, in turns."""
    sides = {
        "direct": topology.side("direct", "outside"),
        "passthrough": topology.side("direct"),
        "HBONE": topology.side("service"),
    }
    loads = {name: [side.once(1)] for name, side in sides.items()}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            loads[name].append(side.once(SECONDS))
    rates = {name: median(some[1:], "requests_per_second") for name, some in loads.items()}
    details = {name: f"{rates[name]:.0f}/s; {latencies(some[1:])}" for name, some in loads.items()}
    found = [Row("direct req/s", round(rates["direct"]), "/s", detail=details["direct"])]
    for name in ("passthrough", "HBONE"):
        ratio = round(rates[name] / rates["direct"], 3)
        found.append(Row(f"{name} req/s to direct", ratio, "", detail=details[name]))
    return found
