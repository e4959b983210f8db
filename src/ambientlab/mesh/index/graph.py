"""All stages of the index, joined: API objects in, the mesh and the diagnostics out, kept up to date by collections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from ambientlab.api import objects
from ambientlab.api.client import Event
from ambientlab.api.kinds import (
    BACKENDTLSPOLICY,
    CONFIGMAP,
    DESTINATIONRULE,
    ENDPOINTSLICE,
    GATEWAY,
    GATEWAYCLASS,
    GRPCROUTE,
    HTTPROUTE,
    NAMESPACE,
    NODE,
    NOT_BUILT,
    POD,
    REFERENCEGRANT,
    SECRET,
    SERVICE,
    SERVICEENTRY,
    TCPROUTE,
    TELEMETRY,
    TLSROUTE,
    VIRTUALSERVICE,
    WORKLOADENTRY,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cluster import DOMAIN, TRUST_DOMAIN
from ambientlab.flow.collection import Collection, Context, Derive, Graph, Source
from ambientlab.mesh.index import (
    backendtls,
    candidates,
    coverage,
    credentials,
    delegates,
    destinationrules,
    effects,
    gatewayobjects,
    gatewayroute,
    grants,
    grpcroute,
    httproute,
    resolve,
    security,
    tables,
    tcproute,
    telemetry,
    virtualservice,
    waypoints,
    workloads,
)
from ambientlab.mesh.index.backendtls import BackendTls
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.drafts import Reading, RouteSet
from ambientlab.mesh.index.registry import Registry
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import Credential, Key, Mesh, RouteTable, Service, TcpRoute, Waypoint, Workload

RESOURCES = (
    NAMESPACE, POD, SERVICE, ENDPOINTSLICE, GATEWAYCLASS, GATEWAY, HTTPROUTE, GRPCROUTE, TCPROUTE, TLSROUTE,
    REFERENCEGRANT, VIRTUALSERVICE, DESTINATIONRULE, SERVICEENTRY, WORKLOADENTRY, BACKENDTLSPOLICY, SECRET, CONFIGMAP,
    NODE,
    *security.RESOURCES, TELEMETRY, *NOT_BUILT,
)  # fmt: skip
"""The resources the mesh is made of: what to list and watch."""

_GATEWAY_ROUTES: Mapping[Resource, gatewayroute.Read] = {
    HTTPROUTE: httproute.read,
    GRPCROUTE: grpcroute.read,
    TCPROUTE: tcproute.read_tcp,
    TLSROUTE: tcproute.read_tls,
}


class MeshIndex:
    """The mesh as of the last `settle`. Feed objects with `put` and `remove`, or events with `apply`."""

    def __init__(self, *, domain: str = DOMAIN, trust_domain: str = TRUST_DOMAIN) -> None:
        self.domain = domain
        self.graph = graph = Graph()
        self.sources: dict[Resource, Source[Key, Object]] = {r: graph.source(r.plural) for r in RESOURCES}
        pods, namespaces, classes = self.sources[POD], self.sources[NAMESPACE], self.sources[GATEWAYCLASS]
        service_objects, virtual_service_objects = self.sources[SERVICE], self.sources[VIRTUALSERVICE]

        gateways = graph.derive(
            "waypoint gateways",
            self.sources[GATEWAY],
            lambda ctx, key, obj: waypoints.gateway(ctx, key, obj, classes),
        )
        nodes = graph.derive("localities of nodes", self.sources[NODE], workloads.node_locality)
        self.workloads: Collection[Key, Workload] = graph.derive(
            "workloads",
            pods,
            lambda ctx, key, pod: workloads.workload(ctx, key, pod, gateways, namespaces, nodes, trust_domain),
        )
        instances = self.workloads.index(workloads.waypoint_of)
        self.waypoints: Collection[Key, Waypoint] = graph.derive(
            "waypoints", gateways, lambda ctx, key, gateway: workloads.waypoint(ctx, key, gateway, instances)
        )
        self.rules = graph.derive(
            "destination rules",
            self.sources[DESTINATIONRULE],
            lambda ctx, key, obj: destinationrules.read(ctx, key, obj, domain),
        )
        rivals = self.sources[BACKENDTLSPOLICY].index(backendtls.targets)
        self.backend_policies: Collection[Key, BackendTls] = graph.derive(
            "BackendTLSPolicies read",
            self.sources[BACKENDTLSPOLICY],
            lambda ctx, key, obj: {
                key: backendtls.read(
                    key,
                    obj,
                    backendtls.Surroundings(
                        lambda service: ctx.fetch(service_objects, service),
                        lambda entry: ctx.fetch(self.sources[SERVICEENTRY], entry),
                        lambda config_map: ctx.fetch(self.sources[CONFIGMAP], config_map),
                        lambda secret: ctx.fetch(self.sources[SECRET], secret),
                        lambda target: ctx.select(rivals, target),
                        domain,
                    ),
                )
            },
        )
        secured = self.backend_policies.index(backendtls.hosts)

        def rules_for(shapes: Collection[str, Shape]) -> destinationrules.Rules:
            generated = graph.derive(
                "rules of BackendTLSPolicies",
                shapes,
                lambda ctx, host, shape: backendtls.rule(ctx, host, shape, secured),
            )
            return destinationrules.Rules(self.rules, generated)

        self.registry = Registry(graph, self.sources, gateways, self.workloads, rules_for, domain, trust_domain)
        self.shapes, rules = self.registry.shapes, self.registry.rules
        self.services: Collection[str, Service] = self.registry.services
        granted = grants.Grants(self.sources[REFERENCEGRANT])

        def surroundings(ctx: Context) -> gatewayroute.Surroundings:
            return gatewayroute.Surroundings(
                lambda service: ctx.fetch(service_objects, service),
                lambda entry: ctx.fetch(self.sources[SERVICEENTRY], entry),
                lambda host: ctx.fetch(self.shapes, host) is not None,
                lambda name: objects.labels_of(ctx.fetch(namespaces, Key("", name)) or {"metadata": {}}),
                lambda gateway: waypoints.controller(ctx, gateway, self.sources[GATEWAY], classes),
                lambda source, target: granted.allowed(ctx, source, target),
                domain,
            )

        def reader(read: gatewayroute.Read) -> Derive[Key, Object, Key, Reading]:
            return lambda ctx, key, obj: {key: read(key, obj, surroundings(ctx))}

        self.gateway_routes: dict[Resource, Collection[Key, Reading]] = {
            resource: graph.derive(f"{resource.kind}s read", self.sources[resource], reader(read))
            for resource, read in _GATEWAY_ROUTES.items()
        }
        roots = virtual_service_objects.index(delegates.targets)
        self.virtual_services: Collection[Key, Reading] = graph.derive(
            "VirtualServices read",
            virtual_service_objects,
            lambda ctx, key, obj: {
                key: virtualservice.read(
                    key,
                    obj,
                    domain,
                    lambda other: ctx.fetch(virtual_service_objects, other),
                    lambda other: bool(ctx.select(roots, other)),
                )
            },
        )
        readings = (*self.gateway_routes.values(), self.virtual_services)
        route_sets = candidates.RouteSets(*(graph.derive(f"sets of {r.name}", r, _sets) for r in readings))

        def route(ctx: Context, host: str, shape: Shape) -> Mapping[str, tables.Routing]:
            def names(of: str) -> frozenset[str]:
                target = ctx.fetch(self.shapes, of)
                if target is None:
                    return frozenset()
                rule = rules.of(ctx, target.key.namespace, of, shape.binding.waypoint)
                return frozenset(subset.name for subset, _ in rule.subsets) if rule is not None else frozenset()

            around = resolve.Surroundings(lambda of: ctx.fetch(self.shapes, of), names)
            value = tables.routing(ctx, shape, route_sets, around)
            return {} if value is None else {host: value}

        self.routing: Collection[str, tables.Routing] = graph.derive("routing", self.shapes, route)
        self.routes: Collection[tuple[str, int], RouteTable] = graph.derive(
            "route tables", self.routing, lambda _, __, value: tables.by_port(value)
        )
        self.tcp_routes: Collection[tuple[str, int], TcpRoute] = graph.derive(
            "TCP routes", self.routing, lambda _, __, value: tables.tcp_by_port(value)
        )
        self.unused_rules: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "unused DestinationRules",
            self.rules,
            lambda ctx, key, rule: effects.of_rule(ctx, key, rule, self.shapes, self._resolve),
        )
        self.unused_backend_policies: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "unused BackendTLSPolicies",
            self.backend_policies,
            lambda ctx, key, policy: effects.of_backend_policy(ctx, key, policy, self.shapes),
        )
        self.unused_virtual_services: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "unused VirtualServices",
            self.virtual_services,
            lambda ctx, key, reading: effects.of_virtual_service(ctx, key, reading, self.shapes),
        )
        self.gateway_diagnostics: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "Gateways read",
            self.sources[GATEWAY],
            lambda ctx, key, obj: gatewayobjects.diagnostics(ctx, key, obj, self.sources[CONFIGMAP]),
        )
        named = {coverage.name_of(resource.group, resource.kind): resource for resource in RESOURCES}
        self.exempt_fields = [
            graph.derive(f"{kind} fields", self.sources[named[kind]], _exempt_fields(kind))
            for kind in coverage.EXEMPTIONS
            if kind in named
        ]
        self.security = security.Security(graph, self.sources, gateways, self.shapes)
        self.telemetry = telemetry.Telemetries(
            graph, self.sources[TELEMETRY], self.sources[CONFIGMAP], gateways, self.shapes
        )
        self.mesh = Mesh(
            self.workloads,
            self.services,
            self.waypoints,
            self.routes,
            self.tcp_routes,
            self.security.guards,
            self.telemetry.wanted,
        )

    def host(self, service: Key) -> str:
        """The fully qualified name of a Service."""
        return f"{service.name}.{service.namespace}.svc.{self.domain}"

    def credential(self, namespace: str, name: str) -> Credential:
        """What a proxy of `namespace` is to be given under `name`. Raises `credentials.CredentialError`."""
        return credentials.resolve(name, namespace, self.sources[SECRET].get, self.sources[CONFIGMAP].get)

    def _resolve(self, ctx: Context, namespace: str, name: str) -> Credential:
        secrets, config_maps = self.sources[SECRET], self.sources[CONFIGMAP]
        return credentials.resolve(
            name, namespace, lambda key: ctx.fetch(secrets, key), lambda key: ctx.fetch(config_maps, key)
        )

    def put(self, resource: Resource, obj: Object) -> None:
        self.sources[resource].set(Key(objects.namespace(obj), objects.name(obj)), obj)

    def remove(self, resource: Resource, obj: Object) -> None:
        self.sources[resource].delete(Key(objects.namespace(obj), objects.name(obj)))

    def apply(self, resource: Resource, event: Event) -> None:
        if event.type == "DELETED":
            self.remove(resource, event.object)
        else:
            self.put(resource, event.object)

    def settle(self) -> None:
        self.graph.settle()

    def diagnostics(self) -> list[Diagnostic]:
        """Everything there is to say, ordered by object."""
        return sorted([*self._of_configuration(), *self.registry.unbound()], key=_order)

    def findings(self) -> dict[ObjectRef, tuple[Diagnostic, ...]]:
        """What no condition of Istio's says, by object."""
        found: dict[ObjectRef, list[Diagnostic]] = {}
        for diagnostic in self._of_configuration():
            if not diagnostic.condition:
                found.setdefault(diagnostic.object, []).append(diagnostic)
        return {ref: tuple(sorted(some, key=_order)) for ref, some in found.items()}

    def _of_configuration(self) -> Iterator[Diagnostic]:
        for readings in (*self.gateway_routes.values(), self.virtual_services):
            yield from chain.from_iterable(reading.diagnostics for reading in readings.values())
        yield from chain.from_iterable(routing.diagnostics for routing in self.routing.values())
        yield from chain.from_iterable(rule.diagnostics for rule in self.rules.values())
        yield from chain.from_iterable(policy.diagnostics for policy in self.backend_policies.values())
        yield from chain.from_iterable(self.unused_backend_policies.values())
        yield from chain.from_iterable(self.unused_rules.values())
        yield from chain.from_iterable(self.unused_virtual_services.values())
        yield from chain.from_iterable(self.registry.entry_findings.values())
        yield from self.registry.canaries()
        yield from self.security.diagnostics()
        yield from chain.from_iterable(self.gateway_diagnostics.values())
        yield from self.telemetry.diagnostics()
        for fields in self.exempt_fields:
            yield from chain.from_iterable(fields.values())


def _order(diagnostic: Diagnostic) -> tuple[ObjectRef, str, str, str]:
    return diagnostic.object, diagnostic.field, diagnostic.reason, diagnostic.message


def _sets(_: Context, key: Key, reading: Reading) -> Mapping[tuple[Key, int], RouteSet]:
    return {(key, i): s for i, s in enumerate(reading.sets)}


def _exempt_fields(kind: str) -> Derive[Key, Object, Key, tuple[Diagnostic, ...]]:
    def read(_: Context, key: Key, obj: Object) -> Mapping[Key, tuple[Diagnostic, ...]]:
        found = coverage.findings(ObjectRef(kind, *key), obj)
        return {key: found} if found else {}

    return read


def index(listed: Mapping[Resource, Sequence[Object]]) -> MeshIndex:
    """The mesh of objects from anywhere: files, a real cluster, a store. Resources of other kinds are passed over."""
    built = MeshIndex()
    for resource in RESOURCES:
        for obj in listed.get(resource, ()):
            built.put(resource, obj)
    built.settle()
    return built
