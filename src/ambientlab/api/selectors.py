"""Label and field selectors: parsing, and matching objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource

Operator = Literal["in", "notin", "exists", "!"]


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; without any, everything matches."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """(path, wanted value, negated) terms; without any, everything matches."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, obj: Object) -> bool:
        raise NotImplementedError

    def exact(self, path: str) -> str | None:
        """The value `path` must equal, if the selector says so (watch by metadata.name)."""
        raise NotImplementedError


def parse_labels(text: str) -> LabelSelector:
    """`a=b,c!=d,e in (f,g),h,!i`. Raises 400 BadRequest with Kubernetes' parse message."""
    raise NotImplementedError


def parse_fields(resource: Resource, text: str) -> FieldSelector:
    """`metadata.name=x,status.phase!=Running`. Raises 400 for a field `resource` does not select by."""
    raise NotImplementedError


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector | None:
    """A metav1.LabelSelector (matchLabels, matchExpressions). None selects nothing; empty selects everything."""
    raise NotImplementedError
