"""Which kinds are served now: those built in, and those of the CRDs present."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ambientlab.api import definitions, schema
from ambientlab.api.kinds import BODIES, CORE
from ambientlab.api.objects import Object, name
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


_AGE = Column("Age", "date", ".metadata.creationTimestamp")


@dataclass(frozen=True)
class Entry:
    """A served resource with what validation and printing need.

    `storage` is the resource objects are stored as: the same kind in the CRD's storage version. `raw_schema` is the
    `openAPIV3Schema` of the CRD's version; it and `crd` are None for a built-in kind. `warning` is for whoever uses a
    version that is deprecated.
    """

    resource: Resource
    storage: Resource
    crd: Object | None = None
    raw_schema: Object | None = None
    columns: tuple[Column, ...] = ()
    warning: str = ""

    @cached_property
    def schema(self) -> Node:
        if self.raw_schema is not None:
            return schema.structural(self.raw_schema)
        return schema.core(definitions.name_of(self.resource.group, self.resource.version, self.resource.kind))


def _key(resource: Resource) -> tuple[str, str, str]:
    return (resource.group, resource.version, resource.plural)


class Registry:
    """Look-ups are O(1). `generation` grows with every change: discovery and OpenAPI cache by it."""

    def __init__(self, builtin: Sequence[Resource] = CORE) -> None:
        self.generation = 1
        self._entries = {_key(resource): Entry(resource, resource) for resource in builtin}
        self._bodies = {_key(resource): Entry(resource, resource) for resource in BODIES}
        self._crds: dict[str, tuple[Resource, ...]] = {}
        self._index()

    def _index(self) -> None:
        served = [entry.resource for entry in self._entries.values()]
        self._by_kind = {(resource.api_version, resource.kind): resource for resource in served}

    def resources(self) -> Sequence[Resource]:
        """Every served resource: the built-in ones, then those of CRDs, in the order they came."""
        return tuple(entry.resource for entry in self._entries.values())

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Group -> its served versions, preferred first (Kubernetes' version priority: v1 > v1beta1 > v1alpha3)."""
        found: dict[str, set[str]] = {}
        for resource in self.resources():
            found.setdefault(resource.group, set()).add(resource.version)
        return {group: tuple(sorted(versions, key=version_priority)) for group, versions in found.items()}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        entry = self._entries.get((group, version, plural))
        return entry.resource if entry else None

    def find_kind(self, api_version: str, kind: str) -> Resource | None:
        """`api_version` as objects carry it: `apps/v1`, `v1`."""
        return self._by_kind.get((api_version, kind))

    def entry(self, resource: Resource) -> Entry:
        """Also answers for kinds that exist only as request bodies (TokenRequest, Scale, Eviction, reviews).

        Only group, version and plural are looked at: a constant of `kinds` finds the kind whatever its CRD says of
        short names and categories. Raises KeyError if `resource` is not served (any more).
        """
        return self._entries.get(_key(resource)) or self._bodies[_key(resource)]

    def schema(self, resource: Resource) -> Node:
        return self.entry(resource).schema

    def storage(self, resource: Resource) -> Resource:
        """The resource whose storage `resource` shares: all versions of a CRD are one set of objects."""
        return self.entry(resource).storage

    def put_crd(self, crd: Object) -> tuple[Resource, ...]:
        """Serve (or serve anew) the versions of a CRD object, which must be valid; returns them, preferred first."""
        for resource in self._crds.get(name(crd), ()):
            del self._entries[_key(resource)]
        entries = entries_of(crd)
        self._entries.update({_key(entry.resource): entry for entry in entries})
        self._crds[name(crd)] = tuple(entry.resource for entry in entries)
        self._changed()
        return self._crds[name(crd)]

    def remove_crd(self, crd_name: str) -> None:
        """`crd_name` is the CRD's metadata.name (`httproutes.gateway.networking.k8s.io`)."""
        for resource in self._crds.pop(crd_name, ()):
            del self._entries[_key(resource)]
        self._changed()

    def _changed(self) -> None:
        self.generation += 1
        self._index()


def entries_of(crd: Object) -> list[Entry]:
    """The served versions of a CRD, preferred first."""
    spec = crd["spec"]
    names = spec["names"]

    def resource(version: Object) -> Resource:
        return Resource(
            spec["group"],
            version["name"],
            names["plural"],
            names["kind"],
            spec["scope"] == "Namespaced",
            tuple(names.get("shortNames") or ()),
            tuple(names.get("categories") or ()),
            tuple(part for part in ("status", "scale") if part in (version.get("subresources") or {})),
            singular_name=_unless(names.get("singular"), names["kind"].lower()),
            list_name=_unless(names.get("listKind"), f"{names['kind']}List"),
        )

    storage = next(resource(version) for version in spec["versions"] if version.get("storage"))
    served = [
        Entry(
            resource(version),
            storage,
            crd,
            (version.get("schema") or {}).get("openAPIV3Schema") or {"x-kubernetes-preserve-unknown-fields": True},
            _columns(version),
            _warning(spec, version),
        )
        for version in spec["versions"]
        if version.get("served")
    ]
    return sorted(served, key=lambda entry: version_priority(entry.resource.version))


def _warning(spec: Object, version: Object) -> str:
    """Without words of the CRD's own, those of apiextensions-apiserver (customresource_handler.go)."""
    if not version.get("deprecated"):
        return ""
    if "deprecationWarning" in version:
        return str(version["deprecationWarning"])
    newer = [one["name"] for one in spec["versions"] if one.get("served") and not one.get("deprecated")]
    newer = [name for name in newer if version_priority(name) < version_priority(version["name"])]

    def kind(name: str) -> str:
        return f"{spec['group']}/{name} {spec['names']['kind']}"

    advice = f"; use {kind(min(newer, key=version_priority))}" if newer else ""
    return f"{kind(version['name'])} is deprecated{advice}"


def _unless(given: str | None, usual: str) -> str:
    """`given`, or "" where it is the usual name: so resources from CRDs equal the constants of `kinds`."""
    return given if given and given != usual else ""


def _columns(version: Object) -> tuple[Column, ...]:
    columns = tuple(
        Column(
            one["name"],
            one["type"],
            one["jsonPath"],
            one.get("format", ""),
            one.get("description", ""),
            one.get("priority", 0),
        )
        for one in version.get("additionalPrinterColumns") or ()
    )
    return columns or (_AGE,)


_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")
_STABILITY = {None: 0, "beta": 1, "alpha": 2}


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sort key: stable before beta before alpha, newer first, other names last and by name.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    major, stability, minor = match.groups()
    return (_STABILITY[stability], -int(major), -int(minor or 0), version)
