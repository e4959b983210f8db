"""Where a mesh keeps its files: the XDG base directories, one directory per mesh name, private to its user.

Deleting the state directory of a stopped mesh is a valid reset.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "ambientlab"

# A Kubernetes label value that is also safe as one path segment and as part of a context name.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


_LONGEST_SOCKET = 107
"""Bytes of a socket's path (unix(7))."""


class PathError(Exception):
    """A directory that cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class MeshPaths:
    """`state` survives `down`; `run` holds the sockets of one run."""

    name: str
    state: Path
    run: Path

    @property
    def database(self) -> Path:
        return self.state / "state.db"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def ca(self) -> Path:
        """A copy of what the mesh signs with."""
        return self.state / "ca"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def daemon_log(self) -> Path:
        return self.logs / "daemon.log"

    def log_of(self, component: str) -> Path:
        """That of one of the components which the daemon plays, as a container runtime writes logs."""
        return self.logs / f"{component}.log"

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def scratch(self) -> Path:
        """Where `ambientlab shell` starts: the learner's own files."""
        return self.state / "work"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with this mesh alone, for the commands that should not depend on the user's own."""
        return self.state / "kubeconfig"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def settings(self) -> Path:
        """What must stay the same from run to run: the API's port."""
        return self.state / "mesh.json"

    @property
    def process(self) -> Path:
        """Who runs now: the launcher's pid and start time."""
        return self.state / "process.json"

    @property
    def xds(self) -> Path:
        return self.run / "xds"

    @property
    def xds_socket(self) -> Path:
        return self.xds / "xds.sock"

    @property
    def context(self) -> str:
        return f"ambientlab-{self.name}"

    def create(self) -> None:
        """Make every directory, 0700. Raises PathError when one cannot be made, belongs to somebody else, or is too
        deep for what will be in it."""
        over = len(os.fsencode(self.xds_socket)) - _LONGEST_SOCKET
        if over > 0:
            raise PathError(
                f"{self.run} is {over} bytes too long for a socket in it. Name a shorter place with XDG_RUNTIME_DIR."
            )
        # below /tmp anybody may have made the directory above `run`, and could put others in its place
        for directory in (self.state, self.pki, self.ca, self.logs, self.bin, self.scratch, self.run.parent, self.run):
            _private_directory(directory)


def _private_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.lstat()
    except OSError as error:
        raise PathError(
            f"cannot make {path}: {error.strerror}. Name a writable place with XDG_STATE_HOME and XDG_RUNTIME_DIR."
        ) from error
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise PathError(f"{path} is not a directory of this user. Remove it, or set XDG_RUNTIME_DIR to another place.")
    if info.st_mode & 0o077:
        path.chmod(0o700)
    if not os.access(path, os.W_OK):
        raise PathError(f"{path} is not writable. Name a writable place with XDG_STATE_HOME and XDG_RUNTIME_DIR.")


def mesh_paths(name: str) -> MeshPaths:
    """The places of the mesh called `name`. Raises PathError for a name that cannot be one path segment."""
    if not _NAME.fullmatch(name):
        raise PathError(
            f"mesh name {name!r} must be 1 to 40 of a-z, 0-9 and '-', and begin and end with a letter or digit"
        )
    return MeshPaths(name, state_home() / name, _runtime_home() / name)


def home() -> Path:
    """Of a user of whom the machine knows none, where nothing can be written: whoever tries it says what else to do."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def state_home() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else home() / ".local" / "state"
    return root / "ambientlab"


def _runtime_home() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/") and os.access(base, os.W_OK | os.X_OK):
        return Path(base) / "ambientlab"
    places = (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp")
    usable = (place for place in places if place.startswith("/") and os.access(place, os.W_OK | os.X_OK))
    place = next(usable, "/tmp")
    return Path(place) / f"ambientlab-{os.geteuid()}"


def owner_of_kubeconfig(path: Path) -> str:
    """The mesh that `path` knows alone (`MeshPaths.kubeconfig`); "" for any other file."""
    place = path.absolute().parent
    return place.name if path.name == "kubeconfig" and place.parent == state_home().absolute() else ""


def known_meshes() -> list[str]:
    """Names that have state on this machine, running or not."""
    try:
        entries = sorted(state_home().iterdir())
    except OSError:
        return []
    return [entry.name for entry in entries if os.path.isfile(entry / "mesh.json") and _NAME.fullmatch(entry.name)]
