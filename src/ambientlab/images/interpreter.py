"""The Python of this installation as a container sees it.

Programs written in Python run on the interpreter that runs the daemon, started with `-I -S`: no environment, no
site-packages, no .pth files, which is what makes a pod start in a few milliseconds. Whatever a program imports beyond
the standard library is named to it on its command line.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

from ambientlab.images.program import Bind

# The container's root already shows the machine's /usr, read-only.
_SHOWN = ("/usr/", "/bin/", "/lib/", "/lib64/")


@cache
def executable() -> str:
    """The interpreter itself, behind the links of a virtual environment: those would ask for its site-packages."""
    return os.path.realpath(sys.executable)


def _bind(path: str) -> tuple[Bind, ...]:
    return () if (path + "/").startswith(_SHOWN) else (Bind(path, path),)


@cache
def standard_library() -> tuple[Bind, ...]:
    """The interpreter, its library, and the shared libraries next to them (pyenv, uv and conda install so)."""
    return _bind(os.path.realpath(sys.base_prefix))


@cache
def package_paths(package: str) -> tuple[str, ...]:
    """The directories to import `package` and what it needs from: where it is found, and this environment's own."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(f"the Python package {package} is missing: install ambientlab again")
    home = str(Path(spec.origin).parent.parent)
    paths = (home, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths if os.path.isdir(path)))


def package_binds(package: str) -> tuple[Bind, ...]:
    return tuple(bind for path in package_paths(package) for bind in _bind(path))


def program_argv(script: str, *arguments: str) -> tuple[str, ...]:
    """The command line of one of our own programs."""
    return (executable(), "-I", "-S", "-B", str(programs_directory() / script), *arguments)


def programs_directory() -> Path:
    return Path(__file__).resolve().parent / "programs"


def program_binds() -> tuple[Bind, ...]:
    return (*standard_library(), *_bind(str(programs_directory())))
