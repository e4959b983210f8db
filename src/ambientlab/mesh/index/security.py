"""Policies of security.istio.io: which apply where, and what there is to say about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    CONFIGMAP,
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
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.targets import EVERY_WAYPOINT, Attachment, Places, Target, gateway, service
from ambientlab.mesh.index.waypoints import WaypointGateway, bind
from ambientlab.mesh.ir import Guard, Key, PolicyAction, Traffic

RESOURCES = (AUTHORIZATIONPOLICY, REQUESTAUTHENTICATION, PEERAUTHENTICATION)


class Security:
    """The collections of policies, derived within the graph of everything else."""

    def __init__(
        self,
        graph: Graph,
        sources: Mapping[Resource, Collection[Key, Object]],
        gateways: Collection[Key, WaypointGateway],
        shapes: Collection[str, Shape],
    ) -> None:
        self.policies: Collection[Key, PolicyReading] = graph.derive(
            "AuthorizationPolicies read",
            sources[AUTHORIZATIONPOLICY],
            lambda _, key, obj: {key: authorization.read(key, obj)},
        )
        by_target = self.policies.index(lambda _, reading: reading.targets)

        self.key_sets: Source[KeySource, KeySet] = graph.source("fetched keys")
        self.tokens: Collection[Key, TokenReading] = graph.derive(
            "RequestAuthentications read",
            sources[REQUESTAUTHENTICATION],
            lambda ctx, key, obj: {key: authentication.read(key, obj, lambda of: ctx.fetch(self.key_sets, of))},
        )
        tokens_by_target = self.tokens.index(lambda _, reading: reading.targets)

        providers_key = meshconfig.KEY
        providers: Collection[Key, extensionproviders.Providers] = graph.derive(
            "extension providers",
            sources[CONFIGMAP],
            lambda _, key, obj: {key: extensionproviders.read(obj)} if key == providers_key else {},
        )

        def guard(ctx: Context, waypoint: Key, *own: Target) -> Guard:
            targets = (EVERY_WAYPOINT, gateway(waypoint), *own)
            found_gateway = ctx.fetch(gateways, waypoint)
            tells = found_gateway is not None and found_gateway.tells_clients
            found = {reading.policy.key: reading.policy for t in targets for reading in ctx.select(by_target, t)}
            readings = {reading.order: reading for t in targets for reading in ctx.select(tokens_by_target, t)}
            rules = [rule for _, reading in sorted(readings.items()) for rule in reading.rules]
            policies = tuple(policy for _, policy in sorted(found.items()))
            asked = {p.provider for p in policies if p.action is PolicyAction.CUSTOM and not p.dry_run}
            provider, problem = None, ""
            if asked:
                known = ctx.fetch(providers, providers_key) or {}
                try:
                    provider = extensionproviders.choose(asked, known, lambda host: ctx.fetch(shapes, host) is not None)
                except extensionproviders.ProviderError as error:
                    problem = str(error)
            return Guard(policies, tuple(sorted(rules, key=lambda rule: rule.issuer)), provider, problem, tells)

        def of_service(ctx: Context, host: str, shape: Shape) -> Mapping[tuple[Key, str], Guard]:
            own = service(shape.kind, shape.key)
            found = {(waypoint, host): guard(ctx, waypoint, own) for waypoint in shape.binding.waypoints}
            return {place: value for place, value in found.items() if value}

        def of_waypoint(ctx: Context, key: Key, _: WaypointGateway) -> Mapping[tuple[Key, str], Guard]:
            found = guard(ctx, key)
            return {(key, ""): found} if found else {}

        self.guards: Collection[tuple[Key, str], Guard] = graph.join(
            "guards",
            graph.derive("guards of services", shapes, of_service),
            graph.derive("guards of waypoints", gateways, of_waypoint),
        )

        def places(ctx: Context) -> Places:
            def waypoint_of(resource: Resource, of: Key) -> Key | str | None:
                obj = ctx.fetch(sources[resource], of)
                if obj is None:
                    return None
                return bind(ctx, obj, Traffic.SERVICE, gateways, sources[NAMESPACE]).waypoint or ""

            def controller(name: str) -> str | None:
                found = ctx.fetch(sources[GATEWAYCLASS], Key("", name))
                return None if found is None else str(found["spec"].get("controllerName", ""))

            return Places(
                lambda of: ctx.fetch(gateways, of) is not None,
                lambda of: waypoint_of(SERVICE, of),
                lambda of: waypoint_of(SERVICEENTRY, of),
                controller,
            )

        def attachments(ctx: Context, key: Key, reading: PolicyReading) -> Mapping[Key, tuple[Attachment, ...]]:
            return {key: tuple(places(ctx).attach(target) for target in reading.targets)}

        self.attachments: Collection[Key, tuple[Attachment, ...]] = graph.derive(
            "policy attachments", self.policies, attachments
        )

        def loose(ctx: Context, key: Key, reading: TokenReading) -> Mapping[Key, tuple[Diagnostic, ...]]:
            return {key: authentication.unbound(reading, tuple(places(ctx).attach(t) for t in reading.targets))}

        self.unbound_tokens: Collection[Key, tuple[Diagnostic, ...]] = graph.derive(
            "RequestAuthentications without effect", self.tokens, loose
        )

    def key_sources(self) -> dict[KeySource, int]:
        """Where keys are to be fetched, and how many milliseconds that may take."""
        return dict(timeout for reading in self.tokens.values() for timeout in reading.timeouts_ms)

    def diagnostics(self) -> Iterator[Diagnostic]:
        yield from chain.from_iterable(reading.diagnostics for reading in self.policies.values())
        yield from chain.from_iterable(reading.diagnostics for reading in self.tokens.values())
        yield from chain.from_iterable(self.unbound_tokens.values())
        for (waypoint, host), guard in self.guards.items():
            if guard.provider_problem:
                yield from extensionproviders.findings(host or f"workloads of waypoint {waypoint}", guard)
