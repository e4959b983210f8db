"""What of Istio a cluster has installed, as pods tell, and what its being incomplete means.

Pods are known by the labels that Istio's charts give them, in whatever namespace they are and whatever made them:
`app: istiod` with `istio.io/rev` (manifests/charts/istio-control/istio-discovery), `app: ztunnel` with an annotation of
its revision (manifests/charts/ztunnel), `k8s-app: istio-cni-node` (manifests/charts/istio-cni).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ambientlab.api.kinds import BACKENDTLSPOLICY, GATEWAY, GRPCROUTE, TCPROUTE, TLSROUTE, VIRTUALSERVICE
from ambientlab.api.objects import Object, annotations_of, condition_holds, labels_of
from ambientlab.api.objects import name as name_of
from ambientlab.api.objects import namespace as namespace_of
from ambientlab.api.resources import Resource
from ambientlab.cluster import DOMAIN, ROOT_NAMESPACE
from ambientlab.mesh.index.workloads import REDIRECTION
from ambientlab.mesh.ir import Key

OLDEST = (1, 24)
"""The first version in which ambient mode is stable, and what is known here of it holds."""

_V1_ALONE: Mapping[Resource, tuple[tuple[int, int], str]] = {
    GRPCROUTE: (OLDEST, "1.1"),
    BACKENDTLSPOLICY: ((1, 28), "1.4"),
    TLSROUTE: ((1, 30), "1.5"),
    TCPROUTE: ((1, 31), "1.6"),
}
"""Since when Istio passes over these where the cluster has them in versions before v1 only, and the first Gateway API
that has v1 of them (pkg/config/schema/gatewayapi/minimumversions.go, pkg/kube/kclient/crdwatcher.go and their history;
release notes of 1.28 and 1.30)."""

_REVISION = "istio.io/rev"
_DEFAULT = "default"
_GATEWAY_API = "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.0/standard-install.yaml"
_EAST_WEST = "istio-east-west"
"""The GatewayClass of gateways between clusters (pkg/config/constants)."""
_ISTIOD = "discovery"
"""What the chart calls its container."""
_DOMAIN_ARGUMENT = re.compile(r"--domain[= ](\S+)")
_VERSION = re.compile(r":(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Gap:
    """What was not seen, why, and what to type about it."""

    what: str
    why: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The istiod of one revision. `version` is that of its image, empty where a tag tells none; `domain` is the
    cluster's, which it is told by an argument (templates/deployment.yaml)."""

    namespace: str
    revision: str
    ready: bool
    version: tuple[int, ...]
    domain: str

    @property
    def config(self) -> Key:
        """Its ConfigMap (manifests/charts/istio-control/istio-discovery/templates/configmap.yaml)."""
        return Key(self.namespace, "istio" if self.revision == _DEFAULT else f"istio-{self.revision}")

    def __str__(self) -> str:
        return f"revision {self.revision} in {self.namespace}"


@dataclass(frozen=True, slots=True)
class Installation:
    """`planes` are in the order of their namespaces and revisions, `chosen` is the one that ztunnel asks."""

    planes: tuple[ControlPlane, ...]
    chosen: ControlPlane | None
    ztunnels: tuple[Object, ...]
    nodes: tuple[Object, ...]
    """Pods of istio-cni."""

    @property
    def config(self) -> Key:
        return self.chosen.config if self.chosen is not None else Key(ROOT_NAMESPACE, "istio")

    @property
    def domain(self) -> str:
        return self.chosen.domain if self.chosen is not None else DOMAIN


def installation(pods: Iterable[Object]) -> Installation:
    istiods: dict[tuple[str, str], list[Object]] = {}
    ztunnels, nodes = [], []
    for pod in pods:
        labels = labels_of(pod)
        if labels.get("app") == "istiod":
            where = pod["metadata"].get("namespace", ""), labels.get(_REVISION) or _DEFAULT
            istiods.setdefault(where, []).append(pod)
        elif labels.get("app") == "ztunnel":
            ztunnels.append(pod)
        elif labels.get("k8s-app") == "istio-cni-node":
            nodes.append(pod)
    planes = tuple(_plane(*where, found) for where, found in sorted(istiods.items()))
    return Installation(planes, _chosen(planes, ztunnels), tuple(ztunnels), tuple(nodes))


def _plane(namespace: str, revision: str, pods: Sequence[Object]) -> ControlPlane:
    every = [container for pod in pods for container in pod["spec"].get("containers") or ()]
    # others may have been put beside it
    containers = [container for container in every if container.get("name") == _ISTIOD] or every
    found = (_VERSION.search(container.get("image", "")) for container in containers)
    versions = [tuple(map(int, match.groups())) for match in found if match is not None]
    said = " ".join(argument for container in containers for argument in container.get("args") or ())
    domain = match[1] if (match := _DOMAIN_ARGUMENT.search(said)) else DOMAIN
    ready = any(condition_holds(pod, "Ready") for pod in pods)
    return ControlPlane(namespace, revision, ready, min(versions, default=()), domain)


