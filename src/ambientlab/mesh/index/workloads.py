"""Pods and WorkloadEntries as workloads, and the waypoints that some of them serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ambientlab.api import objects
from ambientlab.api.kinds import GATEWAY_NAME_LABEL
from ambientlab.api.objects import Object, condition_holds
from ambientlab.api.workload_names import workload_names
from ambientlab.cluster import CLUSTER_ID, HBONE_PORT
from ambientlab.flow.collection import Collection, Context, Index
from ambientlab.mesh.index.meshconfig import trust_of
from ambientlab.mesh.index.values import Addresses
from ambientlab.mesh.index.waypoints import WaypointGateway, bind
from ambientlab.mesh.ir import Key, Protocol, Traffic, TrustDomains, Waypoint, Workload, takes_tunnels

REDIRECTION = "ambient.istio.io/redirection"
LOCALITY_LABELS = ("topology.istio.io/locality", "istio-locality")
_NODE_LABELS = (
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.istio.io/subzone",),
)


def workload(
    ctx: Context,
    key: Key,
    pod: Object,
    gateways: Collection[Key, WaypointGateway],
    namespaces: Collection[Key, Object],
    nodes: Collection[Key, str],
    trust: Collection[str, TrustDomains],
    *,
    at_node: bool = False,
) -> Mapping[Key, Workload]:
    """None for a pod without an address, or one that has ended. `nodes` is where they are. Pods `at_node` share its
    address, and so nothing can be sent to them as to workloads: they are apart from all others."""
    spec, ips = pod["spec"], objects.pod_ips(pod)
    if not ips or bool(spec.get("hostNetwork")) is not at_node or objects.has_ended(pod):
        return {}
    labels = objects.labels_of(pod)
    account = spec.get("serviceAccountName") or "default"
    names = workload_names(pod)
    return {
        key: Workload(
            uid=f"{CLUSTER_ID}//Pod/{key}",
            namespace=key.namespace,
            name=key.name,
            ip=ips[0],
            identity=trust_of(ctx, trust).identity(key.namespace, account),
            node=spec.get("nodeName", ""),
            protocol=Protocol.HBONE if speaks_hbone(pod) else Protocol.TCP,
            labels=tuple(sorted(labels.items())),
            waypoint=bind(ctx, pod, Traffic.WORKLOAD, gateways, namespaces).waypoint,
            ready=_ready(pod),
            workload_name=names.workload,
            canonical_name=names.service,
            canonical_revision=names.revision,
            locality=_own_locality(labels) or ctx.fetch(nodes, Key("", spec.get("nodeName", ""))) or "",
            second_ip=ips[1] if len(ips) > 1 else "",
        )
    }


def _own_locality(labels: Mapping[str, str]) -> str:
    """What a label of a pod says, in place of its node's. A label may hold no slash (pkg/model/proxy.go)."""
    text = next((labels[name] for name in LOCALITY_LABELS if name in labels), "")
    return text if "/" in text else text.replace(".", "/")


def node_locality(_: Context, key: Key, node: Object) -> Mapping[Key, str]:
    """Where a node is, as its labels have it (getPodLocality). None for one that does not say."""
    labels = objects.labels_of(node)
    parts = [next((labels[name] for name in names if name in labels), "") for names in _NODE_LABELS]
    return {key: "/".join(parts)} if any(parts) else {}


def speaks_hbone(obj: Object) -> bool:
    """Whether there is something at the object's addresses that takes tunnels."""
    return objects.annotations_of(obj).get(REDIRECTION) == "enabled" or takes_tunnels(objects.labels_of(obj))


def outside(
    obj: Object,
    spec: Mapping[str, Any],
    labels: Mapping[str, str],
    trust: TrustDomains,
    known: Addresses,
    waypoint: Key | None = None,
) -> Workload:
    """What the spec of a WorkloadEntry says, as part of the object `obj`. One that has a host name in place of an IP
    address has no tunnel: the name is resolved by whoever calls it."""
    key, address = Key(objects.namespace(obj), objects.name(obj)), spec.get("address") or ""
    ip = known.single(address) or ""
    names = workload_names(obj)
    part = "" if obj["kind"] == "WorkloadEntry" else f"/{address}"
    return Workload(
        uid=f"{CLUSTER_ID}/networking.istio.io/{obj['kind']}/{key}{part}",
        namespace=key.namespace,
        name=key.name,
        ip=ip,
        identity=trust.identity(key.namespace, spec.get("serviceAccount") or ""),
        node="",
        protocol=Protocol.HBONE if ip and speaks_hbone(obj) else Protocol.TCP,
        labels=tuple(sorted(labels.items())),
        waypoint=waypoint,
        ready=True,
        workload_name=names.workload,
        canonical_name=names.service,
        canonical_revision=names.revision,
        locality=spec.get("locality") or _own_locality(labels),
    )


def from_entry(
    ctx: Context,
    key: Key,
    entry: Object,
    gateways: Collection[Key, WaypointGateway],
    namespaces: Collection[Key, Object],
    trust: Collection[str, TrustDomains],
    known: Addresses,
) -> Mapping[Key, Workload]:
    """A WorkloadEntry. Labels of the object go before those in its spec (serviceentry/conversion.go)."""
    spec = entry["spec"]
    labels = {**(spec.get("labels") or {}), **objects.labels_of(entry)}
    waypoint = bind(ctx, entry, Traffic.WORKLOAD, gateways, namespaces).waypoint
    return {key: outside(entry, spec, labels, trust_of(ctx, trust), known, waypoint)}


def _ready(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and condition_holds(pod, "Ready")


def waypoint_of(key: Key, value: Workload) -> tuple[Key, ...]:
    """The waypoint a workload is an instance of."""
    name = dict(value.labels).get(GATEWAY_NAME_LABEL)
    return (Key(value.namespace, name),) if name else ()


def waypoint(
    ctx: Context, key: Key, gateway: WaypointGateway, instances: Index[Key, Key, Workload]
) -> Mapping[Key, Waypoint]:
    members = tuple(w for w in ctx.select(instances, key) if w.ready)
    return {key: Waypoint(key.namespace, key.name, gateway.traffic, gateway.addresses, HBONE_PORT, members)}
