"""How a kubeconfig says to reach a cluster: as much of it as a plain connection needs.

Which files: client-go's rules for reading. Credentials that only kubectl knows how to come by (plugins, proxies) are
told apart, so that kubectl can be asked for a connection.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ambientlab.host import kubeconfig
from ambientlab.host.kubeconfig import KubeconfigError
from ambientlab.host.paths import home

_PLAIN_USER = {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile"}
_PLAIN_CLUSTER = {
    "server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify", "tls-server-name",
    "extensions", "disable-compression",
}  # fmt: skip
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Access:
    """One context. PEMs are as bytes; `plain` is whether a connection needs nothing but what is here, `namespace`
    that of objects that name none, and `socket` a file to connect to in place of the server's address."""

    context: str
    server: str
    authorities: bytes = b""
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    verify: bool = True
    server_name: str = ""
    plain: bool = True
    namespace: str = "default"
    socket: str = ""


def of(context: str | None = None, file: Path | None = None) -> Access:
    """The named context, or the current one. Raises KubeconfigError."""
    read = _read(file)
    name = context or next((c["current-context"] for _, c in read if c.get("current-context")), "")
    if not name:
        raise KubeconfigError("the kubeconfig has no current context: name one with --context")
    _, chosen = _entry(read, "contexts", "context", name)
    where, cluster = _entry(read, "clusters", "cluster", chosen.get("cluster", ""))
    owner, user = _entry(read, "users", "user", chosen["user"]) if chosen.get("user") else (where, {})
    server = str(cluster.get("server") or "")
    if not server:
        raise KubeconfigError(f"cluster {chosen.get('cluster')} has no server")
    return Access(
        name,
        server,
        _pem(cluster, "certificate-authority", where),
        _pem(user, "client-certificate", owner),
        _pem(user, "client-key", owner),
        _token(user, owner),
        cluster.get("insecure-skip-tls-verify") is not True,
        str(cluster.get("tls-server-name") or ""),
        set(user) <= _PLAIN_USER and set(cluster) <= _PLAIN_CLUSTER and not _proxied(server),
        str(chosen.get("namespace") or "default"),
    )


def knows(context: str, file: Path | None = None) -> bool:
    """Whether there is a context of that name. Raises KubeconfigError."""
    entries = [entry for _, config in _read(file) for entry in config.get("contexts") or ()]
    return any(isinstance(entry, dict) and entry.get("name") == context for entry in entries)


def _read(file: Path | None) -> list[tuple[Path, Mapping[str, Any]]]:
    files = [file] if file is not None else _files()
    read: list[tuple[Path, Mapping[str, Any]]] = [(each, kubeconfig.read(each)) for each in files if _exists(each)]
    if not read:
        raise KubeconfigError(f"there is no kubeconfig {' or '.join(map(str, files))}: name one with --kubeconfig")
    return read


def behind(socket: str, context: str, namespace: str = "default") -> Access:
    """What `kubectl proxy` serves at a socket, to those who call it localhost."""
    return Access(context, "http://localhost", namespace=namespace, socket=socket)


def _proxied(server: str) -> bool:
    """Whether the environment names a proxy that may be meant for the server."""
    named = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"))
    return named and not any(f"//{host}" in server for host in _LOCAL)


def _exists(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise KubeconfigError(f"cannot read {file}: {error.strerror}") from error
    return True


def _files() -> list[Path]:
    listed = [Path(entry) for entry in os.environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    return listed or [home() / ".kube" / "config"]


def _entry(
    read: Iterable[tuple[Path, Mapping[str, Any]]], plural: str, singular: str, name: str
) -> tuple[Path, Mapping[str, Any]]:
    """The first of that name, and the file it is in."""
    for path, config in read:
        for entry in config.get(plural) or ():
            if isinstance(entry, dict) and entry.get("name") == name:
                found = entry.get(singular)
                return path, found if isinstance(found, dict) else {}
    known = sorted({str(e.get("name")) for _, config in read for e in config.get(plural) or () if isinstance(e, dict)})
    raise KubeconfigError(f"there is no {singular} {name!r} in the kubeconfig; it has {', '.join(known) or 'none'}")


def _pem(entry: Mapping[str, Any], name: str, file: Path) -> bytes:
    """Its own data, which may be on several lines, goes before a file, whose name is relative to the kubeconfig's."""
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode("".join(str(data).splitlines()), validate=True)
        except ValueError as error:
            raise KubeconfigError(f"{name}-data in {file} is not base64: {error}") from None
    return _content(file.parent / str(entry[name])) if entry.get(name) else b""


def _token(user: Mapping[str, Any], file: Path) -> str:
    """A file goes before a token beside it, which may have expired (client-go, tools/clientcmd/api/types.go)."""
    if user.get("tokenFile"):
        return _content(file.parent / str(user["tokenFile"])).decode(errors="replace").strip()
    return str(user.get("token") or "")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # no file has such a name
        raise KubeconfigError(f"cannot read {str(path)!r}: {error}") from error
