"""Services and their EndpointSlices, followed once for those who need both: the proxy and DNS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from ambientlab.api.client import Client, Event, Unsubscribe
from ambientlab.api.kinds import ENDPOINTSLICE, SERVICE
from ambientlab.api.objects import Object, labels_of, name, namespace

SERVICE_NAME = "kubernetes.io/service-name"

Key = tuple[str, str]  # namespace and name of a Service


def endpoint_port(endpoint_slice: Object, service_port: Object) -> int | None:
    """The port of a slice's endpoints behind a service's port: the one of the same name and protocol. None if there is
    none, or if it is no port: the API takes any number (pkg/apis/discovery/validation of kubernetes)."""
    for candidate in endpoint_slice.get("ports") or ():
        same_name = (candidate.get("name") or "") == (service_port.get("name") or "")
        if same_name and candidate.get("protocol", "TCP") == service_port.get("protocol", "TCP"):
            number: int = candidate.get("port") or 0
            return number if 0 < number < 1 << 16 else None
    return None


class ServiceIndex:
    """Calls `changed` with the services to look at again: once in `start`, then once per turn of the event loop in
    which a Service or a slice changed."""

    def __init__(self, client: Client, changed: Callable[[Collection[Key]], None]) -> None:
        self._client = client
        self._changed = changed
        self._services: dict[Key, Object] = {}
        self._slices: dict[Key, dict[str, Object]] = {}
        self._dirty: set[Key] = set()
        self._scheduled: asyncio.Handle | None = None
        self._watches: list[Unsubscribe] = []

    def start(self) -> None:
        self._watches = [
            self._client.watch(SERVICE, self._on_service),
            self._client.watch(ENDPOINTSLICE, self._on_slice),
        ]
        self._flush()

    def close(self) -> None:
        for stop in self._watches:
            stop()
        if self._scheduled is not None:
            self._scheduled.cancel()

    def get(self, key: Key) -> tuple[Object | None, Collection[Object]]:
        return self._services.get(key), self._slices.get(key, {}).values()

    def _on_service(self, event: Event) -> None:
        key = (namespace(event.object), name(event.object))
        if event.type == "DELETED":
            self._services.pop(key, None)
        else:
            self._services[key] = event.object
        self._mark(key)

    def _on_slice(self, event: Event) -> None:
        owner = labels_of(event.object).get(SERVICE_NAME)
        before = labels_of(event.old).get(SERVICE_NAME) if event.old else None
        for service in {owner, before}:
            if service is None:
                continue
            key = (namespace(event.object), service)
            slices = self._slices.setdefault(key, {})
            if event.type == "DELETED" or service != owner:
                slices.pop(name(event.object), None)
            else:
                slices[name(event.object)] = event.object
            if not slices:
                del self._slices[key]
            self._mark(key)

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        dirty, self._dirty = self._dirty, set()
        self._changed(dirty)
