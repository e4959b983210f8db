"""The statuses of everything in the index, computed again only for what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from ambientlab.mesh.index import MeshIndex, coverage
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.gatewayobjects import place
from ambientlab.mesh.ir import Key
from ambientlab.mesh.status.backend_policies import backend_policy_status
from ambientlab.mesh.status.findings import networking_status
from ambientlab.mesh.status.gateways import gateway_status, ingress_status
from ambientlab.mesh.status.policies import policy_status
from ambientlab.mesh.status.routes import route_status
from ambientlab.mesh.status.services import service_entry_status, service_status

_ISTIOS = (
    *(VIRTUALSERVICE, DESTINATIONRULE, WORKLOADENTRY, REQUESTAUTHENTICATION, PEERAUTHENTICATION, TELEMETRY),
    *NOT_BUILT,
)
"""Kinds about which Istio itself says nothing."""

Place = tuple[Resource, Key]


class Statuses:
    """`wanted` is the whole status of every object this mesh reports on, including what others wrote into it.

    An object that is as it should be has the status it has. Not covered are GatewayClasses: accepting them is the work
    of a controller.
    """

    def __init__(self, index: MeshIndex) -> None:
        self._index = index
        self._memo: dict[Place, tuple[tuple[Any, ...], Object]] = {}

    def wanted(self, findings: Mapping[ObjectRef, tuple[Diagnostic, ...]], now: datetime) -> dict[Place, Object]:
        """`findings` are the index's, as of now."""
        index = self._index
        result: dict[Place, Object] = {}
        memo: dict[Place, tuple[tuple[Any, ...], Object]] = {}

        def add(resource: Resource, key: Key, make: Callable[..., Object], *inputs: Any) -> None:
            place = (resource, key)
            kept = self._memo.get(place)
            if kept is None or kept[0] != inputs:
                kept = (inputs, make(*inputs, now))
            memo[place] = kept
            result[place] = kept[1]

        for resource, readings in index.routes.gateway_api.items():
            for key, obj in index.sources[resource].items():
                found = findings.get(ObjectRef(resource.kind, *key), ())
                add(resource, key, route_status, obj, readings[key].diagnostics, found)
        for resource in _ISTIOS:
            for key, obj in index.sources[resource].items():
                ref = ObjectRef(coverage.name_of(resource.group, resource.kind), *key)
                add(resource, key, networking_status, obj, findings.get(ref, ()))
        for key, obj in index.sources[BACKENDTLSPOLICY].items():
            found = findings.get(ObjectRef(BACKENDTLSPOLICY.kind, *key), ())
            add(BACKENDTLSPOLICY, key, backend_policy_status, obj, index.backend_policies.readings[key].targets, found)
        for key, obj in index.sources[AUTHORIZATIONPOLICY].items():
            acceptance, attachments = index.security.ztunnel.policies[key].acceptance, index.security.attachments[key]
            found = findings.get(ObjectRef(AUTHORIZATIONPOLICY.kind, *key), ())
            add(AUTHORIZATIONPOLICY, key, policy_status, obj, acceptance, attachments, found)
        for key, obj in index.sources[SERVICE].items():
            add(SERVICE, key, service_status, obj, index.registry.binding(SERVICE.kind, key, index.host(key)))
        for key, obj in index.sources[SERVICEENTRY].items():
            binding = index.registry.binding(SERVICEENTRY.kind, key, obj["spec"]["hosts"][0])
            found = findings.get(ObjectRef(SERVICEENTRY.kind, *key), ())
            add(SERVICEENTRY, key, service_entry_status, obj, binding, found)
        for key, obj in index.sources[GATEWAY].items():
            gateway_class = index.sources[GATEWAYCLASS].get(Key("", obj["spec"].get("gatewayClassName", "")))
            controller = gateway_class["spec"].get("controllerName") if gateway_class is not None else None
            if controller == MESH_CONTROLLER:
                where = place(obj, index.domain)
                services = tuple(index.services.get(host) for host in where.hosts)
                said = tuple(one for one in index.gateway_diagnostics.get(key, ()) if one.condition)
                found = findings.get(ObjectRef(GATEWAY.kind, *key), ())
                add(GATEWAY, key, gateway_status, obj, where, services, (*said, *found))
            elif controller == GATEWAY_CONTROLLER:
                add(GATEWAY, key, ingress_status, obj)
        self._memo = memo
        return result
