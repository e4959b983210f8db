"""What a mesh has left on the machine once it is down: nothing but its state."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from ambientlab.host import process
from bench.world import ambientlab
from soak import held, logs
from soak.faults import Faults
from soak.world import World, world

PATIENCE = 20.0
"""Seconds that the kernel may take to end namespaces of processes that are gone."""


@contextlib.contextmanager
def mesh(faults: Faults) -> Iterator[World]:
    """One to soak; it is taken down afterwards, and must be gone then."""
    with world() as made:
        yield made
        ran = [process.identify(pid, 0) for pid in held.roles(made.paths)]
        ambientlab("down")
        check(made, faults, ran)


def check(made: World, faults: Faults, ran: Collection[process.Running] = ()) -> None:
    """`ran` is what belonged to the mesh when it ran, if that is known."""
    logs.Logs(made.paths, faults).check()
    deadline = time.monotonic() + PATIENCE
    while (found := _found(made, ran)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for what, evidence in found.items():
        faults.add(f"after down: {what}", evidence)


def _found(made: World, ran: Collection[process.Running]) -> dict[str, object]:
    place = str(made.root).encode()
    found: dict[str, object] = {
        "processes of the mesh": [was.pid for was in ran if process.identify(was.pid, was.port) == was],
        "processes that have mounted its files": _orphans(place),
        "mounts on the machine": _lines_with("/proc/self/mountinfo", place),
        "sockets": _lines_with("/proc/net/unix", place),
        "a lock": process.locked(made.paths),
        "files of its run": [str(path) for path in made.paths.run.rglob("*")],
        "temporary files": [str(path) for path in (made.root / "tmp").rglob("*")],
        "drafts of files": [str(path) for path in made.paths.state.rglob("*.new")],
    }
    return {what: evidence for what, evidence in found.items() if evidence}


def _orphans(place: bytes) -> list[str]:
    """Containers show whose they are by what is mounted in them."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _lines_with(f"/proc/{entry}/mountinfo", place):
            with contextlib.suppress(OSError):
                found.append(f"{entry} {Path(f'/proc/{entry}/cmdline').read_bytes()!r}")
    return found


def _lines_with(file: str, text: bytes) -> list[str]:
    with contextlib.suppress(OSError):
        return [line.decode(errors="replace") for line in Path(file).read_bytes().splitlines() if text in line]
    return []
