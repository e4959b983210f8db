"""The logs of a mesh, read as they grow: whatever was sent, none may tell of a fault of the mesh's own."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from ambientlab.host.paths import MeshPaths
from soak.faults import Faults

BAD = re.compile(
    r"Traceback \(most recent call last\)|\[critical\]|assert failure|Caught (Segmentation|Abort)|stack trace|"
    r"was never awaited|never retrieved|Fatal Python error|Exception ignored in|terminate called|libc\+\+abi"
)
NEXT = re.compile(r"^\[?\d{4}-\d\d-\d\d", re.MULTILINE)
"""Of a log: where another line of it begins."""
ROTATED = ".log.1"


class Logs:
    """Of the daemon, of the components it plays and of all containers there are or were."""

    def __init__(self, paths: MeshPaths, faults: Faults) -> None:
        self._paths = paths
        self._faults = faults
        self._read: dict[Path, tuple[int, bytes]] = {}
        """Up to where, and the last line before that, by which the file is known again."""
        self.refusals: list[str] = []
        """What istiod says that proxies have refused."""

    def check(self) -> None:
        """What was written since the last time."""
        for path in (*self._paths.logs.glob("*.log"), *self._paths.state.glob("node/logs/*/*/*.log")):
            for match in BAD.finditer(text := self._news(path)):
                where = path.name if path.parent == self._paths.logs else path.parent.name
                end = NEXT.search(text, match.end())
                told = text[max(0, match.start() - 400) : min(end.start() if end else len(text), match.start() + 5000)]
                self._faults.add(f"log of {where}: {_gist(match.group(), told)}", told)
            if path.name == "istiod.log":
                self.refusals += [line for line in text.splitlines() if "ACK ERROR" in line]

    def _news(self, path: Path) -> str:
        """Whole lines."""
        start, last = self._read.get(path, (0, b""))
        rest = b""
        try:
            with path.open("rb") as file:
                file.seek(start - len(last))
                if file.read(len(last)) != last:  # it was rotated meanwhile
                    with contextlib.suppress(OSError), path.with_suffix(ROTATED).open("rb") as before:
                        before.seek(start)
                        rest = before.read()
                    start, last = file.seek(0), b""
                news = file.read()
        except OSError:  # its pod has gone
            return ""
        news = news[: news.rfind(b"\n") + 1]
        self._read[path] = start + len(news), [last, *news.splitlines(keepends=True)][-1]
        return (rest + news).decode(errors="replace")


def _gist(found: str, told: str) -> str:
    """Of a traceback its last line and the last place of our own, so that each fault is one."""
    places = re.findall(r'File "[^"]*?(ambientlab/[^"]+)", line \d+, in (\w+)', told)
    errors = re.findall(r"^(?:[\w.]*(?:Error|Exception|Interrupt|Exit|Status)\w*)\b.{0,80}", told, re.MULTILINE)
    if not found.startswith("Traceback"):
        return found
    return " ".join([*(places[-1] if places else ()), *(errors[-1:] or ["?"])])
