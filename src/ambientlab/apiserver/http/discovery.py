"""What is served: aggregated discovery (one answer for everything, with an ETag) and the older one per group.

kubernetes.io/docs/concepts/overview/kubernetes-api, "Discovery API".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from ambientlab.apiserver.http.reviews import REVIEWS

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERSION = {
    "major": "1",
    "minor": "37",
    "emulationMajor": "1",
    "emulationMinor": "37",
    "gitVersion": "v1.37.0",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
# kubectl turns to OpenAPI v2 for kinds that v3 does not name, and only to find that they are not there: an openapi.v2
# Document (gnostic's protobuf) with `swagger` (1), `info` (2: title, version) and empty `paths` (8) says so.
OPENAPI_V2 = b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.37.0\x42\x00"
OPENAPI_V2_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
# What a subresource speaks if not its object's kind, and how it is used: (group, version, kind, verbs).
_SPOKEN: dict[str, tuple[str, str, str, list[str]]] = {
    "scale": ("autoscaling", "v1", "Scale", ["get", "patch", "update"]),
    "eviction": ("policy", "v1", "Eviction", ["create"]),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ["create"]),
    "exec": ("", "v1", "PodExecOptions", ["create", "get"]),
    "attach": ("", "v1", "PodAttachOptions", ["create", "get"]),
    "portforward": ("", "v1", "PodPortForwardOptions", ["create", "get"]),
}
_OWN_VERBS = {"log": ["get"], "finalize": ["update"]}


class Discovery:
    """Answers are made once for each generation of the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._cache: dict[str, tuple[bytes, str] | None] = {}

    def aggregated(self, core: bool) -> tuple[bytes, str]:
        """Body and ETag."""
        return self._cached(f"aggregated {core}", lambda: self._aggregated(core)) or (b"", "")

    def versions(self) -> Object:
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.96.0.1:443"}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}

    def groups(self) -> Object:
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [self._group(group, versions) for group, versions in self._groups().items() if group],
        }

    def group(self, name: str) -> Object | None:
        versions = self._groups().get(name)
        return {"kind": "APIGroup", "apiVersion": "v1", **self._group(name, versions)} if name and versions else None

    def resources(self, group: str, version: str) -> Object | None:
        """The resources of a version and their subresources, flat."""
        rows: list[dict[str, Any]] = []
        for resource in self._of(group, version):
            row: dict[str, Any] = {
                "name": resource.plural,
                "singularName": resource.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(resource.verbs) or _ALL_VERBS,
            }
            if resource.short_names:
                row["shortNames"] = list(resource.short_names)
            if resource.categories:
                row["categories"] = list(resource.categories)
            rows.append(row)
            for name in resource.subresources:
                spoken_group, spoken_version, kind, verbs = _speaks(resource, name)
                below: dict[str, Any] = {
                    "name": f"{resource.plural}/{name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": kind,
                    "verbs": verbs,
                }
                if name in _SPOKEN and spoken_group:
                    below |= {"group": spoken_group, "version": spoken_version}
                rows.append(below)
        if not rows:
            return None
        group_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}

    def _cached(self, key: str, make: Any) -> tuple[bytes, str] | None:
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._cache.clear()
        if key not in self._cache:
            body = orjson.dumps(make())
            self._cache[key] = body, f'"{hashlib.sha256(body).hexdigest().upper()}"'
        return self._cache[key]

    def _groups(self) -> dict[str, tuple[str, ...]]:
        found = dict(self._registry.groups())
        for review in REVIEWS:
            found.setdefault(review.group, (review.version,))
        return found

    def _of(self, group: str, version: str) -> Iterable[Resource]:
        return [r for r in (*self._registry.resources(), *REVIEWS) if (r.group, r.version) == (group, version)]

    def _aggregated(self, core: bool) -> Object:
        items = []
        for group, versions in self._groups().items():
            if (group == "") != core:
                continue
            listed = [
                {
                    "version": version,
                    "resources": [_described(r) for r in self._of(group, version)],
                    "freshness": "Current",
                }
                for version in versions
            ]
            items.append({"metadata": {"name": group} if group else {}, "versions": listed})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

    @staticmethod
    def _group(name: str, versions: Iterable[str]) -> dict[str, Any]:
        listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
        return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _speaks(resource: Resource, subresource: str) -> tuple[str, str, str, list[str]]:
    if subresource == "proxy":
        return "", "v1", f"{resource.kind}ProxyOptions", ["create", "delete", "get", "patch", "update"]
    spoken = _SPOKEN.get(subresource)
    if spoken is not None:
        return spoken
    verbs = _OWN_VERBS.get(subresource, ["get", "patch", "update"])
    return resource.group, resource.version, resource.kind, verbs


def _described(resource: Resource) -> dict[str, Any]:
    described: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs) or _ALL_VERBS,
    }
    if resource.short_names:
        described["shortNames"] = list(resource.short_names)
    if resource.categories:
        described["categories"] = list(resource.categories)
    if resource.subresources:
        described["subresources"] = [
            {
                "subresource": name,
                "responseKind": {"group": group, "version": version, "kind": kind},
                "verbs": verbs,
            }
            for name in resource.subresources
            for group, version, kind, verbs in (_speaks(resource, name),)
        ]
    return described
