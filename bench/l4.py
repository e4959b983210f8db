"""ztunnel's part: traffic against Envoys configured by hand; pods that join the mesh, a proxy that dies, many pods."""

from __future__ import annotations

from bench import compare, crowd, enrolment, policies, restart, scale
from bench.compare import ROUNDS, SECONDS, Compared, latencies, median
from bench.load import NEW_CONNECTIONS
from bench.report import Row
from bench.topology import Topology, both

LEAST_RATIO = 0.95
PATHS = (("HBONE", "service"), ("passthrough", "node"), ("plain TCP to a pod", "pod"))
"""Name, and what it is called in both meshes. ztunnel knows a pod outside of the mesh, and tells of it, where a
passthrough is of what it does not know: the hand-written configuration knows neither."""
STARTS = 3


def rows() -> list[Row]:
    with both() as topology:
        found = _to_direct(topology)
        for name, path in PATHS:
            found += topology.compare(name, path, LEAST_RATIO)
            found += topology.compare(f"{name}, 64 KiB answers,", path, LEAST_RATIO, bulk=True)
    return [
        *found,
        *new_connections(),
        *enrolment.rows(),
        *policies.rows(),
        *restart.rows(),
        *crowd.rows(),
        *scale.rows(),
    ]


def new_connections() -> list[Row]:
    """In several starts of both meshes, since rounds of one have more in common than the configuration."""
    found: dict[str, list[Compared]] = {name: [] for name, _ in PATHS}
    for _ in range(STARTS):
        with both() as topology:
            for name, path in PATHS:
                found[name].append(topology.turns(path, NEW_CONNECTIONS, seconds=1))
    return [
        row for name, starts in found.items() for row in compare.rows(f"{name}, new connections,", starts, LEAST_RATIO)
    ]


def _to_direct(topology: Topology) -> list[Row]:
    """What the mesh costs: between pods outside of it, out of it, and inside it, in turns."""
    sides = {
        "direct": topology.side("pod", "outside"),
        "plain TCP to a pod": topology.side("pod"),
        "HBONE": topology.side("service"),
    }
    loads = {name: [side.once(1)] for name, side in sides.items()}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            loads[name].append(side.once(SECONDS))
    rates = {name: median(some[1:], "requests_per_second") for name, some in loads.items()}
    details = {name: f"{rates[name]:.0f}/s; {latencies(some[1:])}" for name, some in loads.items()}
    found = [Row("direct req/s", round(rates["direct"]), "/s", detail=details["direct"])]
    for name in ("plain TCP to a pod", "HBONE"):
        ratio = round(rates[name] / rates["direct"], 3)
        found.append(Row(f"{name} req/s to direct", ratio, "", detail=details[name]))
    return found
