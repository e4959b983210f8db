"""All stages of the index, joined: API objects in, the mesh and the diagnostics out, kept up to date by collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ambientlab.api import objects
from ambientlab.api.client import Event
from ambientlab.api.kinds import (
    BACKENDTLSPOLICY,
    CONFIGMAP,
    DEPLOYMENT,
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
from ambientlab.flow.collection import Collection, Context, Derive, Failed, Graph, Source
from ambientlab.mesh.index import (
    backendtls,
    coverage,
    credentials,
    destinationrules,
    effects,
    findings,
    gatewayobjects,
    meshconfig,
    routing,
    security,
    telemetry,
    waypoints,
    workloads,
)
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.registry import Registry
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.values import service_host
from ambientlab.mesh.ir import Credential, Key, Mesh, Waypoint, Workload

RESOURCES = (
    NAMESPACE, POD, SERVICE, ENDPOINTSLICE, GATEWAYCLASS, GATEWAY, HTTPROUTE, GRPCROUTE, TCPROUTE, TLSROUTE,
    REFERENCEGRANT, VIRTUALSERVICE, DESTINATIONRULE, SERVICEENTRY, WORKLOADENTRY, BACKENDTLSPOLICY, SECRET, CONFIGMAP,
    NODE,
    *security.RESOURCES, TELEMETRY, *NOT_BUILT,
)  # fmt: skip
"""The resources the mesh is made of: what to list and watch."""
ANALYSED = (DEPLOYMENT,)
"""What decides about nothing, and is analysed where somebody lists it."""
_NAMED = {coverage.name_of(resource.group, resource.kind): resource for resource in RESOURCES}


class MeshIndex:
    """The mesh as of the last `settle`. Feed objects with `put` and `remove`, or events with `apply`.

    `failed` is told of what could not be derived: see `Graph`. Without `ipv6` nobody can be reached by it.
    """

    def __init__(
        self, *, home: meshconfig.Home = meshconfig.HOME, failed: Failed | None = None, ipv6: bool = True
    ) -> None:
        self.home, self.domain = home, (domain := home.domain)
        self.graph = graph = Graph(failed)
        self.sources: dict[Resource, Source[Key, Object]] = {r: graph.source(r.plural) for r in (*RESOURCES, *ANALYSED)}
        sources = self.sources
        self.mesh_config: Source[Key, meshconfig.Config] = graph.source("mesh's configuration")
        self.trust = trust = meshconfig.trust_domains(graph, self.mesh_config)
        self.gateways: Collection[Key, waypoints.WaypointGateway] = graph.derive(
            "waypoint gateways",
            sources[GATEWAY],
            lambda ctx, key, obj: waypoints.gateway(ctx, key, obj, sources[GATEWAYCLASS], sources[SERVICE], domain),
        )
        gateways = self.gateways
        self.nodes = nodes = graph.derive("localities of nodes", sources[NODE], workloads.node_locality)
        self.workloads = self._pods("workloads", at_node=False)
        self.at_node = self._pods("workloads at the node's address", at_node=True)
        instances = self.workloads.index(workloads.waypoint_of)
        self.waypoints: Collection[Key, Waypoint] = graph.derive(
            "waypoints", gateways, lambda ctx, key, gateway: workloads.waypoint(ctx, key, gateway, instances)
        )
        self.rules: Collection[Key, destinationrules.Rule] = graph.derive(
            "destination rules",
            sources[DESTINATIONRULE],
            lambda ctx, key, obj: destinationrules.read(ctx, key, obj, domain),
        )
        self.backend_policies = backendtls.BackendPolicies(graph, sources, domain)
        self.registry = Registry(graph, sources, gateways, self.workloads, nodes, self._rules_for, domain, trust, ipv6)
        self.shapes, self.services = self.registry.shapes, self.registry.services
        self.routes = routing.Routes(graph, sources, self.shapes, self.registry.rules, domain)
        self.effects = effects.Effects(
            graph,
            self.shapes,
            self.rules,
            self.backend_policies.readings,
            self.routes.virtual_services,
            self._resolve,
            self.registry.rules,
        )
        self.gateway_diagnostics: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "Gateways read",
            sources[GATEWAY],
            lambda ctx, key, obj: gatewayobjects.diagnostics(ctx, key, obj, sources[CONFIGMAP]),
        )
        self.exempt_fields = [
            graph.derive(f"{kind} fields", sources[resource], _exempt_fields(kind))
            for kind, resource in _NAMED.items()
            if kind in coverage.EXEMPTIONS
        ]
        self.mesh_config_problems = meshconfig.problems(graph, sources[CONFIGMAP], home.config)
        self.security = security.Security(graph, sources, self.mesh_config, gateways, self.shapes, trust, home.root)
        self.telemetry = telemetry.Telemetries(
            graph, sources[TELEMETRY], self.mesh_config, gateways, self.shapes, home.root
        )
        self.mesh = Mesh(
            self.workloads,
            self.services,
            self.waypoints,
            self.routes.tables,
            self.routes.connections,
            self.security.guards,
            self.telemetry.wanted,
            self.security.ztunnel.authorizations,
            self.security.ztunnel.enforced,
            trust_domains=trust,
            nodes=nodes,
        )

    def _pods(self, name: str, *, at_node: bool) -> Collection[Key, Workload]:
        gateways, namespaces, nodes, trust = self.gateways, self.sources[NAMESPACE], self.nodes, self.trust

        def derive(ctx: Context, key: Key, pod: Object) -> Mapping[Key, Workload]:
            return workloads.workload(ctx, key, pod, gateways, namespaces, nodes, trust, at_node=at_node)

        return self.graph.derive(name, self.sources[POD], derive)

    def _rules_for(self, shapes: Collection[str, Shape]) -> destinationrules.Rules:
        return destinationrules.Rules(self.home.root, self.rules, self.backend_policies.rules(shapes))

    def host(self, service: Key) -> str:
        """The fully qualified name of a Service."""
        return service_host(service, self.domain)

    def credential(self, namespace: str, name: str) -> Credential:
        """What a proxy of `namespace` is to be given under `name`. Raises `credentials.CredentialError`."""
        return credentials.resolve(name, namespace, self.sources[SECRET].get, self.sources[CONFIGMAP].get)

    def _resolve(self, ctx: Context, namespace: str, name: str) -> Credential:
        secrets, config_maps = self.sources[SECRET], self.sources[CONFIGMAP]
        return credentials.resolve(
            name, namespace, lambda key: ctx.fetch(secrets, key), lambda key: ctx.fetch(config_maps, key)
        )

    def put(self, resource: Resource, obj: Object) -> None:
        key = Key(objects.namespace(obj), objects.name(obj))
        self.sources[resource].set(key, obj)
        if resource is CONFIGMAP and key == self.home.config:
            meshconfig.take_up(self.mesh_config, obj)

    def remove(self, resource: Resource, obj: Object) -> None:
        key = Key(objects.namespace(obj), objects.name(obj))
        self.sources[resource].delete(key)
        if resource is CONFIGMAP and key == self.home.config:
            self.mesh_config.delete(meshconfig.KEY)

    def apply(self, resource: Resource, event: Event) -> None:
        if event.type == "DELETED":
            self.remove(resource, event.object)
        else:
            self.put(resource, event.object)

    def settle(self) -> int:
        """See `Graph.settle`."""
        return self.graph.settle()

    def diagnostics(self) -> list[Diagnostic]:
        """Everything there is to say, ordered by object."""
        return sorted(dict.fromkeys(findings.everything(self.said())), key=findings.order)

    def said(self) -> list[findings.Said]:
        return [
            *self.routes.said(),
            findings.of_readings(self.rules),
            *self.backend_policies.said(),
            *self.effects.said(),
            *self.registry.said(),
            *self.security.said(),
            findings.of_diagnostics(self.gateway_diagnostics),
            *self.telemetry.said(),
            (self.mesh_config, lambda _, config: meshconfig.diagnostics(self.home, config)),
            (self.mesh_config_problems, lambda _, why: [meshconfig.unreadable(self.home.config, why)]),
            *map(findings.of_diagnostics, self.exempt_fields),
        ]


def _exempt_fields(kind: str) -> Derive[Key, Object, Key, tuple[Diagnostic, ...]]:
    def read(_: Context, key: Key, obj: Object) -> Mapping[Key, tuple[Diagnostic, ...]]:
        found = coverage.findings(ObjectRef(kind, *key), obj)
        return {key: found} if found else {}

    return read


def index(
    listed: Mapping[Resource, Sequence[Object]],
    *,
    home: meshconfig.Home = meshconfig.HOME,
    failed: Failed | None = None,
) -> MeshIndex:
    """The mesh of objects from anywhere: files, a real cluster, a store. Resources of other kinds are passed over, and
    so is an object that has not the shape of its kind, of which `failed` is told."""
    built = MeshIndex(home=home, failed=failed)
    for resource in (*RESOURCES, *ANALYSED):
        for obj in listed.get(resource, ()):
            try:
                built.put(resource, obj)
            except Exception as error:
                if failed is None:
                    raise
                failed(resource.plural, Key(objects.namespace(obj), objects.name(obj)), error)
    built.settle()
    return built
