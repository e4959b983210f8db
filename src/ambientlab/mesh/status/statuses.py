"""The statuses of everything in the index. What they are made of is derived: a change leads to those it concerns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    BACKENDTLSPOLICY,
    DESTINATIONRULE,
    GATEWAY,
    GATEWAYCLASS,
    NOT_BUILT,
    PEERAUTHENTICATION,
    REQUESTAUTHENTICATION,
    SERVICE,
    SERVICEENTRY,
    TELEMETRY,
    VIRTUALSERVICE,
    WORKLOADENTRY,
)
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.cluster import GATEWAY_CONTROLLER, MESH_CONTROLLER
from ambientlab.flow.collection import Collection, Context, Derive
from ambientlab.mesh.index import MeshIndex, coverage
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.findings import Said, by_object
from ambientlab.mesh.index.gatewayobjects import place
from ambientlab.mesh.ir import Key
from ambientlab.mesh.status.backend_policies import backend_policy_status
from ambientlab.mesh.status.findings import networking_status
from ambientlab.mesh.status.gateways import gateway_status, ingress_status
from ambientlab.mesh.status.policies import policy_status
from ambientlab.mesh.status.routes import route_status
from ambientlab.mesh.status.services import service_status

_ISTIOS = (
    *(VIRTUALSERVICE, DESTINATIONRULE, WORKLOADENTRY, REQUESTAUTHENTICATION, PEERAUTHENTICATION, TELEMETRY),
    *NOT_BUILT,
)
"""Kinds about which Istio itself says nothing."""

Place = tuple[Resource, Key]


@dataclass(frozen=True, slots=True)
class Report:
    """What the status of an object is made of. The moment comes on top, for the times of transitions."""

    make: Callable[..., Object]
    object: Object
    inputs: tuple[Any, ...] = ()

    def status(self, now: datetime) -> Object:
        return self.make(self.object, *self.inputs, now)


Reports = Mapping[Place, Report]


class Statuses:
    """A status is whole, including what others wrote into it; an object that is as it should be has the status it has.

    Not covered are GatewayClasses: accepting them is the work of a controller. `said` is what others than the index
    have to say.
    """

    def __init__(self, index: MeshIndex, *said: Said) -> None:
        self._index = index
        graph, sources = index.graph, index.sources
        self.findings: Collection[ObjectRef, tuple[Diagnostic, ...]] = by_object(graph, [*index.said(), *said])
        makers: dict[Resource, Derive[Key, Object, Place, Report]] = {
            **{resource: self._route(resource) for resource in index.routes.gateway_api},
            **{resource: self._istios(resource) for resource in _ISTIOS},
            BACKENDTLSPOLICY: self._backend_policy,
            AUTHORIZATIONPOLICY: self._policy,
            SERVICE: self._service,
            SERVICEENTRY: self._service_entry,
            GATEWAY: self._gateway,
        }
        self.reports: Collection[Place, Report] = graph.join(
            "reports",
            *(graph.derive(f"{r.kind} reports", sources[r], make) for r, make in makers.items()),
        )
        self._changed: set[Place] = set()
        self.reports.watch(lambda place, _: self._changed.add(place))

    def wanted(self, now: datetime) -> dict[Place, Object]:
        """All of them, as of the last settling."""
        return {place: report.status(now) for place, report in self.reports.items()}

    def news(self, now: datetime) -> dict[Place, tuple[Object, Object] | None]:
        """Objects whose status may be another than at the last call, and that status; None for what is gone."""
        changed, self._changed = self._changed, set()
        reports = {place: self.reports.get(place) for place in changed}
        return {place: None if each is None else (each.object, each.status(now)) for place, each in reports.items()}

    def _about(self, ctx: Context, kind: str, key: Key) -> tuple[Diagnostic, ...]:
        return ctx.fetch(self.findings, ObjectRef(kind, *key)) or ()

    def _route(self, resource: Resource) -> Derive[Key, Object, Place, Report]:
        readings = self._index.routes.gateway_api[resource]

        def report(ctx: Context, key: Key, obj: Object) -> Reports:
            reading = ctx.fetch(readings, key)
            if reading is None:
                return {}
            found = self._about(ctx, resource.kind, key)
            return {(resource, key): Report(route_status, obj, (reading.diagnostics, found))}

        return report

    def _istios(self, resource: Resource) -> Derive[Key, Object, Place, Report]:
        kind = coverage.name_of(resource.group, resource.kind)

        def report(ctx: Context, key: Key, obj: Object) -> Reports:
            return {(resource, key): Report(networking_status, obj, (self._about(ctx, kind, key),))}

        return report

    def _backend_policy(self, ctx: Context, key: Key, obj: Object) -> Reports:
        reading = ctx.fetch(self._index.backend_policies.readings, key)
        if reading is None:
            return {}
        found = self._about(ctx, BACKENDTLSPOLICY.kind, key)
        return {(BACKENDTLSPOLICY, key): Report(backend_policy_status, obj, (reading.targets, found))}

    def _policy(self, ctx: Context, key: Key, obj: Object) -> Reports:
        security = self._index.security
        reading, attachments = ctx.fetch(security.ztunnel.policies, key), ctx.fetch(security.attachments, key)
        if reading is None or attachments is None:
            return {}
        found = self._about(ctx, AUTHORIZATIONPOLICY.kind, key)
        return {(AUTHORIZATIONPOLICY, key): Report(policy_status, obj, (reading.acceptance, attachments, found))}

    def _service(self, ctx: Context, key: Key, obj: Object) -> Reports:
        binding = self._index.registry.binding(ctx, SERVICE.kind, key, self._index.host(key))
        return {(SERVICE, key): Report(service_status, obj, (binding, self._about(ctx, SERVICE.kind, key)))}

    def _service_entry(self, ctx: Context, key: Key, obj: Object) -> Reports:
        binding = self._index.registry.binding(ctx, SERVICEENTRY.kind, key, obj["spec"]["hosts"][0])
        found = self._about(ctx, SERVICEENTRY.kind, key)
        return {(SERVICEENTRY, key): Report(service_status, obj, (binding, found))}

    def _gateway(self, ctx: Context, key: Key, obj: Object) -> Reports:
        index = self._index
        gateway_class = ctx.fetch(index.sources[GATEWAYCLASS], Key("", obj["spec"].get("gatewayClassName", "")))
        controller = gateway_class["spec"].get("controllerName") if gateway_class is not None else None
        if controller == GATEWAY_CONTROLLER:
            return {(GATEWAY, key): Report(ingress_status, obj)}
        if controller != MESH_CONTROLLER:
            return {}
        where = place(obj, index.domain)
        services = tuple(ctx.fetch(index.services, host) for host in where.hosts)
        said = tuple(one for one in ctx.fetch(index.gateway_diagnostics, key) or () if one.condition)
        found = self._about(ctx, GATEWAY.kind, key)
        return {(GATEWAY, key): Report(gateway_status, obj, (where, services, (*said, *found)))}
