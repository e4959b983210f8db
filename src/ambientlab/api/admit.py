"""From a request body to an object fit to store: decode, default, validate.

    obj, warnings = decode(registry, resource, body, content_type, "Strict")   # or conform() for an object in hand
    default(registry, resource, obj)
    validate_create(registry, resource, obj)          # or validate_update(registry, resource, obj, old)

Each step raises `StatusError` with the text, reason and causes of a kube-apiserver. Nothing here knows who asks:
names, uids, resource versions, generation and status belong to the verbs.
"""

from __future__ import annotations

from typing import Literal

from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource

FieldValidation = Literal["Strict", "Warn", "Ignore"]


def decode(
    registry: Registry,
    resource: Resource,
    body: bytes,
    content_type: str,
    field_validation: FieldValidation = "Strict",
) -> tuple[Object, list[str]]:
    """Parse JSON, YAML or Kubernetes protobuf into an object of `resource`, with warnings for the client.

    Unknown fields are dropped, as typed decoding does (and pruning, for CRs). An empty apiVersion/kind is filled in.
    Raises 400 (not the right kind, unknown or duplicate fields if Strict, wrong types of core kinds), 415.
    """
    raise NotImplementedError


def conform(
    registry: Registry, resource: Resource, obj: Object, field_validation: FieldValidation = "Strict"
) -> tuple[Object, list[str]]:
    """What `decode` does after parsing: for an object that is the result of a patch or comes from this process."""
    raise NotImplementedError


def default(registry: Registry, resource: Resource, obj: Object) -> None:
    """Fill in Kubernetes' defaults, in place."""
    raise NotImplementedError


def validate_create(registry: Registry, resource: Resource, obj: Object) -> None:
    """Raises 422 Invalid with one cause per problem."""
    raise NotImplementedError


def validate_update(registry: Registry, resource: Resource, obj: Object, old: Object, *, subresource: str = "") -> None:
    """As `validate_create`, and what may not change; CEL transition rules see `old` as oldSelf."""
    raise NotImplementedError
