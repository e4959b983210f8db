"""A cluster as it would be with objects of files in it.

The objects are laid over those of their names as `kubectl apply` lays them: what only the cluster knows of an object
stays. What follows from them is foreseen so far as it decides about traffic, as controllers will make it of what has
nothing of the kind yet: pods of workloads, ready and with addresses, endpoints of Services, a waypoint for a Gateway,
and who is in the mesh where a label says so newly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ambientlab.api import objects
from ambientlab.api.kinds import (
    ENDPOINTSLICE,
    GATEWAY,
    GATEWAY_NAME_LABEL,
    GATEWAYCLASS,
    NAMESPACE,
    POD,
    SERVICE,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cluster import MESH_CONTROLLER, WAYPOINT_CLASS
from ambientlab.mesh.enrolment import is_ambient, should_capture
from ambientlab.mesh.index.services import SERVICE_NAME
from ambientlab.mesh.index.workloads import REDIRECTION
from ambientlab.mesh.ir import Key

Listed = Mapping[Resource, Sequence[Object]]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_ADDRESSES = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


def foreseen(live: Listed, files: Listed, workloads: Iterable[Object] = ()) -> dict[Resource, list[Object]]:
    """`workloads` are Deployments and the like among the files: whatever has a template for pods."""
    return _Foreseen(live, files).with_workloads(workloads)


class _Foreseen:
    def __init__(self, live: Listed, files: Listed) -> None:
        self._objects = {resource: {_key(obj): obj for obj in some} for resource, some in live.items()}
        self._made: set[Key] = set()
        self._before = dict(self._objects.get(NAMESPACE, {}))
        self._written = {resource: {_key(obj) for obj in some} for resource, some in files.items()}
        self._addresses = (f"240.0.{n // 250}.{n % 250 + 1}" for n in range(62_500))
        for resource, some in files.items():
            kept = self._objects.setdefault(resource, {})
            for obj in some:
                kept[_key(obj)] = _applied(kept.get(_key(obj)), obj)

    def with_workloads(self, workloads: Iterable[Object]) -> dict[Resource, list[Object]]:
        pods = self._objects.setdefault(POD, {})
        before = dict(pods)
        for workload in workloads:
            if not any(_runs(workload, pod) for pod in pods.values()):
                self._run(Key(objects.namespace(workload), f"{objects.name(workload)}-0"), _template(workload))
        for key in self._written.get(GATEWAY, ()):
            self._deploy(key)
        for key in self._written.get(POD, ()):
            if not (pods[key].get("status") or {}).get("podIP"):
                self._run(key, pods[key])
        self._enrol()
        self._expose({key for key, pod in pods.items() if before.get(key) is not pod})
        return {resource: list(some.values()) for resource, some in self._objects.items()}

    def _run(self, key: Key, template: Object) -> None:
        """A pod that is ready."""
        meta = {**(template.get("metadata") or {}), "name": key.name, "namespace": key.namespace}
        status = {
            "phase": "Running",
            "podIP": next(self._addresses),
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        spec = template.get("spec") or {}
        self._made.add(key)
        self._objects[POD][key] = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}

    def _deploy(self, key: Key) -> None:
        """What runs a waypoint's Gateway."""
        gateway = self._objects[GATEWAY][key]
        if gateway["spec"].get("gatewayClassName") != WAYPOINT_CLASS:
            return
        classes = self._objects.setdefault(GATEWAYCLASS, {})
        classes.setdefault(Key("", WAYPOINT_CLASS), _waypoint_class())
        status = gateway.get("status") or {}
        if "addresses" not in status:
            address = {"type": "IPAddress", "value": next(self._addresses)}
            self._objects[GATEWAY][key] = {**gateway, "status": {**status, "addresses": [address]}}
            labels = {GATEWAY_NAME_LABEL: key.name, "istio.io/dataplane-mode": "none"}
            account = {"serviceAccountName": key.name}
            self._run(Key(key.namespace, f"{key.name}-0"), {"metadata": {"labels": labels}, "spec": account})

    def _enrol(self) -> None:
        """Pods that are new, and those that labels of files are about."""
        namespaces = self._objects.get(NAMESPACE, {})
        written = self._written.get(NAMESPACE, ())
        relabelled = {k.name for k in written if is_ambient(self._before.get(k)) != is_ambient(namespaces[k])}
        for key, pod in self._objects[POD].items():
            if key in self._written.get(POD, ()) or key.namespace in relabelled or key in self._made:
                annotations = {k: v for k, v in objects.annotations_of(pod).items() if k != REDIRECTION}
                if should_capture(pod, namespaces.get(Key("", key.namespace))):
                    annotations[REDIRECTION] = "enabled"
                self._objects[POD][key] = {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}

    def _expose(self, changed: set[Key]) -> None:
        """Services get addresses; and endpoints anew if they, or pods that they may select, are of files."""
        services = self._objects.get(SERVICE, {})
        where = {key.namespace for key in changed}
        for key, service in list(services.items()):
            spec = service["spec"]
            if spec.get("type") == "ExternalName":
                continue
            if "clusterIP" not in spec:
                address = next(self._addresses)
                services[key] = {**service, "spec": {**spec, "clusterIP": address, "clusterIPs": [address]}}
            if spec.get("selector") and (key in self._written.get(SERVICE, ()) or key.namespace in where):
                self._endpoints(key, services[key])

    def _endpoints(self, key: Key, service: Object) -> None:
        slices = self._objects.setdefault(ENDPOINTSLICE, {})
        for old, found in list(slices.items()):
            if old.namespace == key.namespace and objects.labels_of(found).get(SERVICE_NAME) == key.name:
                del slices[old]
        pods = [
            pod
            for of, pod in self._objects[POD].items()
            if of.namespace == key.namespace and _selects(service["spec"]["selector"], objects.labels_of(pod))
        ]
        # a port by its name may be another number in every pod
        by_ports: dict[str, tuple[list[Object], list[Object]]] = {}
        for pod in pods:
            ports = [_port(port, pod) for port in service["spec"].get("ports") or ()]
            by_ports.setdefault(json.dumps(ports), (ports, []))[1].append(pod)
        for number, (ports, some) in enumerate(by_ports.values()):
            of = Key(key.namespace, f"{key.name}-{number}")
            slices[of] = {
                "apiVersion": ENDPOINTSLICE.api_version,
                "kind": ENDPOINTSLICE.kind,
                "metadata": {"name": of.name, "namespace": of.namespace, "labels": {SERVICE_NAME: key.name}},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [endpoint for pod in some for endpoint in _endpoint(pod)],
            }


