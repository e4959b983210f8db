"""Which Services a change of a Service or of a pod concerns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ambientlab.api.client import Client, Event
from ambientlab.api.endpoints import matches
from ambientlab.api.kinds import POD, SERVICE
from ambientlab.api.objects import Object, has_ended, labels_of, namespace, pod_ips
from ambientlab.controllers.base import Key, key_of
from ambientlab.controllers.owners import is_deleting
from ambientlab.controllers.pods import is_ready
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop


class ServiceWatcher:
    """Adds the Services that a change of a Service or of a pod concerns."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def watch(self, queue: WorkQueue[Key]) -> Iterable[Stop]:
        def pod(event: Event) -> None:
            old, new = event.old, event.object
            if old is not None and event.type == "MODIFIED" and _as_endpoint(old) == _as_endpoint(new):
                return
            for service in self._client.list(SERVICE, namespace(new)):
                if matches(service, labels_of(new)) or (old is not None and matches(service, labels_of(old))):
                    queue.add(key_of(service))

        return [
            self._client.watch(SERVICE, lambda event: queue.add(key_of(event.object))),
            self._client.watch(POD, pod),
        ]


def _as_endpoint(pod: Object) -> Any:
    """What of a pod its endpoints depend on: a change of anything else is none of theirs."""
    node = pod["spec"].get("nodeName")
    return labels_of(pod), pod_ips(pod), has_ended(pod), is_ready(pod), is_deleting(pod), node
