"""Rows of figures: printed as a table, written as JSON, with the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `goal` is what it is held against, in words (`<= 2.5 s`); `met` is None where there is none."""

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None
    detail: str = ""


def timing(name: str, seconds: Sequence[float], *, at_most: float, quantile: float = 0.5) -> Row:
    """A quantile of times, in milliseconds."""
    ordered = sorted(seconds)
    value = ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] * 1000
    least, middle, most = (each * 1000 for each in (ordered[0], statistics.median(ordered), ordered[-1]))
    detail = f"n={len(ordered)} min {least:.0f} median {middle:.0f} max {most:.0f}"
    label = f"{name} p{quantile * 100:.0f}"
    return Row(label, round(value, 1), "ms", f"<= {at_most * 1000:.0f} ms", value <= at_most * 1000, detail)


def at_most(name: str, value: float, unit: str, limit: float, detail: str = "") -> Row:
    return Row(name, round(value, 2), unit, f"<= {limit:g} {unit}", value <= limit, detail)


def at_least(name: str, value: float, unit: str, limit: float, detail: str = "") -> Row:
    return Row(name, round(value, 3), unit, f">= {limit:g} {unit}".rstrip(), value >= limit, detail)


def machine() -> dict[str, str]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "memory": f"{memory >> 30} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def show(rows: Sequence[Row]) -> None:
    width = max(len(row.name) for row in rows)
    for row in rows:
        verdict = "" if row.met is None else "ok" if row.met else "MISSED"
        print(f"{row.name:{width}}  {row.value:>10g} {row.unit:5} {row.goal:14} {verdict:7} {row.detail}".rstrip())


def save(rows: Sequence[Row], suite: str, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{suite}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    return path
