"""Kubernetes protobuf request bodies (`application/vnd.kubernetes.protobuf`), which `kubectl create` sends.

Only decoding: replies may be JSON. Field numbers are those of Kubernetes' generated.proto files.
"""

from __future__ import annotations

from ambientlab.api.objects import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"


def decode(body: bytes) -> Object:
    """Raises StatusError 400 for a damaged body, 415 for a kind without a table."""
    raise NotImplementedError
