"""The kinds that a cluster has: those that this program knows, and what the cluster itself says of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ambientlab.api import kinds
from ambientlab.api.resources import Resource
from ambientlab.host.kubeapi import KubeApi, Reply, decoded, message

OWN = {(r.api_version, r.kind): r for r in (*kinds.CORE, *kinds.SHIPPED_CRDS)}
_GROUP_VERSION = re.compile(r"([a-z0-9]+([-.]+[a-z0-9]+)*/)?[a-z0-9]+")


class UnknownKindError(Exception):
    """A kind that the cluster does not have, so far as can be seen."""


class Served:
    """Asks one API, and each thing once."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._replies: dict[str, Reply] = {}
        """What the API says of a group's version."""

    def kind(self, api_version: str, kind: str) -> Resource:
        """Raises UnknownKindError."""
        if (found := OWN.get((api_version, kind))) is not None:
            return found
        unknown = f'no matches for kind "{kind}" in version "{api_version}"'
        if not _GROUP_VERSION.fullmatch(api_version):
            raise UnknownKindError(unknown)
        self._ask([api_version])
        reply = self._replies[api_version]
        if reply.status not in (200, 404):
            raise UnknownKindError(f"{unknown} can be looked for: {message(reply)}")
        of_kind = (one for one in _resources(api_version, reply) if one.kind == kind)
        if (found := next(of_kind, None)) is None:
            raise UnknownKindError(f"{unknown}: install its CRD first")
        return found

    def named(self, text: str) -> list[Resource]:
        """As people write it: a kind in any way that kubectl knows, or a category of several. Raises
        UnknownKindError."""
        if category := [resource for resource in OWN.values() if text in resource.categories]:
            return category
        found = _first(text, OWN.values()) or _first(text, self._others())
        if found is None:
            raise UnknownKindError(f'the server doesn\'t have a resource type "{text}"')
        return [found]

    def _others(self) -> Iterator[Resource]:
        """Of each group as the cluster prefers it."""
        core, groups = self._api.get(["/api", "/apis"])
        versions = [str(each) for each in _field(core, "versions")]
        versions += [each["preferredVersion"]["groupVersion"] for each in _field(groups, "groups")]
        self._ask(versions)
        for version in versions:
            yield from _resources(version, self._replies[version])

    def _ask(self, versions: Iterable[str]) -> None:
        missing = [version for version in versions if version not in self._replies]
        paths = [f"/{'apis' if '/' in version else 'api'}/{version}" for version in missing]
        self._replies.update(zip(missing, self._api.get(paths), strict=True))


def _field(reply: Reply, name: str) -> list[Any]:
    return (decoded(reply).get(name) or []) if reply.status == 200 else []


def _resources(api_version: str, reply: Reply) -> Iterator[Resource]:
    group, _, version = api_version.rpartition("/")
    for one in _field(reply, "resources"):
        if "/" not in one["name"]:
            names = tuple(one.get("shortNames") or ())
            yield Resource(group, version, one["name"], one["kind"], bool(one["namespaced"]), short_names=names)


def _first(text: str, resources: Iterable[Resource]) -> Resource | None:
    return next((resource for resource in resources if text.lower() in _names(resource)), None)


def _names(resource: Resource) -> Iterator[str]:
    """k8s.io/apimachinery, pkg/runtime/schema, ParseResourceArg."""
    yield from resource.short_names
    for name in (resource.plural, resource.singular):
        yield name
        if resource.group:
            yield from (f"{name}.{resource.group}", f"{name}.{resource.version}.{resource.group}")
