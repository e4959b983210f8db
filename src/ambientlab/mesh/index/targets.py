"""What a policy is attached to, and where that leads.

A waypoint asks of each policy whether it names the waypoint's Gateway, the class of waypoints or the service that a
request is for (pilot/pkg/model/policyattachment.go, ShouldAttachPolicy): a service and a Gateway in the policy's own
namespace, the class in the root namespace. Labels of workloads mean nothing to a waypoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ambientlab.api.kinds import GATEWAY_GROUP, ISTIO_NETWORKING
from ambientlab.api.objects import Object
from ambientlab.cluster import MESH_CONTROLLER, WAYPOINT_CLASS
from ambientlab.mesh.ir import Key


class Target(NamedTuple):
    """An object that a policy names. The core group is ""; a GatewayClass has the policy's namespace in its key."""

    group: str
    kind: str
    key: Key

    def __str__(self) -> str:
        return f"{self.kind}.{self.group or 'core'}:{self.key}"


def every_waypoint(root: str) -> Target:
    """What a policy of the root namespace names that is for all of them."""
    return Target(GATEWAY_GROUP, "GatewayClass", Key(root, WAYPOINT_CLASS))


def targets(obj: Object) -> tuple[Target, ...]:
    spec = obj.get("spec") or {}
    named = spec.get("targetRefs") or ([spec["targetRef"]] if "targetRef" in spec else [])
    namespace = obj["metadata"].get("namespace", "")
    return tuple(
        Target("" if t.get("group") == "core" else t.get("group", ""), t["kind"], Key(namespace, t["name"]))
        for t in named
    )


def gateway(key: Key) -> Target:
    return Target(GATEWAY_GROUP, "Gateway", key)


def service(kind: str, key: Key) -> Target:
    """`kind` is of the object that declares the service."""
    return Target(ISTIO_NETWORKING if kind == "ServiceEntry" else "", kind, key)


@dataclass(frozen=True, slots=True)
class Attachment:
    """Whether a target leads to a waypoint, in the words of Istio's status."""

    target: Target
    bound: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where targets lead. Each function answers None for an object that is not there.

    `waypoint` answers whether there is a waypoint of that name; `service` and `service_entry` which waypoint one is
    bound to, "" for none; `controller` which controller a GatewayClass is of. `root` is the root namespace.
    """

    waypoint: Callable[[Key], bool]
    service: Callable[[Key], Key | str | None]
    service_entry: Callable[[Key], Key | str | None]
    controller: Callable[[str], str | None]
    root: str

    def attach(self, target: Target) -> Attachment:
        """WaypointPolicyStatusCollection (pilot/pkg/serviceregistry/kube/controller/ambient/policies.go)."""
        match target.kind:
            case "GatewayClass":
                return self._class(target)
            case "Gateway":
                found: Key | str | None = target.key if self.waypoint(target.key) else None
                missing = "not bound"
            case "Service":
                found, missing = self.service(target.key), f"Service {target.key} was not found"
            case "ServiceEntry":
                found, missing = self.service_entry(target.key), f"ServiceEntry {target.key} was not found"
            case _:
                return Attachment(target, False, "unknown", "not bound")
        if found is None:
            return Attachment(target, False, "TargetNotFound", missing)
        if not found:
            message = f"{target.kind} {target.key} is not bound to a waypoint"
            return Attachment(target, False, "AncestorNotBound", message)
        return Attachment(target, True, "Accepted", f"bound to {found}")

    def _class(self, target: Target) -> Attachment:
        if target.key.namespace != self.root:
            message = f"AuthorizationPolicy must be in the root namespace `{self.root}` when referencing a GatewayClass"
            return Attachment(target, False, "Invalid", message)
        controller = self.controller(target.key.name)
        if controller is None:
            return Attachment(target, False, "TargetNotFound", "not bound")
        if controller != MESH_CONTROLLER:
            message = f"GatewayClass must use controller name `{MESH_CONTROLLER}` for waypoints"
            return Attachment(target, False, "Invalid", message)
        return Attachment(target, True, "Accepted", f"bound to {target.key.name}")
