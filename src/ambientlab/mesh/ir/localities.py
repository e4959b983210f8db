"""Which endpoints come first for whom, by where they are
(pilot/pkg/networking/core/loadbalancer/loadbalancer.go).

A locality is `region/zone/subzone`. Envoy keeps to the lowest priority whose endpoints are healthy, and shares requests
among the localities of one priority by weight where the cluster has locality_weighted_lb_config.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from ambientlab.mesh.ir.nearness import Distribution, parts
from ambientlab.mesh.ir.services import Endpoint
from ambientlab.mesh.ir.traffic import LoadBalancer, Localities, TrafficPolicy
from ambientlab.mesh.ir.workloads import Workload

_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
_SUBZONE, _HOSTNAME = "topology.istio.io/subzone", "kubernetes.io/hostname"
_NETWORK = "topology.istio.io/network"


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints of one locality that have one priority. `weight` is 0 for endpoints that nothing tells apart."""

    locality: str
    endpoints: tuple[Endpoint, ...]
    priority: int = 0
    weight: int = 0


def matter(policy: TrafficPolicy) -> bool:
    """Whether it makes a difference where endpoints are. The mesh prefers near ones wherever bad ones are found out,
    unless a rule says otherwise."""
    localities = _localities(policy)
    return localities.enabled and bool(localities.distribute or _fails_over(policy, localities))


def weighed(policy: TrafficPolicy) -> bool:
    """Whether localities have weights or an order that was asked for."""
    localities = policy.load_balancer.localities if policy.load_balancer is not None else None
    if localities is None or not localities.enabled:
        return False
    ordered = _fails_over(policy, localities) and (localities.failover or localities.failover_priority)
    return bool(localities.distribute or ordered)


def _fails_over(policy: TrafficPolicy, localities: Localities) -> bool:
    """Where endpoints are found out to be bad, or where a service prefers some (LocalityLBSettings.ApplyToCluster)."""
    return policy.outlier_detection is not None or localities.preferred


_PREFERENCES = {
    Distribution.SAME_ZONE: (_NETWORK, _REGION, _ZONE),
    Distribution.SAME_NODE: (_NETWORK, _REGION, _ZONE, _SUBZONE, _HOSTNAME),
}


def preferring(policy: TrafficPolicy, distribution: Distribution) -> TrafficPolicy:
    """With what a service prefers, where no rule speaks of localities (GetEffectiveLbSetting)."""
    balancer = policy.load_balancer or LoadBalancer()
    labels = _PREFERENCES.get(distribution, ())
    if not labels or balancer.localities is not None:
        return policy
    localities = Localities(failover_priority=labels, preferred=True)
    return replace(policy, load_balancer=replace(balancer, localities=localities))


def grouped(endpoints: Sequence[Endpoint], policy: TrafficPolicy, viewer: Workload | None) -> list[Group]:
    """`viewer` is an instance of the proxy; None for one that is nowhere."""
    if not matter(policy):
        return [Group("", tuple(endpoints))] if endpoints else []
    localities, here = _localities(policy), viewer.locality if viewer is not None else ""
    by_place: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_place.setdefault(_place(endpoint), []).append(endpoint)
    groups = [Group(place, tuple(found), weight=_weight(found)) for place, found in sorted(by_place.items())]
    if localities.distribute:
        return _distributed(groups, localities, here)
    if localities.failover_priority:
        groups = _by_labels(groups, localities.failover_priority, viewer)
        return _by_locality(groups, localities, here) if localities.failover else groups
    return _by_locality(groups, localities, here)


def _localities(policy: TrafficPolicy) -> Localities:
    balancer = policy.load_balancer
    return (balancer.localities if balancer is not None else None) or Localities()


def _place(endpoint: Endpoint) -> str:
    return endpoint.workload.locality if endpoint.workload is not None else ""


def _weight(endpoints: Iterable[Endpoint]) -> int:
    return sum(endpoint.weight or 1 for endpoint in endpoints)


def _distributed(groups: list[Group], localities: Localities, here: str) -> list[Group]:
    """applyLocalityWeights: the first rule for where the proxy is. Localities that it does not name get nothing."""
    rule = next((to for source, to in localities.distribute if _matches(here, source)), None)
    if rule is None:
        return groups
    result, left = [], groups
    for place, percent in rule:
        here_now = [group for group in left if _matches(group.locality, place)]
        left = [group for group in left if group not in here_now]
        total = sum(group.weight for group in here_now)
        result += [replace(group, weight=ceil(group.weight * percent / total)) for group in here_now]
    return sorted(result, key=lambda group: group.locality)


def _by_locality(groups: list[Group], localities: Localities, here: str) -> list[Group]:
    """applyLocalityFailover: the same subzone, zone, region, then others, of which only those named as failover for
    the region of the proxy come before the rest."""
    region = parts(here)[0]
    wanted = next((target for source, target in localities.failover if source == region), None)

    def rank(group: Group) -> int:
        distance = _distance(here, group.locality)
        far = distance == 3 and wanted is not None and parts(group.locality)[0] != wanted
        return group.priority * 5 + (4 if far else distance)

    return _consecutive([replace(group, priority=rank(group)) for group in groups])


def _by_labels(groups: list[Group], priority: Sequence[str], viewer: Workload | None) -> list[Group]:
    """applyFailoverPriorities: the more of the labels, in their order, an endpoint shares with the proxy, the earlier.
    `label=value` stands for the proxy's own. A first label that names the network only comes on top."""
    own = _labels(viewer) if viewer is not None else {}
    names = [entry.split("=") for entry in priority]
    wanted = [(name[0], name[1] if len(name) == 2 else own.get(name[0], "")) for name in names]

    def rank(endpoint: Endpoint) -> int:
        theirs = _labels(endpoint.workload) if endpoint.workload is not None else {}
        missing = [i for i, (name, value) in enumerate(wanted) if theirs.get(name, "") != value]
        other_network = bool(missing) and missing[0] == 0 and wanted[0][0] == _NETWORK
        first = next((i for i in missing if i or not other_network), None)
        return (0 if first is None else len(wanted) - first) + (len(wanted) if other_network else 0)

    result = []
    for group in groups:
        ranks: dict[int, list[Endpoint]] = {}
        for endpoint in group.endpoints:
            ranks.setdefault(rank(endpoint), []).append(endpoint)
        result += [Group(group.locality, tuple(found), place, _weight(found)) for place, found in sorted(ranks.items())]
    return _consecutive(result)


def _labels(workload: Workload) -> dict[str, str]:
    """With those that say where it is (AugmentLabels)."""
    region, zone, subzone = parts(workload.locality)
    places = {_REGION: region, _ZONE: zone, _SUBZONE: subzone, _HOSTNAME: workload.node}
    return {**dict(workload.labels), **{name: value for name, value in places.items() if value}}


def _consecutive(groups: list[Group]) -> list[Group]:
    """Envoy wants priorities without gaps."""
    places = {priority: i for i, priority in enumerate(sorted({group.priority for group in groups}))}
    return [replace(group, priority=places[group.priority]) for group in groups]


def _distance(one: str, other: str) -> int:
    """How many parts of two localities differ, from the first that does (LbPriority)."""
    for i, (a, b) in enumerate(zip(parts(one), parts(other), strict=True)):
        if a != b:
            return 3 - i
    return 0


def _matches(locality: str, pattern: str) -> bool:
    """LocalityMatch."""
    (region, *rest), (wanted, *others) = parts(locality), parts(pattern)
    return wanted in ("*", region) and all(b in ("*", "", a) for a, b in zip(rest, others, strict=True))
