"""Objects as Istio's analysers look at them: by kind, and services by the scopes in which they can be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ambientlab.api import objects
from ambientlab.api.kinds import SERVICE, SERVICEENTRY
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.coverage import name_of
from ambientlab.mesh.index.values import host_of
from ambientlab.mesh.index.workloads import REDIRECTION

EVERYWHERE = "*"
HERE = "."


class Item(NamedTuple):
    ref: ObjectRef
    obj: Object

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.obj.get("spec") or {}
        return spec

    @property
    def labels(self) -> Mapping[str, str]:
        return objects.labels_of(self.obj)

    @property
    def annotations(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.obj["metadata"].get("annotations") or {}
        return found

    @property
    def full_name(self) -> str:
        return f"{self.ref.namespace}/{self.ref.name}" if self.ref.namespace else self.ref.name


def items(index: MeshIndex, resource: Resource) -> Iterator[Item]:
    """In the order of their names."""
    found, kind = index.sources[resource], name_of(resource.group, resource.kind)
    for key in sorted(found):
        yield Item(ObjectRef(kind, *key), found[key])


def selected(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())


def written(selector: Mapping[str, str]) -> str:
    """As Kubernetes writes a selector of labels."""
    return ",".join(f"{name}={value}" for name, value in sorted(selector.items()))


def captured(pod: Item) -> bool:
    """pkg/config/analysis/analyzers/util/in_mesh.go, PodInAmbientMode."""
    return pod.annotations.get(REDIRECTION) == "enabled"


def control_plane(item: Item) -> bool:
    """Parts of Istio's own, which its charts label so (pkg/config/analysis/analyzers/util/config.go)."""
    return "istio" in item.labels or item.labels.get("release") == "istio"


def containers(pod: Item) -> list[dict[str, Any]]:
    return [*(pod.spec.get("containers") or ()), *(pod.spec.get("initContainers") or ())]


def in_mesh(pod: Item) -> bool:
    """In ambient mode, or with a proxy of its own, as a gateway's and a waypoint's. That a label asks for a sidecar is
    not enough, as it is to Istio's analyser: where nothing injects one, a policy is for nobody."""
    return captured(pod) or any(one["name"] == "istio-proxy" for one in containers(pod))


def scopes(export_to: list[str] | None, namespace: str) -> set[str]:
    """The namespaces that see what is exported so, or EVERYWHERE."""
    if not export_to or EVERYWHERE in export_to:
        return {EVERYWHERE}
    return {namespace if one == HERE else one for one in export_to}


class Target(NamedTuple):
    """What a host stands for: its ports, and the labels that a ServiceEntry's selector adds to a subset's."""

    ports: tuple[int, ...]
    selector: Mapping[str, str]


class Hosts:
    """Services and ServiceEntries by their hosts (pkg/config/analysis/analyzers/util/service_lookup.go)."""

    def __init__(self, index: MeshIndex) -> None:
        self._domain = index.domain
        self._found: dict[tuple[str, str], Target] = {}
        for entry in items(index, SERVICEENTRY):
            ports = tuple(port["number"] for port in entry.spec.get("ports") or ())
            target = Target(ports, (entry.spec.get("workloadSelector") or {}).get("labels") or {})
            for host in entry.spec.get("hosts") or ():
                self._put(entry.spec.get("exportTo"), entry.ref.namespace, host, target)
        for service in items(index, SERVICE):
            exported = service.annotations.get("networking.istio.io/exportTo", "")
            ports = tuple(port["port"] for port in service.spec.get("ports") or ())
            wanted = [word.strip() for word in exported.split(",")] if exported else None
            self._put(wanted, service.ref.namespace, service.ref.name, Target(ports, {}))

    def find(self, namespace: str, export_to: list[str] | None, host: str) -> Target | None:
        """What somebody in a namespace means by a host."""
        full = host_of(host, namespace, self._domain)
        # as what it is exported to sees it, which is everywhere alone if it is exported everywhere by name
        seen = scopes(export_to, namespace) if export_to else {namespace}
        for scope in (EVERYWHERE, *sorted(seen)):
            if (found := self._found.get((scope, full))) is not None:
                return found
        for (scope, known), target in self._found.items():
            if known.startswith("*") and scope in (EVERYWHERE, namespace) and host.lstrip("*").endswith(known[1:]):
                return target
        return None

    def full(self, namespace: str, host: str) -> str:
        return host_of(host, namespace, self._domain)

    def _put(self, export_to: list[str] | None, namespace: str, host: str, target: Target) -> None:
        for scope in scopes(export_to, namespace):
            self._found[(scope, host_of(host, namespace, self._domain))] = target
