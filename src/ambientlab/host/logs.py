"""Where the daemon's words go: its own log, and the logs of the components it plays, which `kubectl logs` shows."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from ambientlab.flow.clock import LoopClock
from ambientlab.host.paths import MeshPaths
from ambientlab.node.agent.logs import LogFile

# logger -> component, as `images` names the programs without a process
COMPONENTS = {"ambientlab.istiod": "istiod", "ambientlab.cni-agent": "istio-cni"}


class IstioFormatter(logging.Formatter):
    """Lines as Istio's components write them: time, level, scope and message, tab-separated."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = "warn" if record.levelno == logging.WARNING else record.levelname.lower()
        scope = record.name.rpartition(".")[2]
        line = f"{moment}.{int(record.msecs * 1000):06d}Z\t{level}\t{scope}\t{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class ComponentHandler(logging.Handler):
    """Appends to a component's log; called on the event loop, as everything that logs under these names is."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._file = file
        self.setFormatter(IstioFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self._file.write_line(self.format(record))


class DaemonHandler(logging.StreamHandler[TextIO]):
    """Writes to stderr, which is the daemon's log at `path`, and bounds it: clients and pods cause many of its lines.

    What is there once it has more than `limit` bytes moves to `.log.1`. The file itself stays the same, since launcher
    and zygote append to it, too.
    """

    def __init__(self, path: Path, limit: int = 4 << 20) -> None:
        super().__init__()
        self._path = path
        self._limit = limit
        self.setFormatter(IstioFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            if self._path.stat().st_size > self._limit:
                shutil.copyfile(self._path, self._path.with_suffix(".log.1"))
                os.truncate(self._path, 0)
        super().emit(record)


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter: what a client sent that is no request is the client's fault and one line, not a traceback of ours."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | RequestPayloadError):
        record.msg, record.args = f"{record.getMessage()}: {' '.join(str(error).split())}", ()
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def configure(paths: MeshPaths) -> Mapping[str, LogFile]:
    """Send the daemon's log to stderr, which `up` has pointed at its file, and open the components' logs."""
    root = logging.getLogger()
    root.handlers = [DaemonHandler(paths.daemon_log)]
    root.setLevel(logging.WARNING)
    logging.getLogger("ambientlab").setLevel(logging.INFO)
    logging.getLogger("aiohttp.server").addFilter(without_traceback)
    files = {}
    for logger, component in COMPONENTS.items():
        files[component] = LogFile(paths.log_of(component), LoopClock())
        logging.getLogger(logger).addHandler(ComponentHandler(files[component]))
    return files
