"""Pods as the workload controllers see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object, annotations_of, condition_holds, has_ended, name, namespace, parse_timestamp
from ambientlab.api.resources import Resource
from ambientlab.controllers.conditions import find
from ambientlab.controllers.names import generate_name
from ambientlab.controllers.owners import controller_reference, is_deleting

_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


def from_template(resource: Resource, owner: Object, template: Object) -> Object:
    """A new pod of `owner`, named after it."""
    metadata = template.get("metadata") or {}
    base = f"{name(owner)}-"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": generate_name(base),
            "generateName": base,
            "namespace": namespace(owner),
            **{field: metadata[field] for field in ("labels", "annotations", "finalizers") if metadata.get(field)},
            "ownerReferences": [controller_reference(resource, owner)],
        },
        "spec": template["spec"],
    }


def phase(pod: Object) -> str:
    value: str = (pod.get("status") or {}).get("phase", "Pending")
    return value


def is_active(pod: Object) -> bool:
    return not has_ended(pod) and not is_deleting(pod)


def is_ready(pod: Object) -> bool:
    return condition_holds(pod, "Ready")


def seconds_to_available(pod: Object, min_ready_seconds: int, now: datetime) -> float | None:
    """How long until the pod has been ready for `min_ready_seconds`: 0 if it has, None if it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = (find(pod["status"]["conditions"], "Ready") or {}).get("lastTransitionTime")
    if since is None:
        return float(min_ready_seconds)
    return max(0.0, min_ready_seconds - (now - parse_timestamp(since)).total_seconds())


def deletion_rank(pod: Object) -> tuple[Any, ...]:
    """Sorts the pods whose loss costs least to the front, as kube-controller-manager's ActivePodsWithRanks does: not
    assigned to a node, pending, not ready, cheap by annotation, ready for a short time, often restarted, young."""
    status = pod.get("status") or {}
    since = (find(status.get("conditions") or [], "Ready") or {}).get("lastTransitionTime", "")
    restarts = max((one.get("restartCount", 0) for one in status.get("containerStatuses") or []), default=0)
    return (
        bool(pod["spec"].get("nodeName")),
        _PHASE_ORDER.get(phase(pod), 1),
        is_ready(pod),
        _deletion_cost(pod),
        _Newest(since if is_ready(pod) else ""),
        -restarts,
        _Newest(pod["metadata"].get("creationTimestamp") or ""),
    )


def _deletion_cost(pod: Object) -> int:
    try:
        return int(annotations_of(pod).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    except ValueError:
        return 0


class _Newest(str):
    """A timestamp that sorts the later one first."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)
