"""The program that `up` starts: enters the namespaces while the process is small and single-threaded, then waits.

    python -m ambientlab.host.launcher NAME STATE RUN LISTENER LOCK PROGRESS

LISTENER is the API's socket, bound in the host's network; LOCK the mesh's lock, held by the whole tree; PROGRESS the
pipe on which JSON lines tell `up` how far the start is. What the zygote and node-init inherit is what is imported here,
so the daemon's own modules are imported by the daemon alone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ambientlab.host import process
from ambientlab.host.paths import MeshPaths
from ambientlab.host.progress import Progress
from ambientlab.node.linux import hosthelper
from ambientlab.node.linux.launch import Node, launch

Daemon = Callable[[MeshPaths, Node, socket.socket, Progress, process.Running], int]


def main(arguments: list[str]) -> int:
    began = time.monotonic()
    _raise_descriptor_limit()
    name, state, run = arguments[:3]
    listener_fd, lock, progress_fd = map(int, arguments[3:6])
    paths = MeshPaths(name, Path(state), Path(run))
    listener = socket.socket(fileno=listener_fd)
    progress = Progress(progress_fd, began)
    identity = process.identify(os.getpid(), listener.getsockname()[1])

    def daemon(node: Node) -> int:
        return _load_daemon()(paths, node, listener, progress, identity)

    with contextlib.suppress(OSError):  # a full disk: the daemon has more to say of it
        process.record(paths, identity, ready=False)
    try:
        return launch(daemon, helper=hosthelper.serve, keep=(lock,))
    except OSError as error:
        progress.error(str(error))
        return 1


def _raise_descriptor_limit() -> None:
    """Most machines give a process 1024 descriptors unless it asks: too few for a proxy that carries every pod's
    connections. Container runtimes raise it as far, and no further: some programs visit every possible descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 1 << 20
    wanted = enough if hard == resource.RLIM_INFINITY else min(hard, enough)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _load_daemon() -> Daemon:
    """Half of a start is loading modules, so what would slow that down without use is put off.

    The collector finds no garbage in modules and would visit them again and again (90 ms); the daemon enables it when
    it is Ready. aiohttp reads the machine's certificate authorities for a client that is never used (50 ms, 2 MB).
    """
    gc.disable()
    usual = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(usual, os.devnull))
    try:
        from ambientlab.host.daemon import run  # noqa: PLC0415 - the zygote must not load it
    finally:
        for name, value in usual.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