def _chosen(planes: Sequence[ControlPlane], ztunnels: Sequence[Object]) -> ControlPlane | None:
    wanted = {annotations_of(pod).get(_REVISION) or _DEFAULT for pod in ztunnels}
    return min(planes, key=lambda plane: (plane.revision not in wanted, plane.revision != _DEFAULT), default=None)


def without_kinds(absent: Collection[Resource]) -> Iterator[Gap]:
    """About kinds that the cluster does not know. That some are missing means no more than that there is no object of
    theirs; without these there is half of an Istio."""
    if GATEWAY in absent:
        install = f"kubectl apply --server-side -f {_GATEWAY_API}"
        yield Gap("Gateway API", "the cluster does not have its kinds, and so no waypoint", (install,))
    if VIRTUALSERVICE in absent:
        yield Gap("Istio's kinds", "the cluster does not have them", ("istioctl install --set profile=ambient",))


def unread(found: Installation, older: Iterable[Resource]) -> Iterator[tuple[Resource, str]]:
    """Of the kinds that a cluster has in `older` versions only, those that this Istio does not process, and why: as its
    own analyzer says in IST0176. An Istio whose version is not known is taken to read what there is."""
    version = found.chosen.version if found.chosen is not None else ()
    for resource in older:
        since, gateway_api = _V1_ALONE.get(resource, ((), ""))
        if since and version >= since:
            own = ".".join(map(str, version))
            why = (
                f"Istio {own} processes none, since the cluster has no v1 of the kind, which comes with Gateway API "
                f"{gateway_api} (IST0176)"
            )
            yield resource, why


def without_effect(resource: Resource, why: str, some: Iterable[Object]) -> Gap:
    """About objects of a kind that is not processed."""
    names = _some([f"{namespace_of(obj)}/{name_of(obj)}" for obj in some])
    install = f"kubectl apply --server-side -f {_GATEWAY_API}"
    return Gap(f"{resource.kind}s", f"{why}: no effect of {names}", (install,))


def other_clusters(gateways: Iterable[Object]) -> Iterator[Gap]:
    """What istiod knows of them it reads from their APIs."""
    between = [gateway for gateway in gateways if gateway["spec"].get("gatewayClassName") == _EAST_WEST]
    for gateway in between[:1]:
        name, namespace = (gateway["metadata"][field] for field in ("name", "namespace"))
        why = f"Gateway {namespace}/{name} leads there, and endpoints that they have are not known here"
        yield Gap("other clusters", why, ("istioctl remote-clusters",))


def incomplete(found: Installation, pods: Iterable[Object]) -> Iterator[Gap]:
    """What pods do not do that they would in a mesh."""
    yield from _control_plane(found)
    if not found.ztunnels:
        why = "no pod has the label app=ztunnel, so nothing carries what is captured"
        yield Gap("ztunnel", why, ("kubectl get daemonsets -A -l app=ztunnel",))
    else:
        yield from _not_ready("ztunnel", "app=ztunnel", found.ztunnels, pods)
    if not found.nodes:
        why = "no pod has the label k8s-app=istio-cni-node, so no pod is put into the mesh"
        yield Gap("istio-cni", why, ("kubectl get daemonsets -A -l k8s-app=istio-cni-node",))


def _control_plane(found: Installation) -> Iterator[Gap]:
    look = ("kubectl get pods -A -l app=istiod",)
    if found.chosen is None:
        yield Gap("istiod", "no pod has the label app=istiod, so nothing tells proxies of changes", look)
        return
    if not found.chosen.ready:
        yield Gap("istiod", f"no pod of {found.chosen} is Ready, so proxies go on with what they know", look)
    if len(found.planes) > 1:
        others = ", ".join(str(plane) for plane in found.planes if plane != found.chosen)
        yield Gap("istiod", f"there are several; {found.chosen} is taken for ztunnel's, not {others}", look)
    if found.chosen.version and found.chosen.version < OLDEST:
        own, oldest = (".".join(map(str, version)) for version in (found.chosen.version, OLDEST))
        yield Gap("istiod", f"it is {own}; what is said here is true of {oldest} and newer", ("istioctl version",))


def _not_ready(name: str, selector: str, proxies: Iterable[Object], pods: Iterable[Object]) -> Iterator[Gap]:
    """On nodes where pods are captured."""
    served = {pod["spec"].get("nodeName") for pod in proxies if condition_holds(pod, "Ready")}
    needed = {pod["spec"].get("nodeName") for pod in pods if annotations_of(pod).get(REDIRECTION) == "enabled"}
    if missing := sorted(node for node in needed - served if node):
        why = f"not Ready on {_some(missing)}, where pods are captured: nothing carries what they send"
        yield Gap(name, why, (f"kubectl get pods -A -o wide -l {selector}",))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
