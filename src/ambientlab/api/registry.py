"""Which kinds are served now: those built in, and those of the CRDs present."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ambientlab.api.kinds import CORE
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.api.schema import Node


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column of a CRD version (`additionalPrinterColumns`)."""

    name: str
    type: str
    json_path: str
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A served resource with what validation and printing need. `crd` is None for a built-in kind.

    `storage` is the resource objects are stored as: the same kind in the CRD's storage version.
    """

    resource: Resource
    storage: Resource
    schema: Node
    crd: Object | None = None
    columns: tuple[Column, ...] = ()


class Registry:
    """Look-ups are O(1). `generation` grows with every change: discovery and OpenAPI cache by it."""

    generation: int

    def __init__(self, builtin: Sequence[Resource] = CORE) -> None:
        raise NotImplementedError

    def resources(self) -> Sequence[Resource]:
        """Every served resource, core group first, in the order discovery lists them."""
        raise NotImplementedError

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Group -> its served versions, preferred first (Kubernetes' version priority: v1 > v1beta1 > v1alpha3)."""
        raise NotImplementedError

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        raise NotImplementedError

    def find_kind(self, api_version: str, kind: str) -> Resource | None:
        """`api_version` as objects carry it: `apps/v1`, `v1`."""
        raise NotImplementedError

    def entry(self, resource: Resource) -> Entry:
        """Raises KeyError if `resource` is not served (any more)."""
        raise NotImplementedError

    def schema(self, resource: Resource) -> Node:
        """Also answers for kinds that exist only as request bodies (TokenRequest, Scale, Eviction, reviews)."""
        raise NotImplementedError

    def storage(self, resource: Resource) -> Resource:
        """The resource whose storage `resource` shares: all versions of a CRD are one set of objects."""
        raise NotImplementedError

    def put_crd(self, crd: Object) -> tuple[Resource, ...]:
        """Serve (or serve anew) the versions of a CRD object; returns them, preferred first."""
        raise NotImplementedError

    def remove_crd(self, name: str) -> None:
        """`name` is the CRD's metadata.name (`httproutes.gateway.networking.k8s.io`)."""
        raise NotImplementedError
