"""The service registry: everything that can be called by name, whatever object declares it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ambientlab.api.kinds import ENDPOINTSLICE, NAMESPACE, SERVICE, SERVICEENTRY, WORKLOADENTRY
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Collection, Context, Graph, Source
from ambientlab.mesh.index import destinationrules, serviceentries, services, values, workloads
from ambientlab.mesh.index.beyond import Beyond
from ambientlab.mesh.index.diagnostics import WAYPOINT_BOUND, Diagnostic, ObjectRef
from ambientlab.mesh.index.findings import Said, of_diagnostics
from ambientlab.mesh.index.serviceentries import Declared
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.waypoints import Binding, WaypointGateway
from ambientlab.mesh.ir import Key, Service, TrustDomains, Workload

Sources = Mapping[Resource, Source[Key, Object]]


class Registry:
    """`shapes` and `services` are by host; `rules_for` says how to talk to them, once it knows what there is."""

    def __init__(
        self,
        graph: Graph,
        sources: Sources,
        gateways: Collection[Key, WaypointGateway],
        pods: Collection[Key, Workload],
        nodes: Collection[Key, str],
        rules_for: Callable[[Collection[str, Shape]], destinationrules.Rules],
        domain: str,
        trust: Collection[str, TrustDomains],
        ipv6: bool,
    ) -> None:
        known = values.Addresses(ipv6)
        namespaces, entry_objects = sources[NAMESPACE], sources[SERVICEENTRY]
        slices = sources[ENDPOINTSLICE].index(services.slice_of)
        by_ip = pods.index(lambda _, workload: workload.ips)
        of_services: Collection[str, Shape] = graph.derive(
            "Service shapes",
            sources[SERVICE],
            lambda ctx, key, obj: services.shape(ctx, key, obj, gateways, namespaces, domain, known),
        )
        self.declared: Collection[tuple[str, Key], Declared] = graph.derive(
            "hosts of ServiceEntries",
            entry_objects,
            lambda ctx, key, obj: serviceentries.declared(ctx, key, obj, gateways, namespaces, known),
        )
        by_host = self.declared.index(lambda place, _: (place[0],))
        of_entries: Collection[str, Shape] = graph.derive(
            "ServiceEntry shapes",
            self.declared,
            lambda ctx, place, value: serviceentries.counting(ctx, place, value, by_host, of_services),
        )
        self.shapes = graph.join("service shapes", of_services, of_entries)
        self.rules = rules_for(self.shapes)
        workload_entries: Collection[Key, Workload] = graph.derive(
            "WorkloadEntry workloads",
            sources[WORKLOADENTRY],
            lambda ctx, key, obj: workloads.from_entry(ctx, key, obj, gateways, namespaces, trust, known),
        )
        behind = serviceentries.Behind(
            entry_objects, sources[WORKLOADENTRY], pods, workload_entries, nodes, trust, known
        )

        def service(ctx: Context, host: str, shape: Shape) -> Mapping[str, Service]:
            if shape.kind == serviceentries.KIND:
                found = behind.endpoints(ctx, shape)
            else:
                found = services.endpoints(ctx, shape, slices, by_ip, nodes, known)
            return {host: services.service(ctx, shape, found, self.rules)}

        self.services: Collection[str, Service] = graph.derive("services", self.shapes, service)
        self.service_findings: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "Service findings", sources[SERVICE], services.findings
        )
        self.entry_findings: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "ServiceEntry findings",
            entry_objects,
            lambda ctx, key, obj: serviceentries.findings(ctx, key, obj, self.shapes, by_host, known),
        )
        self.beyond = Beyond(graph, sources, self.shapes, domain, known)

    def binding(self, ctx: Context, kind: str, key: Key, host: str) -> Binding:
        """Of the object that declares `host`, even where another's declaration counts."""
        if kind == serviceentries.KIND:
            declared = ctx.fetch(self.declared, (host, key))
            return declared.shape.binding if declared is not None else Binding()
        shape = ctx.fetch(self.shapes, host)
        return shape.binding if shape is not None else Binding()

    def said(self) -> list[Said]:
        return [
            of_diagnostics(self.service_findings),
            of_diagnostics(self.entry_findings),
            of_diagnostics(self.beyond.findings),
            (self.shapes, lambda _, shape: _unbound(shape)),
            (self.declared, lambda _, declared: _unbound(declared.shape)),
        ]


def _unbound(shape: Shape) -> Iterator[Diagnostic]:
    """Of an object that asks for a waypoint and does not get it, or whose canary gets nothing: Istio says that in the
    message of a condition that is True."""
    ref, binding = ObjectRef(shape.kind, *shape.key), shape.binding
    if binding.reason and binding.waypoint is None:
        yield Diagnostic(ref, binding.reason, binding.message, WAYPOINT_BOUND)
    elif binding.reason:
        yield Diagnostic(ref, binding.reason, f"canary not attached: {binding.message}")
