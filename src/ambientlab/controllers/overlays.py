"""What ConfigMaps ask to change in the objects that run a Gateway (deploymentcontroller.go, applyOverlay). Pure.

A ConfigMap has a strategic merge patch for a kind under the kind's key. It may change anything but what makes the
object this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ambientlab.api import definitions, schema
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import DEPLOYMENT, SERVICE, SERVICEACCOUNT
from ambientlab.api.objects import Object
from ambientlab.api.parse import parse
from ambientlab.api.resources import Resource
from ambientlab.api.strategic import StrategicError, strategic_merge_patch

CLASS_DEFAULTS = "gateway.istio.io/defaults-for-class"
"""The label that makes a ConfigMap of istio-system the defaults of a GatewayClass."""

NOT_BUILT = ("horizontalPodAutoscaler", "podDisruptionBudget")
"""Keys of kinds that Istio makes of a Gateway when it is asked to, and this cluster does not have."""

_KEYS = {DEPLOYMENT.kind: "deployment", SERVICE.kind: "service", SERVICEACCOUNT.kind: "serviceAccount"}
_KNOWN = sorted([*_KEYS.values(), *NOT_BUILT])
_FIXED = (
    *("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields"),
)


class OverlayError(ValueError):
    """The ConfigMap's writer has to mend it; Istio applies nothing of the Gateway until then."""


def overlaid(
    drafts: Iterator[tuple[Resource, Object]], overlays: Sequence[Mapping[str, str]]
) -> list[tuple[Resource, Object]]:
    """The drafts with all overlays applied, in their order. Raises `OverlayError`."""
    for overlay in overlays:
        for key in overlay:
            if key not in _KNOWN:
                raise OverlayError(f'unsupported overlay "{key}" (supported: [{" ".join(_KNOWN)}])')
    return [(resource, _applied(resource, draft, overlays)) for resource, draft in drafts]


def _applied(resource: Resource, draft: Object, overlays: Sequence[Mapping[str, str]]) -> Object:
    result = draft
    key = _KEYS[resource.kind]
    for overlay in overlays:
        if key in overlay:
            node = schema.core(definitions.name_of(resource.group, resource.version, resource.kind))
            try:
                result = strategic_merge_patch(result, _patch(overlay[key]), node)
            except (StrategicError, RecursionError) as error:
                raise OverlayError(f"{key}: strategic merge patch failed: {error}") from error
    before, after = draft["metadata"], result.get("metadata") or {}
    if result is not draft and any(before.get(field) != after.get(field) for field in _FIXED):
        raise OverlayError(f"{key}: illegal metadata change")
    return result


def _patch(text: str) -> dict[str, Any]:
    try:
        value = parse(text.encode(), "application/yaml").value
    except StatusError as error:
        raise OverlayError(error.message) from error
    if not isinstance(value, dict):
        raise OverlayError("a patch is a map of fields")
    return value
