"""scripts/bench [NAME ...]: measure, print a table, write JSON below bench-results/."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from bench import report

SUITES = {
    "up": "nothing to Ready, on a warm state",
    "apply": "kubectl apply of a pod to Running",
    "route": "a route change to the first request on it",
    "lab": "the whole lab, and the memory of every process with it deployed",
    "throughput": "L4 against hand-written Envoy configuration",
    "scale": "a large mesh: a full build, and an endpoint change to the first connection on it",
    "explain": "why traffic goes where it goes, on the lab and on a crowd of objects",
    "l7": "waypoints against hand-written Envoy configuration, and with many routes",
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"no suite {', '.join(unknown)}; there are:", file=sys.stderr)
        for name, text in SUITES.items():
            print(f"  {name:12} {text}", file=sys.stderr)
        return 2
    # An installed product has its bytecode; a checkout must be let keep it, or every start compiles what is not there.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
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
