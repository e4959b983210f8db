"""What a Service's selector finds: endpoints grouped by the ports they resolve to.

Both forms in which the API shows them, EndpointSlices and the older Endpoints, are made from this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ambientlab.api.objects import Object, condition_holds, has_ended, labels_of, name, pod_ips


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


def vips(service: Object) -> list[str]:
    """The addresses that a Service has of its own."""
    found: list[str] = service["spec"].get("clusterIPs") or [service["spec"].get("clusterIP") or ""]
    return [address for address in found if address not in ("", "None")]


def families(service: Object) -> list[str]:
    """Of IP: those that the service has endpoints of, its own first one first."""
    return service["spec"].get("ipFamilies") or ["IPv4"]


def group(service: Object, pods: Iterable[Object], family: str) -> Groups:
    """The endpoints in a family of `service` by their ports: a named targetPort may be another number in every pod."""
    tolerant = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: Groups = {}
    for pod in pods:
        address = next((ip for ip in pod_ips(pod) if (":" in ip) == (family == "IPv6")), "")
        if not address or has_ended(pod) or not matches(service, labels_of(pod)):
            continue
        serving, terminating = condition_holds(pod, "Ready"), bool(pod["metadata"].get("deletionTimestamp"))
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
