"""Policies of security.istio.io: which apply where, and what there is to say about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

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
from ambientlab.flow.collection import Collection, Context, Graph
from ambientlab.mesh.index import authorization
from ambientlab.mesh.index.authorization import PolicyReading
from ambientlab.mesh.index.diagnostics import Diagnostic
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.index.targets import EVERY_WAYPOINT, Attachment, Places, Target, gateway, service
from ambientlab.mesh.index.waypoints import WaypointGateway, bind
from ambientlab.mesh.ir import Guard, Key, Traffic

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

        def guard(ctx: Context, targets: tuple[Target, ...]) -> Guard:
            found = {reading.policy.key: reading.policy for t in targets for reading in ctx.select(by_target, t)}
            return Guard(tuple(policy for _, policy in sorted(found.items())))

        def of_service(ctx: Context, host: str, shape: Shape) -> Mapping[str, Guard]:
            waypoint = shape.binding.waypoint
            if waypoint is None:
                return {}
            found = guard(ctx, (EVERY_WAYPOINT, gateway(waypoint), service(shape.kind, shape.key)))
            return {host: found} if found else {}

        def of_waypoint(ctx: Context, key: Key, _: WaypointGateway) -> Mapping[Key, Guard]:
            found = guard(ctx, (EVERY_WAYPOINT, gateway(key)))
            return {key: found} if found else {}

        self.guards: Collection[str, Guard] = graph.derive("guards", shapes, of_service)
        self.waypoint_guards: Collection[Key, Guard] = graph.derive("waypoint guards", gateways, of_waypoint)

        def attachments(ctx: Context, key: Key, reading: PolicyReading) -> Mapping[Key, tuple[Attachment, ...]]:
            def waypoint_of(resource: Resource, of: Key) -> Key | str | None:
                obj = ctx.fetch(sources[resource], of)
                if obj is None:
                    return None
                return bind(ctx, obj, Traffic.SERVICE, gateways, sources[NAMESPACE]).waypoint or ""

            def controller(name: str) -> str | None:
                found = ctx.fetch(sources[GATEWAYCLASS], Key("", name))
                return None if found is None else str(found["spec"].get("controllerName", ""))

            places = Places(
                lambda of: ctx.fetch(gateways, of) is not None,
                lambda of: waypoint_of(SERVICE, of),
                lambda of: waypoint_of(SERVICEENTRY, of),
                controller,
            )
            return {key: tuple(places.attach(target) for target in reading.targets)}

        self.attachments: Collection[Key, tuple[Attachment, ...]] = graph.derive(
            "policy attachments", self.policies, attachments
        )

    def diagnostics(self) -> Iterator[Diagnostic]:
        yield from chain.from_iterable(reading.diagnostics for reading in self.policies.values())
