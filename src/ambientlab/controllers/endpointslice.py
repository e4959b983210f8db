"""EndpointSlices of Services with a selector: which pods serve them, where, and whether they are ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ambientlab.api.client import Client, Event
from ambientlab.api.endpoints import Endpoint, Port, families, group, is_headless, selects
from ambientlab.api.kinds import ENDPOINTSLICE, NODE, POD, SERVICE
from ambientlab.api.objects import Object, labels_of, name, namespace, timestamp, uid
from ambientlab.controllers.base import Key, all_of, delete_quietly, key_of
from ambientlab.controllers.endpointgroups import ServiceWatcher
from ambientlab.controllers.names import generate_name
from ambientlab.controllers.owners import controller_of, controller_reference, is_deleting
from ambientlab.flow.clock import Clock
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"
_TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
_MAX_ENDPOINTS = 100  # per slice, as kube-controller-manager's --max-endpoints-per-slice


class EndpointSliceController(ServiceWatcher):
    name = "endpointslice"

    def __init__(self, client: Client, clock: Clock) -> None:
        super().__init__(client)
        self._clock = clock

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        def piece(event: Event) -> None:
            owner = labels_of(event.object).get(SERVICE_NAME)
            if event.type != "ADDED" and owner and labels_of(event.object).get(MANAGED_BY) == MANAGER:
                queue.add(Key(namespace(event.object), owner))

        def node(event: Event) -> None:
            before = labels_of(event.old).get(ZONE) if event.old is not None else None
            if labels_of(event.object).get(ZONE) != before:
                for service in self._client.list(SERVICE):
                    queue.add(key_of(service))

        return [*super().watch(queue), self._client.watch(ENDPOINTSLICE, piece), self._client.watch(NODE, node)]

    async def reconcile(self, key: Key) -> None:
        service = self._client.get(SERVICE, key.name, key.namespace)
        if service is None or is_deleting(service) or not selects(service):
            return
        wanted = list(self._wanted(service))
        present = [one for one in self._client.list(ENDPOINTSLICE, key.namespace) if _is_ours(one, service)]
        # What is there already stays; the rest is rewritten to what is missing, so that names change as little as
        # they must and watchers see an update rather than a gap.
        missing = [one for one in wanted if not any(_says(old, one) for old in present)]
        spare = [old for old in present if not any(_says(old, one) for one in wanted)]
        writes: list[Any] = []
        for draft in missing:
            old = _closest(spare, draft)
            if old is None:
                writes.append(self._client.create(ENDPOINTSLICE, draft))
            else:
                spare.remove(old)
                metadata = {
                    **old["metadata"],
                    "labels": draft["metadata"]["labels"],
                    "annotations": draft["metadata"]["annotations"],
                }
                writes.append(self._client.update(ENDPOINTSLICE, {**draft, "metadata": metadata}))
        writes += [delete_quietly(self._client, ENDPOINTSLICE, old) for old in spare]
        if writes:
            await all_of(writes)

    def _wanted(self, service: Object) -> Iterator[Object]:
        pods = self._client.list(POD, namespace(service))
        for family in families(service):
            groups = group(service, pods, family)
            for ports, endpoints in (groups or {(): []}).items():
                for start in range(0, max(1, len(endpoints)), _MAX_ENDPOINTS):
                    yield self._slice(service, family, ports, endpoints[start : start + _MAX_ENDPOINTS])

    def _zone(self, pod: Object) -> str:
        node = self._client.get(NODE, pod["spec"].get("nodeName") or "")
        return labels_of(node).get(ZONE, "") if node is not None else ""

    def _slice(self, service: Object, family: str, ports: tuple[Port, ...], endpoints: list[Endpoint]) -> Object:
        labels = {key: value for key, value in labels_of(service).items() if key != HEADLESS}
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": generate_name(f"{name(service)}-"),
                "generateName": f"{name(service)}-",
                "namespace": namespace(service),
                "labels": {
                    **labels,
                    SERVICE_NAME: name(service),
                    MANAGED_BY: MANAGER,
                    **({HEADLESS: ""} if is_headless(service) else {}),
                },
                "annotations": {_TRIGGER_TIME: timestamp(self._clock.now())},
                "ownerReferences": [controller_reference(SERVICE, service)],
            },
            "addressType": family,
            "endpoints": [_endpoint(one, service, self._zone(one.pod)) for one in endpoints],
            "ports": [
                {
                    "name": port.name,
                    "protocol": port.protocol,
                    "port": port.number,
                    **({"appProtocol": port.app_protocol} if port.app_protocol else {}),
                }
                for port in ports
            ],
        }


def _endpoint(endpoint: Endpoint, service: Object, zone: str) -> Object:
    pod = endpoint.pod
    node = pod["spec"].get("nodeName")
    hostname = pod["spec"].get("hostname") if pod["spec"].get("subdomain") else None
    return {
        "addresses": [endpoint.address],
        "conditions": {
            "ready": endpoint.ready,
            "serving": endpoint.serving,
            "terminating": endpoint.terminating,
        },
        **({"hostname": hostname} if hostname else {}),
        **({"nodeName": node} if node else {}),
        **({"zone": zone} if zone else {}),
        **({"hints": hints} if endpoint.ready and (hints := _hints(service, node, zone)) else {}),
        "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)},
    }


def _hints(service: Object, node: str | None, zone: str) -> Object:
    """Who should be served by this endpoint first (KEP-4444, KEP-3015)."""
    match service["spec"].get("trafficDistribution"):
        case "PreferClose" | "PreferSameZone" if zone:
            return {"forZones": [{"name": zone}]}
        case "PreferSameNode" if node:
            return {"forNodes": [{"name": node}]}
    return {}


def _is_ours(piece: Object, service: Object) -> bool:
    labels = labels_of(piece)
    return (
        labels.get(SERVICE_NAME) == name(service)
        and labels.get(MANAGED_BY) == MANAGER
        and (controller_of(piece) or {}).get("uid") == uid(service)
    )


def _content(piece: Object) -> Any:
    return labels_of(piece), piece["addressType"], piece.get("endpoints") or [], piece.get("ports") or []


def _says(old: Object, draft: Object) -> bool:
    return bool(_content(old) == _content(draft))


def _closest(spare: list[Object], draft: Object) -> Object | None:
    """A slice to rewrite: one with the same ports if there is one. A slice cannot change its family."""
    able = [old for old in spare if old["addressType"] == draft["addressType"]]
    same = (old for old in able if (old.get("ports") or []) == draft["ports"])
    return next(same, able[0] if able else None)
