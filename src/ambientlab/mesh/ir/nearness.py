"""Which endpoints of a service the node proxy chooses among, by where they are.

ztunnel (src/state.rs, load_balance) compares an endpoint with the client scope by scope, from the widest, and takes
only those that are alike in most of them; whether one of these answers makes no difference to that. Places are the
nodes', and all its clients are on one node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Distribution(StrEnum):
    """What a service prefers (pilot/pkg/serviceregistry/ambient/services.go, constructService)."""

    ANY = ""
    SAME_ZONE = "PreferSameZone"
    SAME_NODE = "PreferSameNode"
    LOCAL = "Local"
    """Endpoints of the client's node and no others."""


class Place(NamedTuple):
    """`locality` is `region/zone/subzone`. What is not known is "", which is as good a place as any other: two that are
    nowhere are in the same."""

    node: str = ""
    locality: str = ""

    @property
    def scopes(self) -> tuple[str, str, str, str]:
        return *parts(self.locality), self.node


NOWHERE = Place()

_COMPARED = {Distribution.SAME_ZONE: 2, Distribution.SAME_NODE: 4}
"""How many scopes matter."""


def parts(locality: str) -> tuple[str, str, str]:
    """Region, zone and subzone."""
    region, zone, subzone = (*locality.split("/", 2), "", "")[:3]
    return region, zone, subzone


def nearest(distribution: Distribution, places: Mapping[T, Place | None], here: Place) -> list[T]:
    """Those of `places` that a client `here` gets to."""
    if distribution is Distribution.ANY:
        return list(places)
    scopes = {one: (place or NOWHERE).scopes for one, place in places.items()}
    if distribution is Distribution.LOCAL:
        return [one for one, (*_, node) in scopes.items() if node == here.node]
    compared = _COMPARED[distribution]
    ranks = {one: _alike(found[:compared], here.scopes[:compared]) for one, found in scopes.items()}
    return [one for one, rank in ranks.items() if rank == max(ranks.values())]


def _alike(some: Sequence[str], others: Sequence[str]) -> int:
    """How many are the same, up to the first that differs."""
    return next((i for i, (a, b) in enumerate(zip(some, others, strict=True)) if a != b), len(some))
