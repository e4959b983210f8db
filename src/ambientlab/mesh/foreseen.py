"""A cluster as it would be with other objects in it: what its controllers make of a change, so far as that decides
about traffic. That is pods of workloads, endpoints and addresses of Services, who is in the mesh, waypoints
and addresses of ServiceEntries, and what goes with what is deleted.

Everything is taken to succeed: pods get Ready, and a waypoint gets its address. Addresses that nobody has given yet are
from a range that no cluster uses (RFC 2544).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ambientlab.api import objects
from ambientlab.api.endpoints import families, group, selects
from ambientlab.api.kinds import (
    CUSTOMRESOURCEDEFINITION,
    ENDPOINTSLICE,
    GATEWAY,
    GATEWAY_NAME_LABEL,
    GATEWAYCLASS,
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    SERVICEENTRY,
)
from ambientlab.api.objects import Object, annotations_of, labels_of
from ambientlab.api.resources import Resource
from ambientlab.api.serviceentries import assigned, hosts_to_address
from ambientlab.api.workload_names import workload_names
from ambientlab.cluster import MESH_CONTROLLER, WAYPOINT_CLASS
from ambientlab.mesh.enrolment import should_capture
from ambientlab.mesh.index.services import SERVICE_NAME
from ambientlab.mesh.index.workloads import REDIRECTION
from ambientlab.mesh.ir import Key

Listed = Mapping[Resource, Sequence[Object]]
Objects = Mapping[Resource, Mapping[Key, Object]]
Applied = Callable[[Resource, Object, Object], Object]
"""What comes of an object that is there when it is applied anew."""

_ENABLED = "enabled"
_HASH = "pod-template-hash"
_FORESEEN = "foreseen"
_Place = tuple[Resource, Key]


@dataclass(frozen=True, slots=True)
class Change:
    """One object of the API as it is and as it is to be; None where it is not there. What it owns goes with it unless
    it `orphans` that."""

    resource: Resource
    key: Key
    old: Object | None
    new: Object | None
    orphans: bool = False


def foresee(present: Objects, changes: Iterable[Change]) -> list[tuple[Resource, Key, Object | None]]:
    """What becomes of the objects of the kinds that are `present`, the changed ones among them, in the order to take it
    up. None is of what goes."""
    world = _World(present)
    for change in changes:
        world.take(change)
    world.enrol()
    world.publish()
    return world.result()


def foreseen(
    live: Listed, files: Listed, applied: Applied, workloads: Iterable[Object] = ()
) -> dict[Resource, list[Object]]:
    """With objects of files laid over those of their names, as `applied` does it. `workloads` are Deployments and the
    like among the files, whatever `runs_pods`, of which there will be pods; others are passed over."""
    present = {resource: {_key(obj): obj for obj in live.get(resource, ())} for resource in {*live, *files, *_MADE}}
    laid = [
        (
            resource,
            (key := _key(obj)),
            (old := present[resource].get(key)),
            obj if old is None else applied(resource, old, obj),
        )
        for resource, some in files.items()
        for obj in some
    ]
    changes = [Change(resource, key, old, new) for resource, key, old, new in laid if not runs_pods(new)]
    changes += [Change(_kind_of(obj), _key(obj), None, obj) for obj in workloads if runs_pods(obj)]
    for resource, key, obj in foresee(present, changes):
        if obj is None:
            present[resource].pop(key, None)
        else:
            present[resource][key] = obj
    for resource, key, _, new in laid:
        if runs_pods(new):
            present[resource][key] = new
    return {resource: list(some.values()) for resource, some in present.items()}


def runs_pods(obj: Object) -> bool:
    """Whether it has a template for pods. Others have templates for something else: SealedSecrets for Secrets."""
    found: Any = obj
    for name in ("spec", "template", "spec", "containers"):
        found = found.get(name) if isinstance(found, dict) else None
    return isinstance(found, list)


_OWNING = frozenset({"DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"})
"""Kinds whose pods name them as their owner, or a ReplicaSet of theirs."""
_MADE = (NAMESPACE, POD, SERVICE, ENDPOINTSLICE, GATEWAY, GATEWAYCLASS, NODE)


def _kind_of(obj: Object) -> Resource:
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    return Resource(group, version, f"{obj['kind'].lower()}s", obj["kind"])


class _World:
    """The objects that there are, and over them what becomes of some."""

    def __init__(self, present: Objects) -> None:
        self._sources = present
        self._now: dict[_Place, Object | None] = {}
        self._homes: set[str] = set()
        """Namespaces in which Services may have other endpoints, or pods another part in the mesh."""
        self._addresses = (f"198.{18 + n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(1, 131072))

    def get(self, resource: Resource, key: Key) -> Object | None:
        if (resource, key) in self._now:
            return self._now[resource, key]
        source = self._sources.get(resource)
        return source.get(key) if source is not None else None

    def objects(self, resource: Resource, namespace: str) -> Iterator[tuple[Key, Object]]:
        keys = dict.fromkeys(key for key in self._sources[resource] if key.namespace == namespace)
        keys.update(dict.fromkeys(key for r, key in self._now if r is resource and key.namespace == namespace))
        for key in keys:
            if (obj := self.get(resource, key)) is not None:
                yield key, obj

    def result(self) -> list[tuple[Resource, Key, Object | None]]:
        return [(resource, key, obj) for (resource, key), obj in self._now.items()]

    def take(self, change: Change) -> None:
        if change.new is not None or not _made_again(change.old or {}):
            self._take(change)

    def _take(self, change: Change) -> None:
        resource, key, new = change.resource, change.key, change.new
        if resource in self._sources:
            self._now[resource, key] = new
        if resource is NAMESPACE:
            self._homes.add(key.name)
            if new is None:
                self._empty(key.name)
        elif runs_pods(new or change.old or {}):
            self._homes.add(key.namespace)
            if not change.orphans:
                self._roll_out(resource, key, new)
        elif resource is POD:
            self._homes.add(key.namespace)
            if new is not None:
                self._now[resource, key] = new if (new.get("status") or {}).get("podIP") else self._running(new)
        elif resource is GATEWAY:
            if not change.orphans:
                self._deploy(key, new)
        elif resource is SERVICE:
            self._homes.add(key.namespace)
            if new is not None and "clusterIP" not in new["spec"] and new["spec"].get("type") != "ExternalName":
                address = next(self._addresses)
                self._now[resource, key] = {
                    **new,
                    "spec": {**new["spec"], "clusterIP": address, "clusterIPs": [address]},
                }
        elif resource is SERVICEENTRY and new is not None:
            self._now[resource, key] = self._addressed(new)
        elif resource is CUSTOMRESOURCEDEFINITION and new is None:
            self._forget(key.name)
        if new is None and resource.namespaced:
            (self._release if change.orphans else self._collect)(resource, key)

    def _collect(self, owner: Resource, of: Key) -> None:
        """What nobody else owns goes with its owner: a waypoint's Service."""
        for resource in self._sources:
            if resource.namespaced:
                for key, obj in list(self.objects(resource, of.namespace)):
                    if _owned_by(obj, owner, of):
                        self._take(Change(resource, key, obj, None))

    def _release(self, owner: Resource, of: Key) -> None:
        """What has lost one owner is nobody's or the others'."""
        for resource in self._sources:
            if resource.namespaced:
                for key, obj in list(self.objects(resource, of.namespace)):
                    named = obj["metadata"].get("ownerReferences") or ()
                    left = [one for one in named if _reference(one) != _reference_to(owner, of)]
                    if len(left) < len(named):
                        self._now[resource, key] = {**obj, "metadata": {**obj["metadata"], "ownerReferences": left}}

    def _forget(self, kind: str) -> None:
        """All its objects go with a kind's definition."""
        for resource, source in self._sources.items():
            if resource.group_resource == kind:
                for key in dict.fromkeys([*source, *(k for r, k in self._now if r is resource)]):
                    self._take(Change(resource, key, self.get(resource, key), None))

    def _empty(self, namespace: str) -> None:
        for resource in self._sources:
            if resource.namespaced:
                for key, _ in list(self.objects(resource, namespace)):
                    self._now[resource, key] = None

    def _roll_out(self, resource: Resource, key: Key, new: Object | None) -> None:
        """New pods are as the template has them; pods that stay have its labels. Pods that name no owner are taken for
        those of a workload with their labels, and so are all pods where it is not known whom they would name."""
        here = list(self.objects(POD, key.namespace))
        present = [(k, pod) for k, pod in here if _made_by(pod, resource, key)]
        if not present and new is not None and any(_runs(new, pod, resource) for _, pod in here):
            return
        wanted = _replicas(new, len(present))
        for place, (pod_key, pod) in enumerate(present):
            self._now[POD, pod_key] = _like(new, pod) if new is not None and place < wanted else None
        for number in range(len(present), wanted):
            assert new is not None
            pod = self._made(resource, key, new, number)
            self._now[POD, Key(key.namespace, pod["metadata"]["name"])] = pod

    def _made(self, resource: Resource, key: Key, owner: Object, number: int) -> Object:
        kind = "ReplicaSet" if resource.kind == "Deployment" else resource.kind
        name = f"{key.name}-{_FORESEEN}" if resource.kind == "Deployment" else key.name
        template = owner["spec"].get("template") or {}
        metadata = template.get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), **({_HASH: _FORESEEN} if resource.kind == "Deployment" else {})}
        return self._running(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{key.name}-{number}",
                    "namespace": key.namespace,
                    "labels": labels,
                    "annotations": dict(metadata.get("annotations") or {}),
                    "ownerReferences": [{"kind": kind, "name": name, "controller": True}],
                },
                "spec": template.get("spec") or {"containers": []},
            }
        )

    def _running(self, pod: Object) -> Object:
        node = pod["spec"].get("nodeName") or next((key.name for key in self._sources[NODE]), "")
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": next(self._addresses), "conditions": [ready]}
        return {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}

    def _deploy(self, key: Key, new: Object | None) -> None:
        """A waypoint: its address and a pod. What istiod makes of other Gateways takes no part in a mesh."""
        own = [k for k, pod in self.objects(POD, key.namespace) if labels_of(pod).get(GATEWAY_NAME_LABEL) == key.name]
        if new is None:
            self._now.update(((POD, k), None) for k in own)
            return
        name = new["spec"].get("gatewayClassName", "")
        declared = self.get(GATEWAYCLASS, Key("", name))
        known = (declared or {"spec": {}})["spec"].get("controllerName")
        if known != MESH_CONTROLLER and (known is not None or name != WAYPOINT_CLASS):
            return
        if declared is None:
            self._now[GATEWAYCLASS, Key("", name)] = _waypoint_class()
        if "addresses" in (new.get("status") or {}):
            return
        address = {"type": "IPAddress", "value": next(self._addresses)}
        self._now[GATEWAY, key] = {**new, "status": {**(new.get("status") or {}), "addresses": [address]}}
        if not own:
            labels = {GATEWAY_NAME_LABEL: key.name, "istio.io/dataplane-mode": "none"}
            place = Key(key.namespace, f"{key.name}-{_FORESEEN}")
            meta = {"name": place.name, "namespace": place.namespace, "labels": labels}
            spec = {"serviceAccountName": key.name, "containers": []}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
            self._now[POD, place] = self._running(pod)

    def _addressed(self, entry: Object) -> Object:
        known = list(assigned(entry))
        have = {host for host, _ in known}
        missing = [(host, next(self._addresses)) for host in hosts_to_address(entry) if host not in have]
        if not missing:
            return entry
        addresses = [{"value": value, "host": host} for host, value in (*known, *missing)]
        return {**entry, "status": {**(entry.get("status") or {}), "addresses": addresses}}

    def enrol(self) -> None:
        """What istio-cni does about pods whose labels ask for something else, or those of their namespace."""
        for name in sorted(self._homes):
            old_home, home = self._sources[NAMESPACE].get(Key("", name)), self.get(NAMESPACE, Key("", name))
            for key, pod in list(self.objects(POD, name)):
                old = self._sources[POD].get(key)
                wanted = should_capture(pod, home)
                if old is None or should_capture(old, old_home) is not wanted:
                    self._now[POD, key] = _annotated(pod, wanted)

    def publish(self) -> None:
        """The endpoints of Services that select others, or that are other Services."""
        for name in sorted(self._homes):
            services = {key for key in self._sources[SERVICE] if key.namespace == name}
            services |= {key for resource, key in self._now if resource is SERVICE and key.namespace == name}
            old_pods = [pod for key, pod in self._sources[POD].items() if key.namespace == name]
            pods = [pod for _, pod in self.objects(POD, name)]
            for key in sorted(services):
                old, new = self._sources[SERVICE].get(key), self.get(SERVICE, key)
                if new is None:
                    self._withdraw(key)
                elif selects(new) and (old is None or _published(new, pods) != _published(old, old_pods)):
                    self._withdraw(key)
                    slices = ((family, *one) for family in families(new) for one in group(new, pods, family).items())
                    for number, (family, ports, endpoints) in enumerate(slices):
                        place = Key(name, f"{key.name}-{_FORESEEN}-{number}")
                        self._now[ENDPOINTSLICE, place] = _slice(key, place, family, ports, endpoints)

    def _withdraw(self, service: Key) -> None:
        for key, found in list(self.objects(ENDPOINTSLICE, service.namespace)):
            if labels_of(found).get(SERVICE_NAME) == service.name:
                self._now[ENDPOINTSLICE, key] = None


