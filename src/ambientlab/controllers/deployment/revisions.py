"""Which ReplicaSet of a Deployment is which revision of its template, and the annotations that record it.

The annotations are kubectl's interface too: `rollout history` and `rollout undo` read them from the ReplicaSets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ambientlab.api.kinds import DEPLOYMENT
from ambientlab.api.objects import Object, annotations_of, name, namespace
from ambientlab.controllers.names import content_hash
from ambientlab.controllers.owners import controller_reference

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"

# What a ReplicaSet does not inherit from its Deployment's annotations.
_OWN = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
    )
)
_HISTORY_LIMIT = 2000  # characters


def revision_of(obj: Object) -> int:
    """The revision an object is annotated with; 0 for none, or for one somebody has broken."""
    try:
        return int(annotations_of(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def age_order(obj: Object) -> tuple[str, str]:
    """Sorts the oldest first."""
    return obj["metadata"].get("creationTimestamp") or "", name(obj)


def find_new(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """The ReplicaSet with the Deployment's template; the oldest, should there be several."""
    wanted = _comparable(deployment["spec"]["template"])
    return next((rs for rs in sorted(sets, key=age_order) if _comparable(rs["spec"]["template"]) == wanted), None)


def build(deployment: Object, replicas: int, revision: int, maximum: int) -> Object:
    """The ReplicaSet for the Deployment's template."""
    spec = deployment["spec"]
    template = spec["template"]
    collisions = (deployment.get("status") or {}).get("collisionCount", 0)
    label = {HASH_LABEL: content_hash(_comparable(template), collisions)}
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **label}
    selector = spec["selector"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name(deployment)}-{label[HASH_LABEL]}",
            "namespace": namespace(deployment),
            "labels": labels,
            "annotations": {
                **_inherited(deployment),
                REVISION: str(revision),
                DESIRED: str(spec["replicas"]),
                MAXIMUM: str(maximum),
            },
            "ownerReferences": [controller_reference(DEPLOYMENT, deployment)],
        },
        "spec": {
            "replicas": replicas,
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **label}},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }


def annotation_changes(deployment: Object, rs: Object, revision: int) -> dict[str, str]:
    """What has to change in the annotations of an existing ReplicaSet that is the new one (again)."""
    wanted = _inherited(deployment)
    old = revision_of(rs)
    if old < revision:
        wanted[REVISION] = str(revision)
        if old:
            history = annotations_of(rs).get(HISTORY, "")
            entries = [entry for entry in history.split(",") if entry] + [str(old)]
            while len(",".join(entries)) > _HISTORY_LIMIT:
                entries.pop(0)
            wanted[HISTORY] = ",".join(entries)
    present = annotations_of(rs)
    return {key: value for key, value in wanted.items() if present.get(key) != value}


def _inherited(deployment: Object) -> dict[str, str]:
    return {key: value for key, value in annotations_of(deployment).items() if key not in _OWN}


def _comparable(template: Mapping[str, Any]) -> Any:
    """The template without the hash label a ReplicaSet adds to it and without nulls, which mean absent."""
    metadata = _without_nulls(template.get("metadata") or {})
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    return {"metadata": {**metadata, "labels": labels}, "spec": _without_nulls(template["spec"])}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
