"""wrk (Debian's package), and what it says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

CONNECTIONS = 16

_FIGURES = {
    "requests_per_second": re.compile(r"^Requests/sec:\s+([0-9.]+)()$", re.MULTILINE),
    "p50": re.compile(r"^\s+50%\s+([0-9.]+)(us|ms|s)$", re.MULTILINE),
    "p99": re.compile(r"^\s+99%\s+([0-9.]+)(us|ms|s)$", re.MULTILINE),
    "bytes_per_second": re.compile(r"^Transfer/sec:\s+([0-9.]+)(B|KB|MB|GB)$", re.MULTILINE),
}
_FAILURES = re.compile(r"^\s*(?:Non-2xx|Socket errors).*$", re.MULTILINE)
_UNITS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "B": 1.0, "KB": 1024.0, "MB": 1024.0**2, "GB": 1024.0**3}

NEW_CONNECTIONS = ("--header", "Connection: close")
"""Options of `command`: each request on a connection of its own."""


@dataclass(frozen=True, slots=True)
class Load:
    """One run: latencies in seconds."""

    requests_per_second: float
    p50: float
    p99: float
    bytes_per_second: float


def command(url: str, seconds: int, options: Sequence[str] = ()) -> list[str]:
    """One thread, keep-alive connections, as many requests as are answered."""
    fixed = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency"]
    return [*fixed, *options, url]


def parse(printed: str) -> Load:
    """Raises ValueError if not every request was answered with success."""
    if failure := _FAILURES.search(printed):
        raise ValueError(f"wrk: {failure[0].strip()}")
    found = {name: pattern.search(printed) for name, pattern in _FIGURES.items()}
    return Load(**{name: float(match[1]) * _UNITS[match[2]] for name, match in found.items() if match is not None})
