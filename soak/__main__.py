"""scripts/soak [--inputs N] [--kills N] [--seed N]: portions, each on a mesh of its own with a seed of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.report import machine
from soak import inputs, kills, remains
from soak.faults import Faults
from soak.world import World

PORTIONS: dict[str, tuple[Callable[[World, int, int, Faults], Counter[str]], int, int]] = {
    "inputs": (inputs.portion, 5000, 100_000),
    "kills": (kills.portion, 100, 1000),
}
"""Kind: what runs a portion, how large one is, and how many there are in a whole soak."""
RESULTS = Path("soak-results")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    for kind, (_, _, most) in PORTIONS.items():
        parser.add_argument(f"--{kind}", type=int, default=most, help=f"how many (default: {most})")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the first portion; the next has the next"
    )
    given = parser.parse_args(arguments)
    os.environ["NO_COLOR"] = "1"
    print("  ".join(machine().values()))
    faults = Faults()
    whole: dict[str, Counter[str]] = {}
    for kind, (portion, size, _) in PORTIONS.items():
        whole[kind] = Counter()
        for number, start in enumerate(range(0, getattr(given, kind), size)):
            faults.seed = given.seed + number
            began = time.monotonic()
            done: Counter[str] = Counter()
            try:
                with remains.mesh(faults) as mesh:
                    done = portion(mesh, min(size, getattr(given, kind) - start), faults.seed, faults)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                faults.add(f"the portion broke off: {error}", getattr(error, "stderr", ""))
            whole[kind] += done
            print(f"{kind}, seed {faults.seed}, {time.monotonic() - began:.0f} s: {_told(done)}", flush=True)
    for kind, counts in whole.items():
        print(f"all {kind}: {_told(counts)}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(
        json.dumps({"machine": machine(), "seed": given.seed, **whole, "faults": faults.as_json()}, indent=2)
    )
    print(f"{len(faults)} faults; written to {path}")
    return 1 if len(faults) else 0


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {number}" for what, number in counts.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
