"""The logs of a mesh, read as they grow: whatever was sent, none may tell of a fault of the mesh's own."""

from __future__ import annotations

import re
from pathlib import Path

from ambientlab.host.paths import MeshPaths
from soak.faults import Faults

BAD = re.compile(
    r"Traceback \(most recent call last\)|\[critical\]|assert failure|Caught (Segmentation|Abort)|stack trace|"
    r"was never awaited|never retrieved"
)
ROTATED = ".log.1"


class Logs:
    """Of the daemon, of the components it plays and of all containers there are or were."""

    def __init__(self, paths: MeshPaths, faults: Faults) -> None:
        self._paths = paths
        self._faults = faults
        self._read: dict[Path, int] = {}
        self.refusals: list[str] = []
        """What istiod says that proxies have refused."""

    def check(self) -> None:
        """What was written since the last time."""
        for path in (*self._paths.logs.glob("*.log"), *self._paths.state.glob("node/logs/*/*/*.log")):
            for match in BAD.finditer(text := self._news(path)):
                where = path.name if path.parent == self._paths.logs else path.parent.name
                end = text.find("\n2026-", match.end())
                told = text[max(0, match.start() - 400) : min(end if end > 0 else len(text), match.start() + 5000)]
                self._faults.add(f"log of {where}: {_gist(match.group(), told)}", told)
            if path.name == "istiod.log":
                self.refusals += [line for line in text.splitlines() if "ACK ERROR" in line]

    def _news(self, path: Path) -> str:
        start = self._read.get(path, 0)
        text = b""
        try:
            size = path.stat().st_size
            if size < start:  # it was rotated meanwhile
                with path.with_suffix(ROTATED).open("rb") as file:
                    file.seek(start)
                    text = file.read()
                start = 0
            with path.open("rb") as file:
                file.seek(start)
                text += (news := file.read())
        except OSError:
            return text.decode(errors="replace")
        self._read[path] = start + len(news)
        return text.decode(errors="replace")


def _gist(found: str, told: str) -> str:
    """Of a traceback its last line and the last place of our own, so that each fault is one."""
    places = re.findall(r'File "[^"]*?(ambientlab/[^"]+)", line \d+, in (\w+)', told)
    errors = re.findall(r"^(?:[\w.]*(?:Error|Exception|Interrupt|Exit|Status)\w*)\b.{0,80}", told, re.MULTILINE)
    if not found.startswith("Traceback"):
        return found
    return " ".join([*(places[-1] if places else ()), *(errors[-1:] or ["?"])])
