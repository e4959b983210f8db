"""ServiceEntries as services, as Istio's ambient mode reads them
(pilot/pkg/serviceregistry/ambient, services.go and workloads.go).

Each host is a service of its own. Of several objects that declare one host a Service counts, else the oldest; and of
those in a namespace the oldest for its clients (selectWorkloadServices; ztunnel, src/state/service.rs,
get_best_by_host).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.serviceentries import assigned, hosts_to_address
from ambientlab.flow.collection import Collection, Context, Index
from ambientlab.mesh.index import meshconfig
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored, unsupported
from ambientlab.mesh.index.distribution import distribution
from ambientlab.mesh.index.distribution import findings as distribution_findings
from ambientlab.mesh.index.services import Shape, place_on, protocol_named
from ambientlab.mesh.index.values import Addresses
from ambientlab.mesh.index.waypoints import WaypointGateway, bind
from ambientlab.mesh.index.workloads import outside
from ambientlab.mesh.ir import (
    AppProtocol,
    Distribution,
    Endpoint,
    Key,
    Labels,
    Place,
    Port,
    Resolution,
    Traffic,
    TrustDomains,
    Workload,
    names,
)

KIND = "ServiceEntry"


@dataclass(frozen=True, slots=True)
class Declared:
    """One host of a ServiceEntry, which others may declare as well."""

    shape: Shape
    created: str


def resolution_of(obj: Object) -> Resolution:
    return Resolution(obj["spec"].get("resolution") or "NONE")


def declared(
    ctx: Context,
    key: Key,
    obj: Object,
    gateways: Collection[Key, WaypointGateway],
    namespaces: Collection[Key, Object],
    known: Addresses,
) -> Mapping[tuple[str, Key], Declared]:
    spec = obj["spec"]
    given: list[str] = spec.get("addresses") or []
    networks = tuple(sorted({network for text in given if (network := known.network(text))}))
    binding = bind(ctx, obj, Traffic.SERVICE, gateways, namespaces)
    ports = tuple(
        Port(
            p["number"],
            p["name"],
            protocol_named(p.get("protocol") or "") or AppProtocol.UNDECLARED,
            p.get("targetPort") or 0,
        )
        for p in spec.get("ports") or []
        if _is_served(obj, p)
    )
    resolution = resolution_of(obj)
    created = obj["metadata"].get("creationTimestamp", "")
    to_address = hosts_to_address(obj)
    prefers = Distribution.ANY if resolution is Resolution.NONE else distribution(ctx, key, obj, namespaces)
    result = {}
    for host in spec["hosts"]:
        vips = tuple(dict.fromkeys(address for text in given if (address := known.single(text))))
        if host in to_address:
            vips = allocated(obj, host, known)
        if resolution is Resolution.DYNAMIC_DNS and binding.waypoint is None:
            vips = ()  # only a waypoint can find out which host is meant
        names = tuple(spec.get("subjectAltNames") or ())
        shape = Shape(key, host, vips, ports, binding, KIND, resolution, names, prefers, networks)
        result[(host, key)] = Declared(shape, created)
    return result


def _is_served(obj: Object, port: Mapping[str, Any]) -> bool:
    """Waypoints find out the host of plain HTTP requests only, for services outside of the mesh
    (pilot/pkg/networking/core, waypoint.go and cluster_waypoint.go)."""
    protocol = (port.get("protocol") or "").upper()
    if resolution_of(obj) is Resolution.DYNAMIC_DNS:
        return protocol == "HTTP" and obj["spec"].get("location") != "MESH_INTERNAL"
    return protocol != "UDP"


def allocated(obj: Object, host: str, known: Addresses) -> tuple[str, ...]:
    """The addresses that `status.addresses` assigns to a host."""
    return tuple(address for name, value in assigned(obj) if name == host and (address := known.single(value)))


def counting(
    ctx: Context,
    place: tuple[str, Key],
    value: Declared,
    by_host: Index[str, tuple[str, Key], Declared],
    services: Collection[str, Shape],
) -> Mapping[str, Shape]:
    """What is for all clients, or for those of its namespace: nothing where another object's declaration is."""
    host, namespace = place[0], place[1].namespace
    rivals, service = ctx.select(by_host, host), ctx.fetch(services, host)
    if service is None and _oldest(rivals) is value:
        return {host: value.shape}
    at_home = _oldest(one for one in rivals if one.shape.key.namespace == namespace)
    if at_home is not value or (service is not None and service.key.namespace == namespace):
        return {}
    own = names.for_namespace(namespace, host)
    return {own: replace(value.shape, host=own)}


def _oldest(rivals: Iterable[Declared]) -> Declared:
    return min(rivals, key=lambda rival: (rival.created, rival.shape.key))