def _key(obj: Object) -> Key:
    return Key(objects.namespace(obj), objects.name(obj))


def _applied(live: Object | None, written: Object) -> Object:
    """As kubectl merges: of labels and annotations stay those that somebody else set."""
    if live is None:
        return written
    meta = {**live["metadata"], **written["metadata"]}
    last = _last_applied(live)
    for name in ("labels", "annotations"):
        taken_back = last.get(name) or {}
        kept = {k: v for k, v in (live["metadata"].get(name) or {}).items() if k not in taken_back}
        meta[name] = {**kept, **(written["metadata"].get(name) or {})}
    result = {**written, "metadata": meta}
    if "status" in live:
        result.setdefault("status", live["status"])
    if written["kind"] in ("Service", "Pod") and "spec" in live:
        # of a Service its addresses, of a Pod all that is decided when it starts
        theirs = _ADDRESSES if written["kind"] == "Service" else tuple(live["spec"])
        kept = {name: live["spec"][name] for name in theirs if name in live["spec"]}
        result["spec"] = {**kept, **written.get("spec", {})}
    return result


def _last_applied(live: Object) -> dict[str, Any]:
    try:
        found = json.loads(objects.annotations_of(live).get(_LAST_APPLIED, "{}"))
        meta: dict[str, Any] = found.get("metadata") or {}
    except (json.JSONDecodeError, AttributeError):
        return {}
    return meta


def _template(workload: Object) -> Object:
    spec = workload.get("spec") or {}
    template: Object = spec.get("template") or {}
    return template


def _runs(workload: Object, pod: Object) -> bool:
    """Whether a pod is one of a workload's."""
    labels = (_template(workload).get("metadata") or {}).get("labels") or {}
    same = objects.namespace(pod) == objects.namespace(workload)
    return same and bool(labels) and _selects(labels, objects.labels_of(pod))


def _selects(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return wanted.items() <= labels.items()


def _port(port: Object, pod: Object) -> Object:
    target = port.get("targetPort", port["port"])
    if isinstance(target, str):
        target = next((p["containerPort"] for p in _container_ports(pod) if p.get("name") == target), port["port"])
    return {"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")}


def _container_ports(pod: Object) -> Iterator[Object]:
    for container in pod["spec"].get("containers") or ():
        yield from container.get("ports") or ()


def _endpoint(pod: Object) -> Iterator[Object]:
    status = pod.get("status") or {}
    if status.get("podIP") and status.get("phase") not in ("Succeeded", "Failed"):
        ready = objects.condition_holds(pod, "Ready")
        yield {"addresses": [status["podIP"]], "conditions": {"ready": ready}}


def _waypoint_class() -> Object:
    """Istio makes it when it starts."""
    return {
        "apiVersion": GATEWAYCLASS.api_version,
        "kind": GATEWAYCLASS.kind,
        "metadata": {"name": WAYPOINT_CLASS},
        "spec": {"controllerName": MESH_CONTROLLER},
    }
