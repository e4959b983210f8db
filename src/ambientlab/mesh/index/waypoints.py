"""Which waypoint a service or a workload uses.

The rules are Istio's (pilot/pkg/serviceregistry/ambient/waypoints.go): label `istio.io/use-waypoint` on the object,
else on its namespace; `none` opts out; a Gateway is a waypoint that can be used once its status names an address, and
only for objects from namespaces that its HBONE listener allows. A service may name a second waypoint, its canary, that
gets a share of the connections; one that cannot be used leaves all of them to the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ambientlab.api import objects, selectors
from ambientlab.api.endpoints import vips
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import GATEWAY_NAME_LABEL
from ambientlab.api.objects import Object
from ambientlab.api.selectors import LabelSelector
from ambientlab.cluster import HBONE_PORT
from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.values import service_host
from ambientlab.mesh.ir import Canary, Key, Traffic

USE_WAYPOINT = "istio.io/use-waypoint"
USE_WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace"
USE_CANARY = "istio.io/use-waypoint-canary"
USE_CANARY_NAMESPACE = "istio.io/use-waypoint-canary-namespace"
CANARY_WEIGHT = "istio.io/use-waypoint-canary-weight"
INGRESS_USE_WAYPOINT = "istio.io/ingress-use-waypoint"
WAYPOINT_FOR = "istio.io/waypoint-for"
CLIENT_IDENTITY = "ambient.istio.io/xfcc-include-client-identity"
MANAGED = "gateway.istio.io/managed"
GATEWAY_CONTROLLER_LABELS = ("istio.io-mesh-controller", "istio.io-eastwest-controller")


@dataclass(frozen=True, slots=True)
class WaypointGateway:
    """A Gateway that can be used as a waypoint. `admits` is its `allowedRoutes.namespaces` as JSON has it.

    `tells_clients` is whether applications are told who the client is (pilot/pkg/networking/core/listener_waypoint.go).

    `addresses` are those of the Service that its status names, or else the one that stands there: Istio prefers a name,
    which has addresses of both families, and goes by the first entry of a kind (getGatewayAddress).
    """

    key: Key
    traffic: Traffic
    addresses: tuple[str, ...]
    admits_from: str
    admits_selector: selectors.LabelSelector | None
    tells_clients: bool

    def admits(self, namespace: str, labels: Mapping[str, str]) -> bool:
        if self.admits_from == "All":
            return True
        if self.admits_from == "Selector":
            return self.admits_selector is not None and self.admits_selector.matches(labels)
        return self.key.namespace == namespace


@dataclass(frozen=True, slots=True)
class Binding:
    """The waypoint in use, or why there is none although one is asked for. `asked` is what the labels say.

    With a waypoint, `reason` and `message` are about its canary: why that one is not in use. `ingress` is whether
    gateways at the edge are asked to use the waypoint too, None where nothing is said of it. `declined` is why labels
    that name one are not followed, and `managed` whether that is because the object is what a waypoint is reached by.
    """

    waypoint: Key | None = None
    asked: Key | None = None
    reason: str = ""
    message: str = ""
    canary: Canary | None = None
    ingress: bool | None = None
    declined: str = ""
    managed: bool = False

    @property
    def waypoints(self) -> tuple[Key, ...]:
        """Those in front: the waypoint and its canary."""
        found = (self.waypoint, self.canary.waypoint if self.canary is not None else None)
        return tuple(key for key in found if key is not None)

    @property
    def why_none(self) -> str:
        return self.message or self.declined or f"no {USE_WAYPOINT} label on it or its namespace"


def gateway(
    ctx: Context,
    key: Key,
    obj: Object,
    classes: Collection[Key, Object],
    services: Collection[Key, Object],
    domain: str,
) -> Mapping[Key, WaypointGateway]:
    addresses = obj.get("status", {}).get("addresses") or []
    if not addresses:
        return {}
    ips = [a["value"] for a in addresses if a.get("type", "IPAddress") == "IPAddress"]
    hosts = [a["value"] for a in addresses if a.get("type") == "Hostname"]
    gateway_class = ctx.fetch(classes, Key("", obj["spec"].get("gatewayClassName", ""))) or {"metadata": {}}
    labels = {**objects.labels_of(gateway_class), **objects.labels_of(obj)}
    annotations = {**objects.annotations_of(gateway_class), **objects.annotations_of(obj)}
    traffic = labels.get(WAYPOINT_FOR, Traffic.SERVICE)
    namespaces = hbone_listener(obj).get("allowedRoutes", {}).get("namespaces", {})
    return {
        key: WaypointGateway(
            key,
            Traffic(traffic) if traffic in set(Traffic) else Traffic.NONE,
            _vips(ctx, key.namespace, hosts, services, domain) or ((ips or hosts)[0],),
            namespaces.get("from", "Same"),
            _selected(namespaces),
            annotations.get(CLIENT_IDENTITY, "").lower() == "true",
        )
    }


def _vips(
    ctx: Context, namespace: str, hosts: Sequence[str], services: Collection[Key, Object], domain: str
) -> tuple[str, ...]:
    """Of the Service beside the Gateway that the first of the hosts is; empty if there is none."""
    host = next(iter(hosts), "")
    key = Key(namespace, host.partition(".")[0])
    service = ctx.fetch(services, key) if host == service_host(key, domain) else None
    return () if service is None else tuple(vips(service))


def _selected(namespaces: Mapping[str, Any]) -> LabelSelector | None:
    """None if no namespace is: also of a selector that is none, which the Gateway's findings tell of."""
    try:
        return selectors.from_object(namespaces.get("selector"))
    except StatusError:
        return None