class Behind:
    """What is behind ServiceEntries: endpoints they list, pods and WorkloadEntries they select, or names to resolve."""

    def __init__(
        self,
        service_entries: Collection[Key, Object],
        workload_entries: Collection[Key, Object],
        pods: Collection[Key, Workload],
        entries: Collection[Key, Workload],
        nodes: Collection[Key, str],
        trust: Collection[str, TrustDomains],
        known: Addresses,
    ) -> None:
        self._known = known
        self._service_entries = service_entries
        self._workload_entries = workload_entries
        self._pods = pods.index(lambda key, _: (key.namespace,))
        self._entries = entries.index(lambda key, _: (key.namespace,))
        self._nodes = nodes
        self._trust = trust

    def endpoints(self, ctx: Context, shape: Shape) -> tuple[Endpoint, ...]:
        if shape.resolution in (Resolution.NONE, Resolution.DYNAMIC_DNS):
            return ()
        obj = ctx.fetch(self._service_entries, shape.key)
        if obj is None:
            return ()
        targets = {p["name"]: p.get("targetPort") or p["number"] for p in obj["spec"].get("ports") or []}
        selector = obj["spec"].get("workloadSelector")
        if selector is not None:
            found = self._selected(ctx, shape, selector.get("labels") or {}, targets)
        else:
            found = self._listed(shape, obj, targets, meshconfig.trust_of(ctx, self._trust))
        return tuple(
            sorted(
                (e for e in found if shape.resolution.by_name or self._known.single(e.address)),
                key=lambda e: (e.address, e.ports),
            )
        )

    def _listed(self, shape: Shape, obj: Object, targets: Mapping[str, int], trust: TrustDomains) -> list[Endpoint]:
        listed: list[Mapping[str, Any]] = obj["spec"].get("endpoints") or []
        if not listed and shape.resolution.by_name:
            listed = [{"address": shape.hostname}]
        return [
            Endpoint(
                item["address"],
                _ports(shape, item.get("ports") or {}, targets),
                outside(obj, item, item.get("labels") or {}, trust, self._known),
                item.get("weight") or 0,
                _place(shape, item),
            )
            for item in listed
            if item.get("address")
        ]

    def _selected(
        self, ctx: Context, shape: Shape, labels: Mapping[str, str], targets: Mapping[str, int]
    ) -> list[Endpoint]:
        wanted: Labels = tuple(sorted(labels.items()))
        namespace = shape.key.namespace
        found = [
            Endpoint(
                pod.ip,
                _ports(shape, {}, targets),
                pod,
                place=place_on(ctx, shape, pod.node, self._nodes),
                second=pod.second_ip,
            )
            for pod in ctx.select(self._pods, namespace)
            if pod.ready and set(wanted) <= set(pod.labels)
        ]
        for entry in ctx.select(self._entries, namespace):
            if not set(wanted) <= set(entry.labels):
                continue
            obj = ctx.fetch(self._workload_entries, entry.key)
            if obj is not None and (address := obj["spec"].get("address")):
                spec = obj["spec"]
                ports = _ports(shape, spec.get("ports") or {}, targets)
                found.append(Endpoint(address, ports, entry, spec.get("weight") or 0, _place(shape, spec)))
        return found


def _place(shape: Shape, spec: Mapping[str, Any]) -> Place | None:
    """What the spec of a WorkloadEntry says, which is on no node (workloads.go, getWorkloadEntryLocality)."""
    return None if shape.distribution is Distribution.ANY else Place("", spec.get("locality") or "")


def _ports(shape: Shape, own: Mapping[str, int], targets: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """The endpoint's own number for a port goes before the service's target port."""
    return tuple((port.number, own.get(port.name) or targets[port.name]) for port in shape.ports)


def findings(
    ctx: Context,
    key: Key,
    obj: Object,
    shapes: Collection[str, Shape],
    by_host: Index[str, tuple[str, Key], Declared],
    known: Addresses,
) -> Mapping[Key, tuple[Diagnostic, ...]]:
    """What Istio passes over in silence, or this mesh does not do, of the values of a ServiceEntry."""
    ref, spec = ObjectRef(KIND, key.namespace, key.name), obj["spec"]
    notes = list(distribution_findings(ref, obj))
    for i, address in enumerate(spec.get("addresses") or []):
        if known.single(address) is None and known.network(address) is None:
            notes.append(unsupported(ref, f"spec.addresses[{i}]", "this machine has no IPv6"))
    for i, port in enumerate(spec.get("ports") or []):
        if (port.get("protocol") or "").upper() == "UDP":
            notes.append(ignored(ref, f"spec.ports[{i}]", "UDP is not captured in ambient mode"))
        elif not _is_served(obj, port):
            why = "a waypoint resolves the names of plain HTTP requests to services outside of the mesh only"
            notes.append(ignored(ref, f"spec.ports[{i}]", why))
    resolution = resolution_of(obj)
    for i, item in enumerate(spec.get("endpoints") or []):
        address = item.get("address") or ""
        if not resolution.by_name and known.single(address) is None:
            notes.append(ignored(ref, f"spec.endpoints[{i}].address", f"{address or 'no address'} is never called"))
    for i, host in enumerate(spec["hosts"]):
        if (shape := ctx.fetch(shapes, host)) is not None:
            at_home = [one for one in ctx.select(by_host, host) if one.shape.key.namespace == key.namespace]
            home = shape if shape.key.namespace == key.namespace or not at_home else _oldest(at_home).shape
            notes += _of_host(ref, f"spec.hosts[{i}]", host, obj, home)
    return {key: tuple(notes)} if notes else {}


def _of_host(ref: ObjectRef, field: str, host: str, obj: Object, home: Shape) -> list[Diagnostic]:
    """`home` is what the host means to clients in the object's namespace."""
    first = ObjectRef(home.kind, *home.key)
    if first != ref:
        message = f"no effect on {host}: {first} declares it already"
        return [Diagnostic(ref, "Shadowed", message, field=field, host=home.host, first=(first,))]
    if home.resolution is Resolution.DYNAMIC_DNS and home.binding.waypoint is None:
        message = f"no effect on {host}: only a waypoint can tell which host a request is for ({home.binding.why_none})"
        return [Diagnostic(ref, "NoWaypoint", message, field=field, host=home.host)]
    notes = []
    if home.networks and home.binding.waypoint is not None:
        why = "a waypoint answers at single addresses, so that connections to networks go past it"
        notes.append(unsupported(ref, "spec.addresses", why))
    if not home.vips and not home.networks and host not in hosts_to_address(obj):
        message = f"connections to {host} are not recognised, because it has no address; set spec.addresses"
        notes.append(Diagnostic(ref, "NoAddress", message, field=field, host=home.host))
    return notes
