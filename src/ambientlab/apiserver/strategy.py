"""What a kind keeps and drops when it is created and updated (k8s.io/kubernetes pkg/registry/*/strategy.go).

A subresource writes its own part of an object, everything else keeps what is stored; and only a change of what is
wanted makes a new generation.
"""

from __future__ import annotations

from typing import Any

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource

# Built-in kinds that count generations; custom resources all do.
_COUNTED = frozenset({"Deployment", "ReplicaSet", "DaemonSet", "Pod", "EndpointSlice", "CustomResourceDefinition"})
_CORE_GROUPS = frozenset(resource.group for resource in kinds.CORE)
_UNWANTED = ("apiVersion", "kind", "metadata")


def is_custom(resource: Resource) -> bool:
    return resource.group not in _CORE_GROUPS


def counts_generations(resource: Resource) -> bool:
    return is_custom(resource) or resource.kind in _COUNTED


def has_status(resource: Resource) -> bool:
    return "status" in resource.subresources


def on_create(resource: Resource, obj: Object) -> None:
    """Drop what only controllers may say, in place; nodes register with their status."""
    if counts_generations(resource):
        obj["metadata"]["generation"] = 1
    else:
        obj["metadata"].pop("generation", None)
    if has_status(resource) and resource.kind != "Node":
        obj.pop("status", None)
    match resource.kind if not is_custom(resource) else "":
        case "Pod":
            obj.setdefault("spec", {})
            obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        case "Service":
            obj.setdefault("spec", {})
            obj["status"] = {"loadBalancer": {}}
        case "PersistentVolumeClaim":
            obj["status"] = {"phase": "Pending"}
        case "Namespace":
            obj["status"] = {"phase": "Active"}
            obj["spec"] = {"finalizers": ["kubernetes"]}
        case "Deployment" | "ReplicaSet" | "DaemonSet":
            obj["status"] = {"replicas": 0} if resource.kind == "ReplicaSet" else _empty_status(resource.kind)


def _empty_status(kind: str) -> dict[str, int]:
    if kind != "DaemonSet":
        return {}
    counters = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    return dict.fromkeys(counters, 0)


def on_update(resource: Resource, obj: Object, old: Object, subresource: str) -> Object:
    """`obj` with everything the endpoint does not write taken from `old`."""
    match subresource:
        case "status":
            # A custom resource's status endpoint leaves metadata alone; built-in kinds let it pass.
            kept = {**old["metadata"]} if is_custom(resource) else {**obj["metadata"]}
            for name in ("managedFields", "resourceVersion"):
                _keep(kept, name, obj["metadata"].get(name))
            return _keep({**old, "metadata": kept}, "status", obj.get("status"))
        case "finalize":
            spec = {**old.get("spec", {}), "finalizers": (obj.get("spec") or {}).get("finalizers") or []}
            return {**old, "metadata": obj["metadata"], "spec": spec}
        case "ephemeralcontainers":
            spec = _keep({**old["spec"]}, "ephemeralContainers", obj["spec"].get("ephemeralContainers"))
            return {**old, "metadata": {**old["metadata"]}, "spec": spec}
    if resource == kinds.NAMESPACE:
        return {**obj, "spec": old.get("spec", {}), "status": old.get("status", {})}
    return _keep({**obj}, "status", old.get("status")) if has_status(resource) else obj


def _keep(target: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    if value is None:
        target.pop(name, None)
    else:
        target[name] = value
    return target


def wants_something_else(resource: Resource, obj: Object, old: Object) -> bool:
    """Whether going from `old` to `obj` makes a new generation."""
    if not counts_generations(resource):
        return False
    if resource.kind == "EndpointSlice" and not is_custom(resource):
        return any(obj.get(name) != old.get(name) for name in ("endpoints", "ports", "addressType"))
    if not is_custom(resource):
        return bool(obj.get("spec") != old.get("spec"))
    ignored = (*_UNWANTED, "status") if has_status(resource) else _UNWANTED
    return {k: v for k, v in obj.items() if k not in ignored} != {k: v for k, v in old.items() if k not in ignored}


def qos_class(spec: Object) -> str:
    """kubernetes.io/docs/concepts/workloads/pods/pod-qos."""
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    resources = [container.get("resources") or {} for container in containers]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for r in resources:
        limits = r.get("limits") or {}
        requests = {**limits, **(r.get("requests") or {})}
        if any(name not in limits or requests.get(name) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"