def _made_again(obj: Object) -> bool:
    """Whether what made it makes it again as soon as it is gone: its controller, or of what is a Gateway's, istiod,
    which does not say that it is one (pilot/pkg/config/kube/gatewaycommon/deploymentcontroller.go). When that goes as
    well, it takes this along."""
    owners = obj.get("metadata", {}).get("ownerReferences") or ()
    return any(one.get("controller") or one.get("kind") == GATEWAY.kind for one in owners)


def _owned_by(obj: Object, owner: Resource, key: Key) -> bool:
    """By that one and nobody else, as the garbage collector has it."""
    owners = {_reference(one) for one in obj["metadata"].get("ownerReferences") or ()}
    return owners == {_reference_to(owner, key)}


def _reference(given: Object) -> tuple[Any, ...]:
    """Whom it names, in whatever version."""
    return str(given.get("apiVersion")).partition("/")[0], given.get("kind"), given.get("name")


def _reference_to(owner: Resource, key: Key) -> tuple[Any, ...]:
    return owner.api_version.partition("/")[0], owner.kind, key.name


def _made_by(pod: Object, resource: Resource, key: Key) -> bool:
    owner = next((one for one in pod["metadata"].get("ownerReferences") or () if one.get("controller")), None)
    if owner is None:
        return False
    if resource.kind == "Deployment":
        return owner["kind"] == "ReplicaSet" and workload_names(pod).workload == key.name
    return bool((owner["kind"], owner["name"]) == (resource.kind, key.name))


