"""Policies of security.istio.io: which apply where, and what there is to say about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    GATEWAYCLASS,
    NAMESPACE,
    PEERAUTHENTICATION,
    REQUESTAUTHENTICATION,
    SERVICE,
    SERVICEENTRY,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Collection, Context, Graph, Source
from ambientlab.mesh.index import authentication, authorization, extensionproviders, meshconfig
from ambientlab.mesh.index.authentication import KeySet, KeySource, TokenReading
from ambientlab.mesh.index.authorization import PolicyReading
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.enforcement import Enforcement
from ambientlab.mesh.index.findings import Said, of_diagnostics, of_readings
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.targets import Attachment, Places, Target, every_waypoint, gateway, service
from ambientlab.mesh.index.waypoints import WaypointGateway, bind, class_controller
from ambientlab.mesh.ir import AuthorizationPolicy, Guard, Key, PolicyAction, Provider, Traffic, TrustDomains

RESOURCES = (AUTHORIZATIONPOLICY, REQUESTAUTHENTICATION, PEERAUTHENTICATION)


class Security:
    """The collections of policies, derived within the graph of everything else."""

    def __init__(
        self,
        graph: Graph,
        sources: Mapping[Resource, Collection[Key, Object]],
        mesh_config: Collection[Key, meshconfig.Config],
        gateways: Collection[Key, WaypointGateway],
        shapes: Collection[str, Shape],
        trust: Collection[str, TrustDomains],
        root: str,
    ) -> None:
        self.root = root
        self._sources, self._gateways, self._shapes = sources, gateways, shapes
        self.ztunnel = Enforcement(graph, sources, root)
        self.policies: Collection[Key, PolicyReading] = graph.derive(
            "AuthorizationPolicies read",
            sources[AUTHORIZATIONPOLICY],
            lambda ctx, key, obj: {key: authorization.read(key, obj, meshconfig.trust_of(ctx, trust))},
        )
        self._policies_by_target = self.policies.index(lambda _, reading: reading.targets)
        self.key_sets: Source[KeySource, KeySet] = graph.source("fetched keys")
        self.tokens: Collection[Key, TokenReading] = graph.derive(
            "RequestAuthentications read",
            sources[REQUESTAUTHENTICATION],
            lambda ctx, key, obj: {key: authentication.read(key, obj, lambda of: ctx.fetch(self.key_sets, of))},
        )
        self._tokens_by_target = self.tokens.index(lambda _, reading: reading.targets)
        self._providers: Collection[Key, extensionproviders.Providers] = graph.derive(
            "extension providers", mesh_config, lambda _, key, config: {key: extensionproviders.read(config)}
        )
        self.guards: Collection[tuple[Key, str], Guard] = graph.join(
            "guards",
            graph.derive("guards of services", shapes, self._guards_of_service),
            graph.derive("guards of waypoints", gateways, self._guard_of_waypoint),
        )
        self.attachments: Collection[Key, tuple[Attachment, ...]] = graph.derive(
            "policy attachments",
            self.policies,
            lambda ctx, key, reading: {key: self._attached(ctx, reading.targets)},
        )
        self._unbound_tokens: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "RequestAuthentications without effect",
            self.tokens,
            lambda ctx, key, reading: {key: authentication.unbound(reading, self._attached(ctx, reading.targets))},
        )

    def key_sources(self) -> dict[KeySource, int]:
        """Where keys are to be fetched, and how many milliseconds that may take."""
        return dict(timeout for reading in self.tokens.values() for timeout in reading.timeouts_ms)

    def said(self) -> list[Said]:
        readings = (of_readings(self.policies), of_readings(self.tokens))
        guards = self.guards, _without_provider
        return [*readings, of_diagnostics(self._unbound_tokens), guards, *self.ztunnel.said()]

    def _guards_of_service(self, ctx: Context, host: str, shape: Shape) -> Mapping[tuple[Key, str], Guard]:
        own = service(shape.kind, shape.key)
        found = {(waypoint, host): self._guard(ctx, waypoint, own) for waypoint in shape.binding.waypoints}
        return {place: guard for place, guard in found.items() if guard}

    def _guard_of_waypoint(self, ctx: Context, key: Key, _: WaypointGateway) -> Mapping[tuple[Key, str], Guard]:
        found = self._guard(ctx, key)
        return {(key, ""): found} if found else {}

    def _guard(self, ctx: Context, waypoint: Key, *own: Target) -> Guard:
        targets = (every_waypoint(self.root), gateway(waypoint), *own)
        there = ctx.fetch(self._gateways, waypoint)
        found = {r.policy.key: r.policy for t in targets for r in ctx.select(self._policies_by_target, t)}
        policies = tuple(policy for _, policy in sorted(found.items()))
        readings = {reading.order: reading for t in targets for reading in ctx.select(self._tokens_by_target, t)}
        rules = [rule for _, reading in sorted(readings.items()) for rule in reading.rules]
        provider, problem = self._provider(ctx, policies)
        return Guard(
            policies,
            tuple(sorted(rules, key=lambda rule: rule.issuer)),
            provider,
            problem,
            tells_client=there is not None and there.tells_clients,
        )

    def _provider(self, ctx: Context, policies: Sequence[AuthorizationPolicy]) -> tuple[Provider | None, str]:
        """Who is asked by the policies, or why nobody can be; neither where none asks."""
        asked = {p.provider for p in policies if p.action is PolicyAction.CUSTOM and not p.dry_run}
        if not asked:
            return None, ""
        known = ctx.fetch(self._providers, meshconfig.KEY) or {}
        try:
            found = extensionproviders.choose(asked, known, lambda host: ctx.fetch(self._shapes, host) is not None)
        except extensionproviders.ProviderError as error:
            return None, str(error)
        return found, ""

    def _attached(self, ctx: Context, targets: Sequence[Target]) -> tuple[Attachment, ...]:
        def waypoint_of(resource: Resource, of: Key) -> Key | str | None:
            obj = ctx.fetch(self._sources[resource], of)
            if obj is None:
                return None
            return bind(ctx, obj, Traffic.SERVICE, self._gateways, self._sources[NAMESPACE]).waypoint or ""

        places = Places(
            lambda of: ctx.fetch(self._gateways, of) is not None,
            lambda of: waypoint_of(SERVICE, of),
            lambda of: waypoint_of(SERVICEENTRY, of),
            lambda name: class_controller(ctx, name, self._sources[GATEWAYCLASS]),
            self.root,
        )
        return tuple(places.attach(target) for target in targets)


def _without_provider(place: tuple[Key, str], guard: Guard) -> Iterable[Diagnostic]:
    waypoint, host = place
    where = host or f"workloads of waypoint {waypoint}"
    return extensionproviders.findings(where, guard) if guard.provider_problem else ()
