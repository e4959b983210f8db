"""Defaults of namespaces, secrets, CRDs and token requests."""

from __future__ import annotations

import base64

from ambientlab.api.objects import Object

_TOKEN_SECONDS = 3600


def namespace(obj: Object) -> None:
    """Every namespace carries its own name as a label, so that selectors can name it."""
    metadata = obj.setdefault("metadata", {})
    if metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def secret(obj: Object) -> None:
    """`stringData` is for writing only: it becomes `data`."""
    obj.setdefault("type", "Opaque")
    if text := obj.pop("stringData", None):
        data = obj.setdefault("data", {})
        data.update({name: base64.b64encode(value.encode()).decode() for name, value in text.items()})


def custom_resource_definition(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if kind := names.get("kind"):
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})


def token_request(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("expirationSeconds", _TOKEN_SECONDS)
