"""A Deployment's status: counts over its ReplicaSets, and the conditions `kubectl rollout status` and `wait` read.

Reasons and messages are the interface of kube-controller-manager (pkg/controller/deployment/progress.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object, name, parse_timestamp
from ambientlab.controllers import conditions
from ambientlab.controllers.conditions import Condition
from ambientlab.controllers.deployment.rollout import limits, replicas_of

_NO_DEADLINE = 2**31 - 1  # MaxInt32: how a Deployment says that it may take for ever


def compute(
    deployment: Object,
    new: Object | None,
    old: Sequence[Object],
    now: datetime,
    *,
    created: bool = False,
    estimate: bool = True,
    collided: bool = False,
) -> Object:
    """`created`: the new ReplicaSet was created in this pass. `estimate` progress: not while paused or scaling.
    `collided`: the name of the new ReplicaSet is taken by another template, so the next pass needs another hash."""
    sets = [*old, *([new] if new is not None else [])]
    previous = deployment.get("status") or {}
    counts = _counts(new, sets)
    found: list[Condition] = _paused(deployment, previous.get("conditions") or [], now)
    if has_deadline(deployment) and new is not None:
        found = _created(found, new, now, created)
    found = _available(deployment, found, counts, now)
    if not has_deadline(deployment):
        found = conditions.without(found, "Progressing")
    elif estimate:
        found = _progressing(deployment, found, previous, counts, new, now)
    found = _failures(found, new, sets)
    collisions = previous.get("collisionCount", 0) + (1 if collided else 0)
    return {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        **{key: value for key, value in counts.items() if value},
        **({"collisionCount": collisions} if collisions else {}),
        **({"conditions": found} if found else {}),
    }


def has_deadline(deployment: Object) -> bool:
    return bool(deployment["spec"].get("progressDeadlineSeconds", _NO_DEADLINE) != _NO_DEADLINE)


def is_complete(deployment: Object, status: Object) -> bool:
    wanted = deployment["spec"]["replicas"]
    return all(status.get(count, 0) == wanted for count in ("replicas", "updatedReplicas", "availableReplicas")) and (
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    )


def seconds_to_deadline(deployment: Object, status: Object, now: datetime) -> float | None:
    """When to look again whether a rollout has stalled; None if there is nothing to wait for."""
    progressing = conditions.find(status.get("conditions") or [], "Progressing")
    if progressing is None or not has_deadline(deployment) or deployment["spec"].get("paused"):
        return None
    if progressing["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    # A second more: the times in conditions are whole seconds.
    return max(0.0, _deadline_left(deployment, progressing, now)) + 1.0


def _deadline_left(deployment: Object, progressing: Condition, now: datetime) -> float:
    since = parse_timestamp(progressing.get("lastUpdateTime") or progressing["lastTransitionTime"])
    limit: int = deployment["spec"]["progressDeadlineSeconds"]
    return limit - (now - since).total_seconds()


def _counts(new: Object | None, sets: Sequence[Object]) -> dict[str, int]:
    def total(count: str) -> int:
        return sum((rs.get("status") or {}).get(count, 0) for rs in sets)

    available = total("availableReplicas")
    return {
        "replicas": total("replicas"),
        "updatedReplicas": ((new or {}).get("status") or {}).get("replicas", 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(replicas_of(rs) for rs in sets) - available),
    }


def _condition(type_: str, status: str, reason: str, message: str, now: datetime) -> Condition:
    return conditions.condition(type_, status, reason, message, now, updates=True)


def _paused(deployment: Object, found: list[Condition], now: datetime) -> list[Condition]:
    """A pause stops the clock of the deadline; having missed it already is not forgotten."""
    progressing = conditions.find(found, "Progressing")
    reason = progressing["reason"] if progressing else ""
    if not has_deadline(deployment) or reason == "ProgressDeadlineExceeded":
        return found
    if deployment["spec"].get("paused"):
        return conditions.put(
            found, _condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
        )
    if reason == "DeploymentPaused":
        resumed = _condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        return conditions.put(found, resumed)
    return found


def _created(found: list[Condition], new: Object, now: datetime, created: bool) -> list[Condition]:
    if created:
        message = f'Created new replica set "{name(new)}"'
        return conditions.put(found, _condition("Progressing", "True", "NewReplicaSetCreated", message, now))
    if conditions.find(found, "Progressing") is None:
        message = f'Found new replica set "{name(new)}"'
        return conditions.put(found, _condition("Progressing", "True", "FoundNewReplicaSet", message, now))
    return found


def _available(deployment: Object, found: list[Condition], counts: dict[str, int], now: datetime) -> list[Condition]:
    if counts["availableReplicas"] >= deployment["spec"]["replicas"] - limits(deployment)[1]:
        status, reason, message = "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    else:
        status, reason = "False", "MinimumReplicasUnavailable"
        message = "Deployment does not have minimum availability."
    return conditions.put(found, _condition("Available", status, reason, message, now))


def _progressing(
    deployment: Object,
    found: list[Condition],
    previous: Object,
    counts: dict[str, int],
    new: Object | None,
    now: datetime,
) -> list[Condition]:
    current = conditions.find(found, "Progressing")
    if current and current["reason"] == "NewReplicaSetAvailable" and counts["replicas"] == counts["updatedReplicas"]:
        return found  # the last rollout is over: what pods do now is not its progress
    subject = f'ReplicaSet "{name(new)}"' if new is not None else f'Deployment "{name(deployment)}"'
    generation = {"observedGeneration": deployment["metadata"].get("generation", 0)}
    if is_complete(deployment, {**counts, **generation}):
        message = f"{subject} has successfully progressed."
        return conditions.put(found, _condition("Progressing", "True", "NewReplicaSetAvailable", message, now))
    if _has_moved(previous, counts):
        condition = _condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current and current["status"] == "True":
            condition["lastTransitionTime"] = current["lastTransitionTime"]
        # Replaced even if it said so before: its lastUpdateTime is what the deadline counts from.
        return [*conditions.without(found, "Progressing"), condition]
    if current and current["reason"] != "NewReplicaSetAvailable" and _deadline_left(deployment, current, now) < 0:
        message = f"{subject} has timed out progressing."
        return conditions.put(found, _condition("Progressing", "False", "ProgressDeadlineExceeded", message, now))
    return found


def _has_moved(previous: Object, counts: dict[str, int]) -> bool:
    def before(count: str) -> int:
        value: int = previous.get(count, 0)
        return value

    old_left = counts["replicas"] - counts["updatedReplicas"]
    return (
        counts["updatedReplicas"] > before("updatedReplicas")
        or old_left < before("replicas") - before("updatedReplicas")
        or counts["readyReplicas"] > before("readyReplicas")
        or counts["availableReplicas"] > before("availableReplicas")
    )


def _failures(found: list[Condition], new: Object | None, sets: Sequence[Object]) -> list[Condition]:
    """A ReplicaSet that cannot create its pods is the Deployment's failure; the new one's counts first."""
    for rs in [*([new] if new is not None else []), *sets]:
        failure: dict[str, Any] | None = conditions.find(
            (rs.get("status") or {}).get("conditions") or [], "ReplicaFailure"
        )
        if failure is not None:
            return conditions.put(found, {**failure, "lastUpdateTime": failure["lastTransitionTime"]})
    return conditions.without(found, "ReplicaFailure")
