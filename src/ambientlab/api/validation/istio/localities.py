"""Localities of load balancers (ValidateLocalityLbSetting, ValidateZoneAwareLbSetting)."""

from __future__ import annotations

from ambientlab.api.objects import Object
from ambientlab.api.validation.istio.common import Messages

_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def locality(settings: Object) -> Messages:
    """What makes no sense together ends the reading, as in Istio; the rest is gathered."""
    distribute, failover = settings.get("distribute") or [], settings.get("failover") or []
    if distribute and failover:
        return ["can not simultaneously specify 'distribute' and 'failover'"]
    for label in settings.get("failoverPriority") or ():
        if failover and label in _TOPOLOGY:
            return [f"can not simultaneously set 'failover' and topology label '{label}' in 'failover_priority'"]
    problems: Messages = []
    for one in distribute:
        shares = one.get("to") or {}
        if wrong := _shares(list(shares.values())):
            return problems + wrong
        problems += _overlaps(list(shares))
    problems += _overlaps([one.get("from", "") for one in distribute])
    return problems + _failover(failover, "locality lb", "locality lb failover only specify region")


def zone_aware(settings: Object) -> Messages:
    problems = [
        f"'failover_priority' for zone aware lb must not use topology label '{label}'; region- and zone-level routing "
        "are handled automatically"
        for label in settings.get("failoverPriority") or ()
        if label in _TOPOLOGY
    ]
    region = "zone aware lb failover only specifies region; zone and subzone failover are handled automatically"
    return problems + _failover(settings.get("failover") or [], "zone aware lb", region)


def _shares(shares: list[int]) -> Messages:
    if any(not 0 < share <= 100 for share in shares):
        return ["locality weight must be in range [1, 100]"]
    return [] if sum(shares) == 100 else [f"total locality weight {sum(shares)} != 100"]


def _failover(failover: list[Object], name: str, region: str) -> Messages:
    problems: Messages = []
    for one in failover:
        source, target = one.get("from", ""), one.get("to", "")
        if source == target:
            problems.append(f"{name} failover settings must specify different regions")
        if "/" in source or "/" in target:
            problems.append(region)
        if "*" in source or "*" in target:
            problems.append(f"{name} failover region should not contain '*' wildcard")
    return problems


def _overlaps(localities: list[str]) -> Messages:
    """What is wrong with the first that is no locality, or that one before it covers."""
    tree: dict[str, dict[str, set[str]]] = {}
    for one in localities:
        if "*" in one.removesuffix("*"):
            return [f"locality {one} wildcard '*' number can not exceed 1 and must be in the end"]
        overlap = [f"locality {one} overlap with previous specified ones"]
        if "*" in tree:
            return overlap
        parts = one.split("/", 2)
        if "" in parts:
            return [f"locality {one} must not contain empty region/zone/subzone info"]
        if _clashes(tree, *parts):
            return overlap
        region, zone, subzone = (*parts, "*", "*")[:3]
        tree.setdefault(region, {}).setdefault(zone, set()).add(subzone)
    return []


def _clashes(tree: dict[str, dict[str, set[str]]], region: str, zone: str = "", subzone: str = "") -> bool:
    zones = tree.get(region)
    if zones is None:
        return False
    if not zone or "*" in zones:
        return True
    subzones = zones.get(zone)
    return subzones is not None and (not subzone or "*" in subzones or subzone in subzones)
