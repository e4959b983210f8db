"""A mesh under soak: what it serves meanwhile, and what it has been given to keep."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from ambientlab.api.objects import Object
from ambientlab.host import isolated, tools
from ambientlab.host.paths import DEFAULT_NAME, MeshPaths, mesh_paths
from ambientlab.traffic import stats
from bench.world import ambientlab, shell
from soak.api import Api
from soak.faults import Faults

NAMESPACE = "kept"
SPLIT = {"v1": 0.9, "v2": 0.1}
PATIENCE = 60.0
"""Seconds for any one answer."""
SIGNIFICANCE = 1e-6
"""A true split is called false once in a million portions."""

WORLD = f"""set -e
kubectl apply -f {Path(__file__).with_name("world.yaml")}
istioctl waypoint apply -n {NAMESPACE} --wait
kubectl wait -n {NAMESPACE} --for=condition=Available deployments --all --timeout=60s
"""

CLIENT = """
import time, urllib.request
while True:
    try:
        with urllib.request.urlopen("http://split:5000/hello", timeout=20) as answer:
            print(answer.read().decode().split()[2].rstrip(","), flush=True)
    except OSError as error:
        print(str(error).replace("\\n", " "), flush=True)
    time.sleep(0.02)
"""


@dataclass(frozen=True, slots=True)
class World:
    root: Path
    paths: MeshPaths
    api: Api


@contextlib.contextmanager
def world() -> Iterator[World]:
    """An isolated mesh with the traffic's pods. Its temporary files are below its root as well."""
    with isolated.directory() as root, _temporary(root / "tmp"):
        ambientlab("up")
        shell(WORLD)
        paths = mesh_paths(DEFAULT_NAME)
        with contextlib.closing(Api(paths)) as api:
            yield World(root, paths, api)


@contextlib.contextmanager
def _temporary(place: Path) -> Iterator[None]:
    place.mkdir()
    usual = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
    try:
        yield
    finally:
        tempfile.tempdir = None
        del os.environ["TMPDIR"]
        if usual is not None:
            os.environ["TMPDIR"] = usual


@contextlib.contextmanager
def calling() -> Iterator[Counter[str]]:
    """Requests one after the other from within, counted by their answers, as long as the client is there."""
    answers: Counter[str] = Counter()
    command = [str(tools.kubectl()), "exec", "deploy/client", "-n", NAMESPACE, "--", "/usr/bin/python3", "-c", CLIENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        assert client.stdout is not None
        lines = client.stdout
        reader = Thread(target=lambda: answers.update(line.strip() for line in lines), daemon=True)
        reader.start()
        try:
            yield answers
        finally:
            client.kill()
            reader.join()


@contextlib.contextmanager
def traffic(faults: Faults) -> Iterator[Counter[str]]:
    """`calling`, where each must be answered, in the shares that the route gives, from the beginning to the end."""
    with calling() as answers:
        _goes_on(answers)
        yield answers
        try:
            _goes_on(answers)
        except RuntimeError as error:
            faults.add(str(error), dict(answers))
    if odd := {answer: count for answer, count in answers.items() if answer not in SPLIT}:
        faults.add("traffic was not answered", odd)
    counts = [answers[version] for version in SPLIT]
    if not sum(counts) or stats.p_value(counts, list(SPLIT.values())) < SIGNIFICANCE:
        faults.add("traffic did not keep its split", dict(answers))


def _goes_on(answers: Counter[str]) -> None:
    """Wait for one more. Raises RuntimeError when there is none."""
    before, deadline = answers.total(), time.monotonic() + PATIENCE
    while answers.total() == before:
        if time.monotonic() > deadline:
            raise RuntimeError(f"traffic has stopped after {before} requests")
        time.sleep(0.02)


def restarts(pod: Object) -> int:
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))
