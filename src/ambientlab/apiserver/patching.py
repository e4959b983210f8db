"""From a patch in one of its media types to the object it wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ambientlab.api.errors import Cause, StatusError
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.api.schema import Node
from ambientlab.api.strategic import StrategicError, strategic_merge_patch
from ambientlab.apiserver import strategy
from ambientlab.apiserver.patch.fields import Fields
from ambientlab.apiserver.patch.json_patch import MalformedPatch, PatchError, json_patch
from ambientlab.apiserver.patch.managed import Manager, Owned
from ambientlab.apiserver.patch.merge import merge_patch
from ambientlab.apiserver.refusals import bad_request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
MAX_OPERATIONS = 10_000


def accepted(resource: Resource) -> tuple[str, ...]:
    """Strategic merge needs Go types: a custom resource has none."""
    if strategy.is_custom(resource):
        return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


def patched(resource: Resource, media_type: str, live: Object, patch: Any, node: Node) -> Object:
    """`live` with a patch applied that is no server-side apply. Raises `StatusError` 400, 413, 415, 422."""
    if media_type not in accepted(resource) or media_type == APPLY_PATCH:
        raise unsupported(resource)
    try:
        if media_type == JSON_PATCH:
            if isinstance(patch, list) and len(patch) > MAX_OPERATIONS:
                limit = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
                raise StatusError(413, "RequestEntityTooLarge", limit)
            result = json_patch(live, patch)
        elif not isinstance(patch, dict):
            raise bad_request("a merge patch is a JSON object")
        elif media_type == MERGE_PATCH:
            result = merge_patch(live, patch)
        else:
            result = strategic_merge_patch(live, patch, node)
    except PatchError as error:
        raise StatusError(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
            causes=(Cause("UnexpectedServerResponse", str(error)),),
        ) from error
    except (MalformedPatch, StrategicError) as error:
        raise bad_request(str(error)) from error
    except RecursionError:
        raise bad_request("the patch is nested too deeply") from None
    if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
        raise bad_request("the patch leaves no object with metadata behind")
    return result


def unsupported(resource: Resource) -> StatusError:
    types = ", ".join(accepted(resource))
    return StatusError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {types}",
    )


def owned_here(resource: Resource, claimed: Fields, subresource: str) -> Fields:
    """Of what an apply claims, the part that its endpoint writes."""
    if subresource == "status":
        return frozenset(path for path in claimed if path[0] == "f:status")
    if strategy.has_status(resource):
        return frozenset(path for path in claimed if path[0] != "f:status")
    return claimed


def without_time(managers: Mapping[Manager, Owned]) -> dict[Manager, Fields]:
    """For telling whether ownership changed: an entry's time is no reason to write."""
    return {manager: owned.fields for manager, owned in managers.items()}
