"""ObjectMeta as the server keeps it: identity, names, and what a client cannot change."""

from __future__ import annotations

import random
import uuid
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.apiserver.refusals import bad_request

# Kubernetes' alphabet for generated names: nothing that reads as a word (k8s.io/apimachinery/pkg/util/rand).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MAX_GENERATED = 63
_SUFFIX = 5
_OMITTED_IF_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")


def suffix(chooser: random.Random, length: int = _SUFFIX) -> str:
    return "".join(chooser.choices(_ALPHABET, k=length))


def generated_name(base: str, chooser: random.Random) -> str:
    return base[: _MAX_GENERATED - _SUFFIX] + suffix(chooser)


def place(resource: Resource, obj: Object, namespace: str) -> None:
    """Put `obj` where the request says. Raises 400 if it says otherwise itself."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        metadata = obj["metadata"] = {}
    for name in _OMITTED_IF_EMPTY:
        if name in metadata and not metadata[name]:
            del metadata[name]
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.get("namespace") in (None, "", namespace):
        metadata["namespace"] = namespace
    else:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def begin(obj: Object, now: str) -> None:
    """Metadata of a new object, in place."""
    metadata = obj["metadata"]
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "resourceVersion"):
        metadata.pop(name, None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now


def carry_over(obj: Object, old: Object) -> None:
    """What no update changes, in place."""
    metadata: dict[str, Any] = obj["metadata"]
    before = old["metadata"]
    metadata.pop("selfLink", None)
    for name in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    if "generateName" not in metadata and "generateName" in before:
        metadata["generateName"] = before["generateName"]
    if "managedFields" not in metadata and "managedFields" in before:
        metadata["managedFields"] = before["managedFields"]
