"""What a Service's selector finds: endpoints grouped by the ports they resolve to.

Both forms in which the API shows them, EndpointSlices and the older Endpoints, are made from this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ambientlab.api.client import Client, Event
from ambientlab.api.kinds import POD, SERVICE
from ambientlab.api.objects import Object, labels_of, name, namespace
from ambientlab.controllers.base import Key, key_of
from ambientlab.controllers.owners import is_deleting
from ambientlab.controllers.pods import is_finished, is_ready
from ambientlab.flow.queue import WorkQueue
from ambientlab.flow.reconcile import Stop


class Port(NamedTuple):
    """A port as an endpoint serves it: `number` is the pod's, the rest the Service's."""

    name: str
    protocol: str
    number: int
    app_protocol: str


class Endpoint(NamedTuple):
    pod: Object
    address: str
    ready: bool
    serving: bool
    terminating: bool


Groups = dict[tuple[Port, ...], list[Endpoint]]


def selects(service: Object) -> bool:
    """Services without a selector, or that are only names for others, have their endpoints from elsewhere."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def matches(service: Object, labels: dict[str, str]) -> bool:
    return (
        selects(service)
        and bool(labels)
        and all(labels.get(key) == value for key, value in service["spec"]["selector"].items())
    )


def is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def group(service: Object, pods: Iterable[Object]) -> Groups:
    """The endpoints of `service` by their ports: a named targetPort may be another number in every pod."""
    tolerant = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: Groups = {}
    for pod in pods:
        address = (pod.get("status") or {}).get("podIP")
        if not address or is_finished(pod) or not matches(service, labels_of(pod)):
            continue
        serving, terminating = is_ready(pod), is_deleting(pod)
        endpoint = Endpoint(pod, address, tolerant or (serving and not terminating), serving, terminating)
        groups.setdefault(tuple(_ports(service, pod)), []).append(endpoint)
    for endpoints in groups.values():
        endpoints.sort(key=lambda endpoint: name(endpoint.pod))
    return groups


def _ports(service: Object, pod: Object) -> Iterator[Port]:
    for port in service["spec"].get("ports") or []:
        protocol = port.get("protocol", "TCP")
        number = _target(port.get("targetPort") or port["port"], protocol, pod)
        if number is not None:
            yield Port(port.get("name", ""), protocol, number, port.get("appProtocol", ""))


def _target(target: int | str, protocol: str, pod: Object) -> int | None:
    """A named port is the container port of that name and protocol; a pod without one does not serve it."""
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or []:
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                number: int = port["containerPort"]
                return number
    return None


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
    status = pod.get("status") or {}
    node = pod["spec"].get("nodeName")
    return labels_of(pod), status.get("podIP"), is_finished(pod), is_ready(pod), is_deleting(pod), node
