"""The objects of a cluster that decide about traffic, listed once and read-only.

What may not be read is told and leaves the rest. A kind that the cluster does not have has no objects. Secrets are
never asked for, and of ConfigMaps only those that something refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ambientlab.api.kinds import (
    BACKENDTLSPOLICY,
    CONFIGMAP,
    ENDPOINTSLICE,
    GATEWAY,
    GATEWAYCLASS,
    ISTIOGATEWAY,
    NAMESPACE,
    NODE,
    POD,
    PROXYCONFIG,
    REFERENCEGRANT,
    SECRET,
    SERVICE,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.host.installation import (
    Gap,
    incomplete,
    installation,
    other_clusters,
    unread,
    without_effect,
    without_kinds,
)
from ambientlab.host.kubeapi import ApiError, KubeApi, Reply, collection, decoded, message, path, unnameable
from ambientlab.mesh.index import RESOURCES
from ambientlab.mesh.index.meshconfig import Home, home
from ambientlab.mesh.ir import Key

LISTED = tuple(r for r in RESOURCES if r not in (SECRET, CONFIGMAP, ISTIOGATEWAY, PROXYCONFIG))


@dataclass(frozen=True, slots=True)
class Listing:
    """`unread` are kinds of which this Istio processes no objects, and why."""

    objects: Mapping[Resource, Sequence[Object]]
    gaps: tuple[Gap, ...]
    home: Home
    unread: Mapping[Resource, str]

    def processed(
        self, objects: Mapping[Resource, Sequence[Object]]
    ) -> tuple[Mapping[Resource, Sequence[Object]], list[Gap]]:
        """Of these, or of these as they would be, what Istio processes, and what there is to say about the others."""
        left = {resource: some for resource in self.unread if (some := objects.get(resource))}
        gaps = [without_effect(resource, self.unread[resource], some) for resource, some in left.items()]
        return {resource: some for resource, some in objects.items() if resource not in left}, gaps


def listing(api: KubeApi, also: Sequence[Resource] = ()) -> Listing:
    """With other resources of the index, which decide about no traffic here. Raises ApiError where nothing can be read
    at all."""
    found: dict[Resource, list[Object]] = {}
    gaps: list[Gap] = []
    asked = (*LISTED, *also)
    replies = api.get([collection(resource) for resource in asked])
    if all(reply.status != 200 for reply in replies):
        raise _refused(replies[0])
    served = dict(zip(asked, replies, strict=True))
    older = dict(_in_other_versions(api, [r for r, reply in served.items() if reply.status == 404]))
    served |= older
    for resource, reply in served.items():
        if reply.status == 200:
            found[resource] = _items(resource, reply)
        elif reply.status != 404:
            gaps.append(Gap(resource.group_resource, *_why(resource, reply)))
    gaps += without_kinds([resource for resource, reply in served.items() if reply.status == 404])
    installed = installation(found.get(POD, ()))
    if POD in found:
        gaps += incomplete(installed, found[POD])
    gaps += other_clusters(found.get(GATEWAY, ()))
    named = _authorities(found.get(BACKENDTLSPOLICY, ()))
    wanted = [installed.config, *(key for key in named if not unnameable(key.name))]
    config_maps: dict[Key, Object] = {}
    for key, reply in zip(wanted, api.get([path(CONFIGMAP, key) for key in wanted]), strict=True):
        if reply.status == 200:
            config_maps[key] = decoded(reply)
        elif reply.status != 404:
            gaps.append(Gap(f"ConfigMap {key}", *_why(CONFIGMAP, reply)))
        elif key == installed.config and installed.chosen is not None:
            why = f"there is none, so it is not known {_UNKNOWN[CONFIGMAP]}"
            gaps.append(Gap(f"ConfigMap {key}", why, (f"kubectl get configmaps -n {key.namespace}",)))
    found[CONFIGMAP] = list(config_maps.values())
    known = home(installed.config, config_maps.get(installed.config), installed.domain)
    return Listing(found, tuple(gaps), known, dict(unread(installed, older)))


_OTHER_SHAPE = frozenset({(BACKENDTLSPOLICY, "v1alpha2")})
"""Versions whose objects have other fields: until Gateway API 1.1 a `targetRef` and `tls`."""


def _in_other_versions(api: KubeApi, missing: Sequence[Resource]) -> Iterator[tuple[Resource, Reply]]:
    """Older clusters serve some kinds in versions of before, which say the same but for a few."""
    groups = sorted({resource.group for resource in missing if resource.group})
    versions = dict(zip(groups, map(_versions, api.get([f"/apis/{group}" for group in groups])), strict=True))
    tried = [
        (resource, replace(resource, version=version))
        for resource in missing
        for version in versions.get(resource.group, ())
        if version != resource.version and (resource, version) not in _OTHER_SHAPE
    ]
    for (resource, _), reply in zip(tried, api.get([collection(other) for _, other in tried]), strict=True):
        if reply.status != 404:
            yield resource, reply


def _versions(reply: Reply) -> list[str]:
    if reply.status != 200:
        return []
    return [version["version"] for version in reversed(decoded(reply).get("versions") or ())]


def _items(resource: Resource, reply: Reply) -> list[Object]:
    """Lists leave out of their items what is the same for all."""
    items: list[Object] = decoded(reply).get("items") or []
    for item in items:
        item["apiVersion"], item["kind"] = resource.api_version, resource.kind
    return items


def _authorities(policies: Iterable[Object]) -> Iterator[Key]:
    """ConfigMaps that BackendTLSPolicies name."""
    named: dict[Key, None] = {}
    for policy in policies:
        for ref in policy["spec"].get("validation", {}).get("caCertificateRefs") or ():
            if ref.get("kind") == CONFIGMAP.kind:
                named[Key(policy["metadata"]["namespace"], ref["name"])] = None
    yield from named


_UNKNOWN: Mapping[Resource, str] = {
    POD: "who is in the mesh, and which labels endpoints have",
    SERVICE: "which hosts there are",
    ENDPOINTSLICE: "what is behind Services",
    NAMESPACE: "what the labels of namespaces ask for",
    NODE: "which endpoints are near",
    GATEWAY: "which waypoints there are",
    GATEWAYCLASS: "which Gateways are waypoints",
    REFERENCEGRANT: "which routes may name what is in other namespaces",
    CONFIGMAP: "how the mesh is configured",
}


def _why(resource: Resource, reply: Reply) -> tuple[str, tuple[str, ...]]:
    """And what to type about it."""
    meant = f"so it is not known {found}" if (found := _UNKNOWN.get(resource)) else "and so not taken into account"
    if reply.status == 403:
        return f"not permitted, {meant}", ("kubectl auth can-i --list",)
    return f"the API answers {reply.status}, {meant}", ()


_KUBECTLS = "getting credentials: "
"""How kubectl's proxy begins to say that a credential plugin failed (client-go's exec authenticator)."""
_REFUSALS = {401: "does not know who asks", 403: "permits nothing of what is needed"}


def _refused(reply: Reply) -> ApiError:
    why = message(reply)
    if why.startswith(_KUBECTLS):
        # only the plugin's own words tell more, and kubectl shows them
        return ApiError(f"kubectl comes by no credentials: {why.removeprefix(_KUBECTLS)}", "kubectl get namespaces")
    what = _REFUSALS.get(reply.status, f"answers {reply.status}")
    return ApiError(f"the API {what}: {why}", "kubectl auth whoami", "docs/clusters.md has the ClusterRole it takes")