def controller(
    ctx: Context, key: Key, gateways: Collection[Key, Object], classes: Collection[Key, Object]
) -> str | None:
    """Who runs a Gateway: what its class names."""
    obj = ctx.fetch(gateways, key)
    return class_controller(ctx, obj["spec"].get("gatewayClassName", ""), classes) if obj is not None else None


def class_controller(ctx: Context, name: str, classes: Collection[Key, Object]) -> str | None:
    """What a GatewayClass names. None if there is no such class."""
    found = ctx.fetch(classes, Key("", name))
    return None if found is None else str(found["spec"].get("controllerName", ""))


def hbone_listener(obj: Object) -> dict[str, Any]:
    """The listener of a Gateway that says who may use it as a waypoint; empty if it has none."""
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
    """`wanted` is SERVICE for whatever declares a service, WORKLOAD for a Pod."""
    namespace, labels = objects.namespace(obj), objects.labels_of(obj)
    if labels.get(MANAGED) in GATEWAY_CONTROLLER_LABELS:
        return Binding(declined="it is what a Gateway is reached by", managed=True)
    if (
        wanted is Traffic.WORKLOAD
        and ctx.fetch(gateways, Key(namespace, labels.get(GATEWAY_NAME_LABEL, ""))) is not None
    ):
        return Binding()  # an instance of a waypoint, whoever deployed it
    home = ctx.fetch(namespaces, Key("", namespace)) or {"metadata": {}}
    own = asked_for(labels, namespace)
    asked = own or asked_for(objects.labels_of(home), namespace)
    if not isinstance(asked, Key):
        where = "it" if own else "its namespace"
        return Binding(declined=f"label {USE_WAYPOINT}=none on {where}" if asked else "")
    attaching = _Attaching(ctx, namespace, home, wanted, gateways)
    bound = attaching.attach(asked)
    if bound.waypoint is None or wanted is Traffic.WORKLOAD:
        return bound
    bound = replace(bound, ingress=_ingress([obj, home]))
    # what the namespace says of a canary goes with the namespace's waypoint only
    return _with_canary(bound, attaching, [obj] if own else [obj, home])


@dataclass(frozen=True, slots=True)
class _Attaching:
    """An object of `namespace` that asks for waypoints; `home` is the Namespace."""

    ctx: Context
    namespace: str
    home: Object
    wanted: Traffic
    gateways: Collection[Key, WaypointGateway]

    def attach(self, asked: Key) -> Binding:
        found = self.ctx.fetch(self.gateways, asked)
        if found is None:
            return Binding(None, asked, "WaypointIsNotReady", f'waypoint "{asked}" is not ready')
        labels = {"kubernetes.io/metadata.name": self.namespace, **objects.labels_of(self.home)}
        if not found.admits(self.namespace, labels):
            return Binding(
                None,
                asked,
                "AttachmentDenied",
                f'we are not permitted to attach to waypoint "{asked}" (missing allowedRoutes?)',
            )
        if found.traffic not in (self.wanted, Traffic.ALL):
            return Binding(
                None,
                asked,
                "UnsupportedTrafficType",
                f'attempting to bind to traffic type "{self.wanted}" which the waypoint "{asked}" does not support',
            )
        return Binding(asked, asked)


def _with_canary(bound: Binding, attaching: _Attaching, levels: Sequence[Object]) -> Binding:
    """`levels` are the objects whose labels and annotations count, the nearest first (buildWeightedWaypoints)."""
    labels = next((found for level in levels if USE_CANARY in (found := objects.labels_of(level))), {})
    name = labels.get(USE_CANARY)
    if not name or name == "none":
        return bound
    asked = Key(labels.get(USE_CANARY_NAMESPACE, attaching.namespace), name)
    if asked == bound.waypoint:
        message = f'canary waypoint "{asked}" must differ from the primary waypoint'
        return replace(bound, reason="CanarySameAsPrimary", message=message)
    weights = (found[CANARY_WEIGHT] for level in levels if CANARY_WEIGHT in (found := objects.annotations_of(level)))
    percent = _percent(next(weights, "0"))
    if percent is None:
        message = f'canary waypoint "{asked}" has an invalid weight; must be an integer in [0,100]'
        return replace(bound, reason="CanaryInvalidWeight", message=message)
    canary = attaching.attach(asked)
    if canary.waypoint is None:
        return replace(bound, reason=canary.reason, message=canary.message)
    return replace(bound, canary=Canary(canary.waypoint, percent))


def _percent(text: str) -> int | None:
    """As strconv.Atoi reads it: a sign is allowed, spaces and underscores are not."""
    number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else -1
    return number if 0 <= number <= 100 else None


def _ingress(levels: Sequence[Object]) -> bool | None:
    """The nearest level that says something decides (ingressUseWaypointFromLabels); strconv.ParseBool knows these."""
    said = (objects.labels_of(level).get(INGRESS_USE_WAYPOINT) for level in levels)
    value = next((value for value in said if value is not None), None)
    return None if value is None else value in ("1", "t", "T", "true", "TRUE", "True")
