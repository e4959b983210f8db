"""How many replicas each ReplicaSet of a Deployment may have now. All functions are pure.

The rules are kube-controller-manager's (pkg/controller/deployment: rolling.go, sync.go and util/deployment_util.go):
never more pods than replicas + maxSurge, never fewer available ones than replicas - maxUnavailable, and old pods that
do not work go first, since losing them costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

from ambientlab.api.objects import Object, annotations_of, name
from ambientlab.controllers.deployment.revisions import DESIRED, MAXIMUM, age_order

Plan = dict[str, int]
"""ReplicaSet name -> replicas, of those that have to change."""


def resolve(value: int | str, total: int, *, up: bool) -> int:
    """An absolute number, or a percentage of `total` rounded up or down."""
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%")) * total / 100
    return ceil(exact) if up else floor(exact)


def limits(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers of pods. They cannot both be 0: nothing could ever move."""
    spec = deployment["spec"]
    if spec.get("strategy", {}).get("type", "RollingUpdate") != "RollingUpdate":
        return 0, 0
    parameters = spec.get("strategy", {}).get("rollingUpdate") or {}
    replicas = spec["replicas"]
    surge = resolve(parameters.get("maxSurge", "25%"), replicas, up=True)
    unavailable = resolve(parameters.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def replicas_of(rs: Object) -> int:
    value: int = rs["spec"].get("replicas", 1)
    return value


def available_of(rs: Object) -> int:
    """Never more than it may have: a status written before it was last made smaller still counts the lost ones."""
    reported: int = (rs.get("status") or {}).get("availableReplicas", 0)
    return min(reported, replicas_of(rs))


def active(sets: Sequence[Object]) -> list[Object]:
    return [rs for rs in sets if replicas_of(rs) > 0]


def new_replicas(deployment: Object, sets: Sequence[Object], new: int) -> int:
    """What a new ReplicaSet that has `new` replicas may have; `sets` are all, including it if it exists."""
    wanted: int = deployment["spec"]["replicas"]
    if deployment["spec"].get("strategy", {}).get("type") == "Recreate" or new >= wanted:
        return wanted
    surge, _ = limits(deployment)
    room = wanted + surge - sum(replicas_of(rs) for rs in sets)
    return new + max(0, min(room, wanted - new))


def shrink_old(deployment: Object, new: Object, old: Sequence[Object]) -> Plan:
    """How far the old ReplicaSets can go down while enough pods stay available."""
    old = sorted(active(old), key=age_order)
    _, unavailable = limits(deployment)
    least = deployment["spec"]["replicas"] - unavailable
    total = sum(replicas_of(rs) for rs in [*old, new])
    # New pods that are not available yet will count as they come up: what they stand for must stay.
    spare = total - least - (replicas_of(new) - available_of(new))
    if spare <= 0:
        return {}
    left = {name(rs): replicas_of(rs) for rs in old}
    budget = spare
    for rs in old:  # first what does not work
        cut = min(budget, max(0, replicas_of(rs) - available_of(rs)))
        left[name(rs)] -= cut
        budget -= cut
    budget = max(0, min(budget, sum(available_of(rs) for rs in [*old, new]) - least))
    for rs in old:  # then what does, down to what must stay available
        cut = min(budget, left[name(rs)])
        left[name(rs)] -= cut
        budget -= cut
    return {name(rs): left[name(rs)] for rs in old if left[name(rs)] != replicas_of(rs)}


def is_scaling(deployment: Object, sets: Sequence[Object]) -> bool:
    """Has `spec.replicas` changed since the ReplicaSets were last sized?"""
    wanted = str(deployment["spec"]["replicas"])
    return any(annotations_of(rs).get(DESIRED, wanted) != wanted for rs in active(sets))


def scale(deployment: Object, new: Object | None, old: Sequence[Object]) -> Plan:
    """A change of `spec.replicas`, shared between the ReplicaSets of a rollout in proportion to their sizes."""
    wanted: int = deployment["spec"]["replicas"]
    sets = [*old, *([new] if new is not None else [])]
    busy = active(sets)
    if len(busy) <= 1:
        latest = busy[0] if busy else new or max(sets, key=age_order, default=None)
        return {name(latest): wanted} if latest is not None and replicas_of(latest) != wanted else {}
    if new is not None and replicas_of(new) == wanted and available_of(new) == wanted:
        return {name(rs): 0 for rs in active(old)}
    if deployment["spec"].get("strategy", {}).get("type", "RollingUpdate") != "RollingUpdate":
        return {}
    return _proportional(deployment, busy)


def _proportional(deployment: Object, busy: list[Object]) -> Plan:
    wanted: int = deployment["spec"]["replicas"]
    allowed = wanted + limits(deployment)[0] if wanted > 0 else 0
    change = allowed - sum(replicas_of(rs) for rs in busy)
    if change == 0:
        return {}
    # The largest first; of equal ones the newest when growing, the oldest when shrinking.
    by_age = sorted(busy, key=age_order, reverse=change > 0)
    ordered = sorted(by_age, key=replicas_of, reverse=True)
    sizes = {}
    rest = change
    for rs in ordered:
        share = _share(deployment, rs, allowed)
        share = min(share, rest) if change > 0 else max(share, rest)
        sizes[name(rs)] = replicas_of(rs) + share
        rest -= share
    first = name(ordered[0])
    sizes[first] = max(0, sizes[first] + rest)
    return {name(rs): sizes[name(rs)] for rs in ordered if sizes[name(rs)] != replicas_of(rs)}


def _share(deployment: Object, rs: Object, allowed: int) -> int:
    """The replicas `rs` gains or loses if the whole goes from the size it was annotated with to `allowed`."""
    if allowed == 0:
        return -replicas_of(rs)
    try:
        before = int(annotations_of(rs).get(MAXIMUM, "0"))
    except ValueError:
        before = 0
    before = before or (deployment.get("status") or {}).get("replicas", 0)
    if before <= 0:
        return 0
    return floor(replicas_of(rs) * allowed / before + 0.5) - replicas_of(rs)


def surplus_history(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old ReplicaSets past `revisionHistoryLimit`, the oldest revisions, that nothing depends on any more."""
    limit: int = deployment["spec"].get("revisionHistoryLimit", 10)
    idle = [rs for rs in old if not rs["metadata"].get("deletionTimestamp")]
    surplus = sorted(idle, key=age_order)[: max(0, len(idle) - limit)]
    return [rs for rs in surplus if replicas_of(rs) == 0 and not (rs.get("status") or {}).get("replicas")]