def _runs(owner: Object, pod: Object, resource: Resource) -> bool:
    """Whether a pod that does not name it may be one of a workload's."""
    labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    owned = bool(pod["metadata"].get("ownerReferences")) and resource.kind in _OWNING
    return bool(labels) and not owned and labels.items() <= labels_of(pod).items()


def _replicas(owner: Object | None, present: int) -> int:
    """What does not say how many keeps those that it has."""
    if owner is None:
        return 0
    replicas: int = owner["spec"].get("replicas", max(present, 1))
    return replicas


def _like(owner: Object, pod: Object) -> Object:
    """The pod as one of its owner's template: where that says nothing else, it is the same."""
    template = owner["spec"].get("template") or {}
    metadata = template.get("metadata") or {}
    own = {name: value for name, value in labels_of(pod).items() if name in (_HASH, "controller-revision-hash")}
    named = {name: value for name, value in labels_of(pod).items() if name.startswith(("statefulset.", "apps."))}
    account = (template.get("spec") or {}).get("serviceAccountName") or "default"
    labels = {**(metadata.get("labels") or {}), **named, **own}
    if labels == labels_of(pod) and account == (pod["spec"].get("serviceAccountName") or "default"):
        return pod
    return {
        **pod,
        "metadata": {**pod["metadata"], "labels": labels},
        "spec": {**pod["spec"], "serviceAccountName": account},
    }


