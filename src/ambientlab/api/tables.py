"""meta.k8s.io/v1 Table: what `kubectl get` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource

IncludeObject = Literal["Metadata", "Object", "None"]


def table(
    registry: Registry,
    resource: Resource,
    objects: Sequence[Object],
    now: datetime,
    *,
    include_object: IncludeObject = "Metadata",
    list_metadata: Object | None = None,
    columns: bool = True,
) -> Object:
    """A Table of `objects`. Without `columns`, columnDefinitions is empty, as in the later events of a watch.

    `list_metadata` (resourceVersion, continue, remainingItemCount) becomes the Table's metadata.
    """
    raise NotImplementedError


def duration(seconds: float) -> str:
    """kubectl's ages: `8s`, `2m21s`, `12m`, `3h5m`, `2d`."""
    raise NotImplementedError
