"""`ambientlab traffic`: requests a second that its driver, which is one thread, sends from one pod of the lab.

With kept connections the driver is what there is to measure. A new connection for each request costs ztunnel and the
servers more than the driver, so there its own processor time tells what one core would do.
"""

from __future__ import annotations

import json
import statistics
import subprocess

from ambientlab.host import tools
from ambientlab.traffic.answers import Requests
from ambientlab.traffic.sending import driver, plan
from bench.report import Row, at_least
from bench.world import mesh, shell

ROUNDS = 5
LEAST = 2000
"""Requests a second."""
KEPT = Requests("test/curl", "http://helloworld.hello:5000/hello", number=20_000, parallel=16, reuse=True)
NEW = Requests("test/curl", "http://helloworld.hello:5000/hello", number=10_000, parallel=16)
TOLD = "\nprint(json.dumps([time.process_time()]))\n"


def rows() -> list[Row]:
    with mesh(lab=True):
        shell("kubectl apply -n hello -f helloworld.yaml; kubectl wait -n hello --for=condition=Available deploy --all")
        kept, new = ([_run(requests) for _ in range(ROUNDS)] for requests in (KEPT, NEW))
    return [
        _row("traffic, kept connections", [rate for rate, _ in kept], goal=True),
        _row("traffic, a connection each", [rate for _, rate in new], goal=True, of=" of the driver's processor time"),
        _row("traffic, a connection each, through the mesh", [rate for rate, _ in new]),
    ]


def _run(requests: Requests) -> tuple[float, float]:
    """Requests by the second that passed, and by that of the driver's processor time."""
    argv = ["exec", "-i", "curl", "-n", "test", "--", "python3", "-I", "-S", "-", plan(requests, "", True)]
    done = subprocess.run(
        [str(tools.kubectl()), *argv], input=driver() + TOLD, check=True, capture_output=True, text=True
    )
    *answers, [processor] = map(json.loads, done.stdout.splitlines())
    if any(answer[2] != 200 for answer in answers) or len(answers) != requests.number:
        raise RuntimeError("not every request was answered with success")
    took = max(answer[0] + answer[1] for answer in answers)
    return len(answers) / took, len(answers) / processor


def _row(name: str, rates: list[float], *, goal: bool = False, of: str = "") -> Row:
    detail = f"n={len(rates)} min {min(rates):.0f} max {max(rates):.0f}, 16 at once{of}"
    value = round(statistics.median(rates))
    return at_least(name, value, "/s", LEAST, detail) if goal else Row(name, value, "/s", detail=detail)