def _annotated(pod: Object, captured: bool) -> Object:
    kept = {name: value for name, value in annotations_of(pod).items() if name != REDIRECTION}
    found = {**kept, REDIRECTION: _ENABLED} if captured else kept
    return {**pod, "metadata": {**pod["metadata"], "annotations": found}}


def _published(service: Object, pods: Sequence[Object]) -> list[Any]:
    if not selects(service):
        return []
    groups = (one for family in families(service) for one in group(service, pods, family).items())
    return [(ports, [(e.address, e.ready) for e in endpoints]) for ports, endpoints in groups]


def _slice(service: Key, place: Key, family: str, ports: Iterable[Any], endpoints: Iterable[Any]) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": place.name, "namespace": place.namespace, "labels": {SERVICE_NAME: service.name}},
        "addressType": family,
        "endpoints": [
            {
                "addresses": [endpoint.address],
                "conditions": {"ready": endpoint.ready},
                "nodeName": endpoint.pod["spec"].get("nodeName", ""),
                "targetRef": {"kind": "Pod", "name": endpoint.pod["metadata"]["name"]},
            }
            for endpoint in endpoints
        ],
        "ports": [{"name": port.name, "port": port.number, "protocol": port.protocol} for port in ports],
    }


def _key(obj: Object) -> Key:
    return Key(objects.namespace(obj), objects.name(obj))


def _waypoint_class() -> Object:
    """Istio makes it when it starts."""
    return {
        "apiVersion": GATEWAYCLASS.api_version,
        "kind": GATEWAYCLASS.kind,
        "metadata": {"name": WAYPOINT_CLASS},
        "spec": {"controllerName": MESH_CONTROLLER},
    }
