"""Deploying waypoints: a Gateway of a class that istio.io/mesh-controller handles gets what runs it, and keeps it.

The Gateway's status is not written here: whether its proxy is programmed is for the control plane to say. As istiod,
this loop overwrites nothing it has not made, and leaves a Gateway with a hostname in `spec.addresses` to whoever runs
what the name points to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ambientlab.api.client import Client, Event
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import CONFIGMAP, DEPLOYMENT, GATEWAY, GATEWAYCLASS, SERVICE, SERVICEACCOUNT
from ambientlab.api.objects import Object, labels_of, name, namespace
from ambientlab.api.resources import Resource
from ambientlab.cluster import GATEWAY_CONTROLLER, MESH_CONTROLLER, ROOT_NAMESPACE
from ambientlab.controllers.base import Key, key_of
from ambientlab.controllers.events import Recorder
from ambientlab.controllers.gatewayclass import BUILTIN
from ambientlab.controllers.overlays import CLASS_DEFAULTS, NOT_BUILT, OverlayError, overlaid
from ambientlab.controllers.owners import is_deleting, owner_references
from ambientlab.controllers.waypoint import MANAGED_LABEL, resources
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import PermanentError, Stop
from ambientlab.mesh.index import meshconfig

COMPONENT = "gateway-controller"


class GatewayController:
    name = "gateway"

    def __init__(self, client: Client, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        def gateway(event: Event) -> None:
            if event.old is None or _asked(event.old) != _asked(event.object):
                queue.add(key_of(event.object))

        def gateway_class(event: Event) -> None:
            for one in self._client.list(GATEWAY):
                if one["spec"]["gatewayClassName"] == name(event.object):
                    queue.add(key_of(one))

        def child(event: Event) -> None:
            if event.type == "MODIFIED" and event.old is not None and _asked(event.old) == _asked(event.object):
                return  # its status
            for ref in [*owner_references(event.object), *owner_references(event.old or event.object)]:
                if ref["kind"] == GATEWAY.kind and ref["apiVersion"].partition("/")[0] == GATEWAY.group:
                    queue.add(Key(namespace(event.object), ref["name"]))

        def config_map(event: Event) -> None:
            of_class = labels_of(event.object).get(CLASS_DEFAULTS) or labels_of(event.old or event.object).get(
                CLASS_DEFAULTS
            )
            for one in self._client.list(GATEWAY):
                reference = parameters_reference(one)
                named = reference is not None and key_of(event.object) == Key(namespace(one), reference["name"])
                if named or (of_class is not None and one["spec"]["gatewayClassName"] == of_class):
                    queue.add(key_of(one))

        return [
            self._client.watch(GATEWAY, gateway),
            self._client.watch(CONFIGMAP, config_map),
            self._client.watch(GATEWAYCLASS, gateway_class),
            *[self._client.watch(resource, child) for resource in (SERVICEACCOUNT, DEPLOYMENT, SERVICE)],
        ]

    async def reconcile(self, key: Key) -> None:
        gateway = self._client.get(GATEWAY, key.name, key.namespace)
        if gateway is None or is_deleting(gateway) or not self._is_waypoint(gateway) or not _is_managed(gateway):
            return
        try:
            overlays = [*self._class_defaults(gateway), *self._parameters(gateway)]
            config = self._mesh_config()
            made = resources(gateway, meshconfig.trust(config).own, meshconfig.proxy_config(config))
            children = overlaid(made, overlays)
        except OverlayError as error:
            self._recorder.record(COMPONENT, GATEWAY, gateway, "Warning", "InvalidParameters", str(error))
            raise PermanentError(str(error)) from error
        for missing in [key for key in NOT_BUILT if any(key in overlay for overlay in overlays)]:
            message = f"{missing} is not supported by ambientlab: nothing is made of it"
            self._recorder.record(COMPONENT, GATEWAY, gateway, "Warning", "Unsupported", message)
        for resource, wanted in children:
            if self._may_write(gateway, resource, wanted):
                await self._write(gateway, resource, wanted)

    async def _write(self, gateway: Object, resource: Resource, wanted: Object) -> None:
        """What is no valid object is so by what the Gateway or its parameters say, and stays so until they change."""
        try:
            await self._client.apply(resource, wanted, manager=GATEWAY_CONTROLLER)
        except StatusError as error:
            if error.reason != "Invalid":
                raise
            self._recorder.record(COMPONENT, GATEWAY, gateway, "Warning", "InvalidParameters", error.message)
            raise PermanentError(error.message) from error

    def _mesh_config(self) -> meshconfig.Config:
        """As it is now: a change restarts no waypoint that runs."""
        config = self._client.get(CONFIGMAP, meshconfig.KEY.name, meshconfig.KEY.namespace)
        return meshconfig.read(config or {})

    def _class_defaults(self, gateway: Object) -> Iterator[Mapping[str, str]]:
        """Of several ConfigMaps the oldest counts."""
        wanted = gateway["spec"]["gatewayClassName"]
        found = [
            one for one in self._client.list(CONFIGMAP, ROOT_NAMESPACE) if labels_of(one).get(CLASS_DEFAULTS) == wanted
        ]
        if found:
            oldest = min(found, key=lambda one: (one["metadata"]["creationTimestamp"], name(one)))
            yield oldest.get("data") or {}

    def _parameters(self, gateway: Object) -> Iterator[Mapping[str, str]]:
        reference = parameters_reference(gateway)
        if reference is None:
            return
        if (reference.get("group", ""), reference["kind"]) != (CONFIGMAP.group, CONFIGMAP.kind):
            raise OverlayError(f"unknown infrastructure parameters type {reference['group']}/{reference['kind']}")
        found = self._client.get(CONFIGMAP, reference["name"], namespace(gateway))
        if found is None:
            where = f"{namespace(gateway)}/{reference['name']}"
            raise OverlayError(f'parametersRef targeting configmap "{where}", but configmap does not exist')
        yield found.get("data") or {}

    def _is_waypoint(self, gateway: Object) -> bool:
        """By the controller of its class; the builtin classes are known even while their objects are missing."""
        wanted: str = gateway["spec"]["gatewayClassName"]
        found = self._client.get(GATEWAYCLASS, wanted)
        controller = found["spec"]["controllerName"] if found is not None else BUILTIN.get(wanted)
        return bool(controller == MESH_CONTROLLER)

    def _may_write(self, gateway: Object, resource: Resource, wanted: Object) -> bool:
        present = self._client.get(resource, name(wanted), namespace(wanted))
        if present is None or MANAGED_LABEL in labels_of(present):
            return True
        message = (
            f"{resource.kind} {name(wanted)} exists and was not made for a Gateway (no label {MANAGED_LABEL}): "
            "it is left alone; rename it or the Gateway"
        )
        self._recorder.record(COMPONENT, GATEWAY, gateway, "Warning", "NotManaged", message)
        return False


def _asked(obj: Object) -> tuple[object, ...]:
    """What somebody wants of an object, without what its status says."""
    meta = obj["metadata"]
    return (
        obj.get("spec"),
        *(meta.get(part) for part in ("labels", "annotations", "ownerReferences")),
        is_deleting(obj),
    )


def parameters_reference(gateway: Object) -> dict[str, Any] | None:
    return (gateway["spec"].get("infrastructure") or {}).get("parametersRef")


def _is_managed(gateway: Object) -> bool:
    addresses = gateway["spec"].get("addresses") or []
    return not addresses or (len(addresses) == 1 and addresses[0].get("type", "IPAddress") == "IPAddress")
