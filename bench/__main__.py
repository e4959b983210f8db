"""scripts/bench [NAME ...]: measure, print a table, write JSON below bench-results/."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench import report

SUITES = {
    "up": "nothing to Ready, on a warm state",
    "apply": "kubectl apply of a pod to Running",
    "route": "a route change to the first request on it",
    "lab": "the whole lab, and the memory of every process with it deployed",
    "l4": "ztunnel against hand-written Envoy configuration, and its parts below",
    "explain": "why traffic goes where it goes, on the lab and on a crowd of objects",
    "plan": "what manifests would do to traffic, on the lab and on a crowd of objects",
    "traffic": "requests a second that the driver of `ambientlab traffic` sends from one pod",
    "l7": "waypoints against hand-written Envoy configuration, and with many routes",
}
PARTS = {
    "enrolment": "a label on a running pod to the first connection that follows",
    "policies": "a policy of ztunnel to the first connection that it decides",
    "restart": "kill -9 of ztunnel to Ready and to the next connection answered",
    "crowd": "200 enrolled pods: time, memory, and ztunnel's restart among them",
    "scale": "a large mesh: a full build, and an endpoint change to the first connection on it",
}
"""What `l4` measures as well, each alone."""


def main(names: list[str]) -> int:
    known = SUITES | PARTS
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no suite {', '.join(unknown)}; there are:", file=sys.stderr)
        for name, text in known.items():
            print(f"  {name:12} {text}", file=sys.stderr)
        return 2
    print("  ".join(report.machine().values()))
    rows = []
    for name in names or SUITES:
        found = importlib.import_module(f"bench.{name}").rows()
        report.show(found)
        rows += found
    print(f"written to {report.save(rows, '-'.join(names) or 'all', Path('bench-results'))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
