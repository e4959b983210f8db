"""The user's kubeconfig: our context merged in on `up`, taken out on `down`, everything else left as it was.

Which file: the rules of client-go's loading order for writing: `--kubeconfig`, else the first file of $KUBECONFIG that
exists (its last entry if none does), else ~/.kube/config. The file that a mesh has for itself, which `ambientlab shell`
sets, is passed over: with another mesh's context in it, commands for the one would go to the other. kubectl guards
writes with `<file>.lock`; so do we.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ambientlab.files import write_whole
from ambientlab.host.paths import home, owner_of_kubeconfig

_LOCK_LIFETIME = 60.0  # seconds
_LOCK_PATIENCE = 5.0
_LISTS = (("clusters", "cluster"), ("users", "user"), ("contexts", "context"))


class KubeconfigError(Exception):
    """The file cannot be read or written as it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach one API server as its administrator. The PEMs go into the file base64-encoded."""

    server: str
    ca_pem: bytes
    cert_pem: bytes
    key_pem: bytes


def target(explicit: str | None = None, *, mesh: str = "") -> Path:
    """The file that `kubectl config` would write to, of those that no mesh but `mesh` has for itself."""
    if explicit:
        return Path(explicit)
    named = [Path(entry) for entry in os.environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    if entries := [entry for entry in named if owner_of_kubeconfig(entry) in ("", mesh)]:
        return next((entry for entry in entries if os.path.exists(entry)), entries[-1])
    return home() / ".kube" / "config"


def verify(path: Path) -> None:
    """Raises KubeconfigError if `merge` could not read the file, or would put one in the place of a device."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise KubeconfigError(f"cannot write {path}: it is no file. Set KUBECONFIG to one.")
    read(path)


def merge(path: Path, context: str, credentials: Credentials) -> None:
    """Add or replace `context` with its cluster and user, and make it the current one."""
    with _locked(path):
        config = read(path)
        _put(config, context, credentials)
        _write(path, config)


def remove(path: Path, context: str) -> None:
    """Take out what `merge` put in. A file without it is not touched."""
    if not os.path.exists(path):
        return
    with _locked(path):
        config = read(path)
        before = {key: list(config.get(key) or []) for key, _ in _LISTS}
        for key, entries in before.items():
            config[key] = [entry for entry in entries if not _named(entry, context)]
        current = config.get("current-context") == context
        if current:
            config["current-context"] = ""
        if current or any(len(before[key]) != len(config[key]) for key in before):
            _write(path, config)


def write_standalone(path: Path, context: str, credentials: Credentials) -> None:
    """A whole kubeconfig that knows this mesh alone."""
    config = _empty()
    _put(config, context, credentials)
    _write(path, config)


def _empty() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Config", "preferences": {}}


def _put(config: dict[str, Any], context: str, credentials: Credentials) -> None:
    _set(config, "clusters", context, "cluster", _cluster(credentials))
    _set(config, "users", context, "user", _user(credentials))
    _set(config, "contexts", context, "context", {"cluster": context, "user": context})
    config["current-context"] = context


def _cluster(credentials: Credentials) -> dict[str, str]:
    return {"certificate-authority-data": _b64(credentials.ca_pem), "server": credentials.server}


def _user(credentials: Credentials) -> dict[str, str]:
    return {
        "client-certificate-data": _b64(credentials.cert_pem),
        "client-key-data": _b64(credentials.key_pem),
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _named(entry: Any, name: str) -> bool:
    return isinstance(entry, dict) and entry.get("name") == name


def _set(config: dict[str, Any], key: str, name: str, inner: str, value: dict[str, str]) -> None:
    entries = config.get(key) or []
    config[key] = [entry for entry in entries if not _named(entry, name)] + [{"name": name, inner: value}]


def read(path: Path) -> dict[str, Any]:
    """A kubeconfig, an empty one where there is no file. Raises KubeconfigError."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return _empty()
    except OSError as error:
        raise KubeconfigError(f"cannot read {path}: {error.strerror}. Set KUBECONFIG to another file.") from error
    except UnicodeDecodeError as error:
        raise KubeconfigError(f"{path} is not text. Mend it, or set KUBECONFIG.") from error
    try:
        config = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a moment or a number that is none
        raise KubeconfigError(f"{path} is not YAML ({_first_line(error)}). Mend it, or set KUBECONFIG.") from error
    if config is None:
        return _empty()
    if not isinstance(config, dict) or any(not isinstance(config.get(key) or [], list) for key, _ in _LISTS):
        raise KubeconfigError(f"{path} is not a kubeconfig. Move it away, or set KUBECONFIG to another file.")
    return config


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _write(path: Path, config: dict[str, Any]) -> None:
    path = path.resolve()
    text = yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise KubeconfigError(
            f"cannot write {path}: {error.strerror}. Set KUBECONFIG to a file that can be written."
        ) from error


def _taken_over(lock: Path) -> bool:
    """Whether it was abandoned and is this process's own from here on. Whoever made it must have been killed: a change
    takes milliseconds, and client-go names no holder. It is made young in its place and under a lock of the kernel's,
    which one process has at a time: another that took it away instead could take away the next holder's."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(descriptor)
        if not os.path.samestat(found, lock.stat()) or time.time() - found.st_mtime <= _LOCK_LIFETIME:
            return False
        os.utime(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + _LOCK_PATIENCE
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while not (_made(lock) or _taken_over(lock)):
            if time.monotonic() > deadline:
                raise KubeconfigError(f"{lock} has been there for {_LOCK_PATIENCE:.0f} s: remove it if nobody holds it")
            time.sleep(0.02)  # another process holds it: client-go polls the same way
    except OSError as error:
        raise KubeconfigError(
            f"cannot write {path}: {error.strerror}. Set KUBECONFIG to a file that can be written."
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()


def _made(lock: Path) -> bool:
    """Whether there was none. Raises OSError."""
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True
