"""OpenAPI v3 as kubectl reads it: an index, and one document for each group and version."""

from __future__ import annotations

from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry


def index(registry: Registry) -> Object:
    """`/openapi/v3`: the path of each group-version's document, with a hash that changes with it."""
    raise NotImplementedError


def document(registry: Registry, group: str, version: str) -> bytes | None:
    """`/openapi/v3/apis/{group}/{version}` (`api/v1` for the core group) as JSON; None if nothing is served there."""
    raise NotImplementedError
