"""The life of a CustomResourceDefinition: established when created, its objects gone before it goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ambientlab.api.objects import Object, condition_holds

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def establish(crd: Object, others: Iterable[Object], now: str) -> None:
    """Set finalizer and status, in place: NamesAccepted unless another CRD of the group has one of the names."""
    metadata, spec = crd["metadata"], crd.get("spec") or {}
    metadata["finalizers"] = [
        *(f for f in metadata.get("finalizers") or () if f != CLEANUP_FINALIZER),
        CLEANUP_FINALIZER,
    ]
    names = spec.get("names") or {}
    taken = _taken(spec.get("group", ""), names, others)
    before = crd.get("status") or {}
    accepted = ("NamesAccepted", "False", "NamesConflict", taken) if taken else _ACCEPTED
    conditions = [_condition(*accepted, before, now)]
    if not taken or is_established(crd):
        conditions.append(_condition(*_ESTABLISHED, before, now))
    storage = [version.get("name", "") for version in spec.get("versions") or () if version.get("storage")]
    stored = [*(before.get("storedVersions") or ())]
    crd["status"] = {
        "conditions": conditions,
        "acceptedNames": {} if taken else {**names, "singular": names.get("singular") or _lower(names)},
        "storedVersions": stored + [version for version in storage if version not in stored],
    }


_ACCEPTED = ("NamesAccepted", "True", "NoConflicts", "no conflicts found")
_ESTABLISHED = ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")


def is_established(crd: Object) -> bool:
    return condition_holds(crd, "Established")


def _lower(names: Object) -> str:
    return str(names.get("kind", "")).lower()


def _taken(group: str, names: Object, others: Iterable[Object]) -> str:
    for other in others:
        theirs = other["spec"]["names"]
        if other["spec"]["group"] != group:
            continue
        if theirs["plural"] == names.get("plural"):
            return f'"{theirs["plural"]}" is already in use'
        if theirs["kind"] == names.get("kind"):
            return f'"{theirs["kind"]}" is already in use'
    return ""


def _condition(kind: str, status: str, reason: str, message: str, before: Object, now: str) -> dict[str, Any]:
    """A condition keeps the time of its last transition."""
    for old in before.get("conditions") or ():
        if old["type"] == kind and old["status"] == status:
            now = old["lastTransitionTime"]
    return {"lastTransitionTime": now, "message": message, "reason": reason, "status": status, "type": kind}
