"""Which pods a policy is for, found without looking at every pod for every policy.

A policy is filed under one place, and a pod asks for what is filed under each of its own: its namespace and the whole
mesh, as such and by each of its labels. So a change of a policy concerns only pods that could be meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ambientlab.api.objects import Object
from ambientlab.mesh.ir import Labels

MESH = ""
"""Instead of a namespace."""


class Place(NamedTuple):
    """A namespace, or `MESH`, and one label, or none."""

    namespace: str
    label: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """`labels` is None without a selector; `nothing` is one that is there and asks for nothing, not even for no labels:
    what Istio attaches to no workload (buildWorkloadPolicies in pilot/pkg/serviceregistry/ambient/workloads.go)."""

    labels: Labels | None = None
    nothing: bool = False

    def place(self, namespace: str) -> Place:
        return Place(namespace, self.labels[0] if self.labels else None)

    def selects(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(name) == value for name, value in self.labels or ())


def selector_of(spec: Object) -> Selector:
    found = spec.get("selector")
    if found is None:
        return Selector()
    labels = found.get("matchLabels")
    return Selector(tuple(sorted((labels or {}).items())), nothing=labels is None)


def places_of(namespace: str, labels: Mapping[str, str]) -> Iterator[Place]:
    """Where to look for what is for a pod."""
    for where in (namespace, MESH):
        yield Place(where)
        for label in labels.items():
            yield Place(where, label)
