"""Files and directories of manifests that `istioctl analyze` and `istioctl validate` are given."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambientlab.cli.istio.command import contents
from ambientlab.cli.reading import EXTENSIONS

if TYPE_CHECKING:
    from ambientlab.host.manifests import Problem, Text


def is_manifest(path: Path) -> bool:
    """By its name, which istioctl goes by."""
    return path.suffix in EXTENSIONS


def named(name: str) -> list[Path]:
    """The file itself, or all below a directory. Raises ClickException in Go's words."""
    path = Path(name)
    try:
        directory = name != "-" and stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise click.ClickException(f"stat {name}: {str(error.strerror).lower()}") from None
    return sorted(each for each in path.rglob("*") if each.is_file()) if directory else [path]


def text(path: Path) -> Text | Problem:
    """Raises ClickException in Go's words."""
    from ambientlab.host import manifests

    return manifests.text(str(path), contents(path))
