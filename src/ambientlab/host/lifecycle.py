"""`up`, `down` and `status` without their words: spawn the launcher, follow its progress, stop it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from ambientlab import files
from ambientlab.host import kubeconfig, process, tools
from ambientlab.host.paths import MeshPaths

# SIGTERM gives every container its grace; a mesh that has not gone after this long is killed.
STOP_PATIENCE = 15.0
_GLANCE = 0.2  # seconds, much longer than anybody who looks whether a mesh runs keeps others from its lock


class LifecycleError(Exception):
    """The mesh could not be started or stopped. `str()` is one line; `hints` are the next steps, one each."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


@dataclass(frozen=True, slots=True)
class Step:
    """One finished stage of starting, and the milliseconds since the launcher began."""

    text: str
    milliseconds: int


def up(paths: MeshPaths, *, patience: float, report: Callable[[Step], None], kubeconfig_path: Path | None) -> bool:
    """Start the mesh and wait until it is Ready. False when it ran already. Raises LifecycleError.

    `kubeconfig_path` is the file to merge the context into; None leaves the user's kubeconfig alone.
    """
    if kubeconfig_path is not None:
        kubeconfig.verify(kubeconfig_path)
    lock = _lock_unless_ready(paths, patience)
    if lock is not None:
        try:
            tools.install(paths.bin)
            _start(paths, lock, patience, report)
        except LifecycleError as error:
            raise _explained(error) from error
        except OSError as error:
            raise LifecycleError(f"cannot write {error.filename or paths.state}: {error.strerror}") from error
        finally:
            os.close(lock)
    if kubeconfig_path is not None:
        try:
            kubeconfig.merge(kubeconfig_path, paths.context, credentials(paths))
        except kubeconfig.KubeconfigError as error:
            raise LifecycleError(
                f"mesh {paths.name!r} runs, without its context in your kubeconfig: {error}",
                f"ambientlab shell --name {paths.name}",
                f"export KUBECONFIG={shlex.quote(str(paths.kubeconfig))}",
            ) from error
    return lock is not None


def down(paths: MeshPaths, *, purge: bool, kubeconfig_path: Path | None) -> bool:
    """Stop the mesh, Ready or not; True when one ran. With `purge` its state goes too. Raises LifecycleError."""
    with _stopped(paths) as was_running:
        with contextlib.suppress(FileNotFoundError):
            paths.process.unlink()
        shutil.rmtree(paths.run, ignore_errors=True)
        if purge:
            _purge(paths)
    if kubeconfig_path is not None:
        try:
            kubeconfig.remove(kubeconfig_path, paths.context)
        except kubeconfig.KubeconfigError as error:
            raise LifecycleError(f"mesh {paths.name!r} is stopped, with its context left behind: {error}") from error
    return was_running


@contextlib.contextmanager
def _stopped(paths: MeshPaths) -> Iterator[bool]:
    """Whether the mesh ran. Nobody starts it before what is to be done with what it has left is done. Raises
    LifecycleError."""
    found = process.running(paths, ready=False)
    if found is not None:
        process.stop(found, STOP_PATIENCE)
    lock = None
    if os.path.exists(paths.lock):
        lock = process.acquire(paths, _GLANCE if found is None else STOP_PATIENCE)
        if lock is None:
            raise _unstoppable(paths, found)
    try:
        yield found is not None
    finally:
        if lock is not None:
            os.close(lock)


def _unstoppable(paths: MeshPaths, found: process.Running | None) -> LifecycleError:
    if found is None:
        return LifecycleError(f"mesh {paths.name!r} is starting: wait a moment and repeat", f"see {paths.daemon_log}")
    return LifecycleError(
        f"mesh {paths.name!r} (pid {found.pid}) does not stop, or has been started again",
        f"ambientlab status --name {paths.name}",
        f"see {paths.daemon_log}",
    )


def _purge(paths: MeshPaths) -> None:
    """Out of the way at once: who starts the mesh anew meanwhile gets a directory of its own. Raises LifecycleError."""
    doomed = paths.state.with_name(f".{paths.name}.{os.getpid()}")
    try:
        paths.state.rename(doomed)
        _let_in(doomed)
        shutil.rmtree(doomed)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LifecycleError(
            f"mesh {paths.name!r} is stopped, with its state left behind: cannot delete {error.filename}: "
            f"{error.strerror}"
        ) from error


def _let_in(place: Path) -> None:
    """Pods may have closed directories of theirs to everybody, themselves included."""
    for above, names, _ in os.walk(place):
        for directory in (os.path.join(above, name) for name in names):
            if not os.path.islink(directory):
                os.chmod(directory, 0o700)


def credentials(paths: MeshPaths) -> kubeconfig.Credentials:
    port = saved_port(paths)
    try:
        return kubeconfig.Credentials(
            server=f"https://127.0.0.1:{port}",
            ca_pem=(paths.pki / "ca.crt").read_bytes(),
            cert_pem=(paths.pki / "admin.crt").read_bytes(),
            key_pem=(paths.pki / "admin.key").read_bytes(),
        )
    except OSError as error:
        raise LifecycleError(
            f"the credentials of mesh {paths.name!r} are not readable: {error}",
            f"ambientlab down --purge --name {paths.name}",
        ) from error


