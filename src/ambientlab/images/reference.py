"""Image references as people write them: `[registry/]path[:tag][@digest]`.

The default registry and the `library/` prefix are those of the distribution reference grammar
(github.com/distribution/reference, "normalized named").
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?")


class Reference(NamedTuple):
    registry: str
    path: str
    tag: str


def parse(image: str) -> Reference | None:
    """The parts of a reference with the defaults filled in; None when it is not one (InvalidImageName)."""
    rest, at, digest = image.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        return None
    head, slash, tail = rest.partition("/")
    registry = "docker.io"
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry, rest = head, tail
    path, colon, tag = rest.partition(":")
    if registry == "docker.io" and "/" not in path:
        path = f"library/{path}"
    if not _REGISTRY.fullmatch(registry) or not _PATH.fullmatch(path) or (colon and not _TAG.fullmatch(tag)):
        return None
    return Reference(registry, path, tag or ("" if at else "latest"))
