"""What Istio's validating webhook refuses of a VirtualService and a DestinationRule."""

from __future__ import annotations

from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource


def validate(resource: Resource, obj: Object) -> None:
    """Raises StatusError 400, worded as the API server words a webhook's refusal."""