def saved_port(paths: MeshPaths) -> int:
    """The API's port, the same for the whole life of a mesh's state; 0 before the first start."""
    try:
        port = int(json.loads(paths.settings.read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return port if 0 < port < 1 << 16 else 0


def bind_api(paths: MeshPaths) -> socket.socket:
    """The API's listening socket on the host's loopback. Raises LifecycleError when its port is taken."""
    port = saved_port(paths)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise LifecycleError(
            f"port {port} on 127.0.0.1, which the API of mesh {paths.name!r} uses, is taken ({error.strerror})",
            f"find who holds it: ss -ltnp 'sport = :{port}'",
            f"or give the mesh another port (its objects stay): rm {paths.settings}",
        ) from error
    if port == 0:
        files.write_whole(paths.settings, json.dumps({"port": listener.getsockname()[1]}).encode())
    return listener


def _start(paths: MeshPaths, lock: int, patience: float, report: Callable[[Step], None]) -> None:
    with contextlib.suppress(FileNotFoundError):
        paths.process.unlink()
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as progress, contextlib.ExitStack() as failing:
        try:
            child = _launched(paths, lock, writer)
        finally:
            os.close(writer)
        failing.callback(_abandon, child)
        why = _not_ready(progress, patience, report)
        if not why:
            failing.pop_all()  # from here on the mesh runs by itself
            return
    tail = _last_line(paths.daemon_log)
    raise LifecycleError(f"{why}: {tail}" if tail else why, f"see {paths.daemon_log}")


def _launched(paths: MeshPaths, lock: int, progress: int) -> subprocess.Popen[bytes]:
    """The mesh's first process, with the API's socket, the lock, and where it tells how far it is."""
    with bind_api(paths) as listener, open(paths.daemon_log, "ab") as log:
        places = (paths.name, str(paths.state), str(paths.run))
        handed = (listener.fileno(), lock, progress)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "ambientlab.host.launcher", *places, *map(str, handed)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=handed,
            start_new_session=True,
            cwd="/",
        )


def _not_ready(progress: FileIO, patience: float, report: Callable[[Step], None]) -> str:
    """Why the mesh does not become Ready, "" once it is. Raises LifecycleError with what it says of that itself."""
    deadline = time.monotonic() + patience
    for message in _messages(progress, deadline):
        if "step" in message:
            report(Step(message["step"], message["ms"]))
        if "error" in message:
            raise LifecycleError(message["error"], *message.get("hints", ()))
        if message.get("ready"):
            return ""
    if time.monotonic() >= deadline:
        return f"the mesh did not become ready in {patience:.0f} s"
    return "the mesh ended before it was ready"


def _explained(error: LifecycleError) -> LifecycleError:
    """What of the machine stands in the way of any mesh, if that is why a start failed. Asked only then: trying the
    kernel's features, and loading what tries them, would cost every start a twentieth of a second or more."""
    from ambientlab.node.linux.support import check  # noqa: PLC0415

    problems = check()
    if not problems:
        return error
    return LifecycleError(problems[0].summary, *[problem.fix for problem in problems])


def _abandon(child: subprocess.Popen[bytes]) -> None:
    """A start that failed leaves nothing running."""
    child.terminate()
    try:
        child.wait(STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _messages(progress: FileIO, deadline: float) -> Iterator[dict[str, Any]]:
    """JSON lines from the starting mesh, until it closes the pipe or the time of `deadline` has come."""
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([progress], [], [], left)
        if not readable or not (chunk := progress.read(65536)):
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _lock_unless_ready(paths: MeshPaths, patience: float) -> int | None:
    """The mesh's lock, or None of one that is Ready, also of one that another `up` has been starting. One that is
    ending is waited for. Raises LifecycleError."""
    deadline = time.monotonic() + patience
    while True:
        paths.create()
        if (lock := process.acquire(paths)) is not None:
            paths.create()  # who ended the mesh meanwhile has deleted directories of its
            return lock
        if _answers(paths):
            return None
        if time.monotonic() > deadline:
            raise LifecycleError(
                f"mesh {paths.name!r} is starting or stopping and did not become ready in {patience:.0f} s",
                f"ambientlab logs --name {paths.name}",
                f"ambientlab down --name {paths.name}",
            )
        time.sleep(0.02)


def _answers(paths: MeshPaths) -> bool:
    """Whether the mesh is Ready and does not end just now, of which a process may have been killed: the launcher holds
    the API's socket, so connections to it are made as long as it lives."""
    found = process.running(paths)
    if found is None:
        return False
    from http import HTTPStatus  # noqa: PLC0415 - a start needs none of this
    from http.client import HTTPException, HTTPSConnection  # noqa: PLC0415
    from ssl import create_default_context  # noqa: PLC0415

    try:
        context = create_default_context(cafile=paths.pki / "ca.crt")
        with contextlib.closing(HTTPSConnection("127.0.0.1", found.port, timeout=1, context=context)) as api:
            api.request("GET", "/readyz")
            return api.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
