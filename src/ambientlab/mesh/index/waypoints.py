"""Which waypoint a service or a workload uses.

The rules are Istio's (pilot/pkg/serviceregistry/kube/controller/ambient/waypoints.go): label `istio.io/use-waypoint` on
the object, else on its namespace; `none` opts out; a Gateway is a waypoint that can be used once its status names an
address, and only for objects from namespaces that its HBONE listener allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ambientlab.api import objects, selectors
from ambientlab.api.objects import Object
from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.ir import Key, Traffic

USE_WAYPOINT = "istio.io/use-waypoint"
USE_WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace"
WAYPOINT_FOR = "istio.io/waypoint-for"
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
MANAGED = "gateway.istio.io/managed"
MESH_CONTROLLER_LABEL = "istio.io-mesh-controller"
HBONE_PORT = 15008


@dataclass(frozen=True, slots=True)
class WaypointGateway:
    """A Gateway that can be used as a waypoint. `admits` is its `allowedRoutes.namespaces` as JSON has it."""

    key: Key
    traffic: Traffic
    address: str
    admits_from: str
    admits_selector: selectors.LabelSelector | None

    def admits(self, namespace: str, labels: Mapping[str, str]) -> bool:
        if self.admits_from == "All":
            return True
        if self.admits_from == "Selector":
            return self.admits_selector is not None and self.admits_selector.matches(labels)
        return self.key.namespace == namespace


@dataclass(frozen=True, slots=True)
class Binding:
    """The waypoint in use, or why there is none although one is asked for. `asked` is what the labels say."""

    waypoint: Key | None = None
    asked: Key | None = None
    reason: str = ""
    message: str = ""


def gateway(ctx: Context, key: Key, obj: Object, classes: Collection[Key, Object]) -> Mapping[Key, WaypointGateway]:
    addresses = obj.get("status", {}).get("addresses") or []
    if not addresses:
        return {}
    ips = [a["value"] for a in addresses if a.get("type", "IPAddress") == "IPAddress"]
    hosts = [a["value"] for a in addresses if a.get("type") == "Hostname"]
    gateway_class = ctx.fetch(classes, Key("", obj["spec"].get("gatewayClassName", ""))) or {"metadata": {}}
    labels = {**objects.labels_of(gateway_class), **objects.labels_of(obj)}
    traffic = labels.get(WAYPOINT_FOR, Traffic.SERVICE)
    namespaces = _hbone_listener(obj).get("allowedRoutes", {}).get("namespaces", {})
    return {
        key: WaypointGateway(
            key,
            Traffic(traffic) if traffic in set(Traffic) else Traffic.NONE,
            (ips or hosts)[0],
            namespaces.get("from", "Same"),
            selectors.from_object(namespaces["selector"]) if namespaces.get("selector") else None,
        )
    }


def _hbone_listener(obj: Object) -> dict[str, Any]:
    for listener in obj["spec"].get("listeners") or []:
        if listener.get("protocol") == "HBONE" and listener.get("port") == HBONE_PORT:
            found: dict[str, Any] = listener
            return found
    return {}


def asked_for(labels: Mapping[str, str], namespace: str) -> Key | str | None:
    """What one object's labels ask for: a waypoint, "none", or nothing at all. `namespace` completes the reference."""
    name = labels.get(USE_WAYPOINT)
    if name is None:
        return None
    if name == "none":
        return "none"
    return Key(labels.get(USE_WAYPOINT_NAMESPACE, namespace), name)


def bind(
    ctx: Context,
    obj: Object,
    wanted: Traffic,
    gateways: Collection[Key, WaypointGateway],
    namespaces: Collection[Key, Object],
) -> Binding:
    """`wanted` is SERVICE for a Service, WORKLOAD for a Pod."""
    if objects.labels_of(obj).get(MANAGED) == MESH_CONTROLLER_LABEL:
        return Binding()
    namespace = objects.namespace(obj)
    home = ctx.fetch(namespaces, Key("", namespace)) or {"metadata": {}}
    asked = asked_for(objects.labels_of(obj), namespace) or asked_for(objects.labels_of(home), namespace)
    if not isinstance(asked, Key):
        return Binding()
    found = ctx.fetch(gateways, asked)
    if found is None:
        return Binding(None, asked, "WaypointIsNotReady", f'waypoint "{asked}" is not ready')
    if not found.admits(namespace, {"kubernetes.io/metadata.name": namespace, **objects.labels_of(home)}):
        return Binding(
            None,
            asked,
            "AttachmentDenied",
            f'we are not permitted to attach to waypoint "{asked}" (missing allowedRoutes?)',
        )
    if found.traffic not in (wanted, Traffic.ALL):
        return Binding(
            None,
            asked,
            "UnsupportedTrafficType",
            f'attempting to bind to traffic type "{wanted}" which the waypoint "{asked}" does not support',
        )
    return Binding(asked, asked)
