"""Where `proxy` of a pod or a service leads: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.

Rules and words: pkg/registry/core/pod/strategy.go and pkg/registry/core/service/storage/storage.go (ResourceLocation),
k8s.io/apimachinery/pkg/util/net/port_split.go, k8s.io/apiserver/pkg/util/proxy (IsProxyableIP).
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from ambientlab.api import objects
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import ENDPOINTSLICE, POD, SERVICE
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.apiserver import refusals
from ambientlab.apiserver.verbs import Verbs

_SERVICE_NAME = "kubernetes.io/service-name"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Location:
    scheme: str
    ip: str
    port: int

    @property
    def host(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def find(verbs: Verbs, resource: Resource, namespace: str, id_: str) -> Location:
    """Raises StatusError: 400 for what names nothing, 404, and 503 for a service with nobody behind it."""
    scheme, name, port = _split(resource, id_)
    if resource == POD:
        return _of_pod(verbs.get(POD, namespace, name).object, scheme, port)
    return _of_service(verbs, verbs.get(SERVICE, namespace, name).object, scheme, port, id_)


def _split(resource: Resource, id_: str) -> tuple[str, str, str]:
    parts = id_.split(":")
    scheme, name, port = parts if len(parts) == 3 else ["", *parts, ""][:3]
    if len(parts) > 3 or not name or scheme not in ("", *_DEFAULT_PORTS):
        raise refusals.bad_request(f'invalid {resource.singular} request "{id_}"')
    return scheme or "http", name, port


def _of_pod(pod: Object, scheme: str, port: str) -> Location:
    """At the first port that a container has, if none is named."""
    ip = (pod.get("status") or {}).get("podIP") or ""
    if not _proxyable(ip):
        raise refusals.bad_request("address not allowed")
    if not port:
        given = [one["containerPort"] for each in pod["spec"]["containers"] for one in each.get("ports") or ()]
        return Location(scheme, ip, given[0] if given else _DEFAULT_PORTS[scheme])
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise unreachable(f"dial tcp: lookup tcp/{port}: unknown port")
    return Location(scheme, ip, int(port))


def _of_service(verbs: Verbs, service: Object, scheme: str, port: str, id_: str) -> Location:
    name = objects.name(service)
    if port.isascii() and port.isdigit():
        ports = [one for one in service["spec"].get("ports") or () if one["port"] == int(port)]
        if not ports:
            raise _unavailable(f'no service port {int(port)} found for service "{name}"')
        port = ports[0].get("name", "")
    found = list(_endpoints(verbs, service, port))
    if not found:
        raise _unavailable(f'no endpoints available for service "{id_}"')
    ip, number = verbs.choose(found)
    return Location(scheme, ip, number)


def _endpoints(verbs: Verbs, service: Object, port: str) -> Iterator[tuple[str, int]]:
    """Of pods that are ready, at the port of this name: addresses that somebody has written down are not for us to call
    (isValidAddress)."""
    namespace = objects.namespace(service)
    for entry in verbs.store.list(verbs.collection(ENDPOINTSLICE), namespace):
        piece = entry.object
        if (piece["metadata"].get("labels") or {}).get(_SERVICE_NAME) != objects.name(service):
            continue
        numbers = [one["port"] for one in piece.get("ports") or () if (one.get("name") or "") == port and "port" in one]
        for endpoint in piece.get("endpoints") or ():
            ready = (endpoint.get("conditions") or {}).get("ready", True)
            for ip in endpoint["addresses"][:1] if ready and numbers else ():
                if ip in _addresses(verbs, namespace, endpoint.get("targetRef") or {}):
                    yield ip, numbers[0]


def _addresses(verbs: Verbs, namespace: str, reference: Object) -> list[str]:
    """Of the pod an endpoint stands for, those that may be called."""
    entry = verbs.find(POD, namespace, reference.get("name", "")) if reference.get("kind") == "Pod" else None
    status = (entry.object.get("status") or {}) if entry is not None else {}
    return [one["ip"] for one in status.get("podIPs") or () if _proxyable(one["ip"])]


def _proxyable(ip: str) -> bool:
    """Go's IsGlobalUnicast: not the server's own loopback, and no link's."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    refused = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    return not refused and ip != "255.255.255.255"


def not_connected(location: Location, error: OSError) -> StatusError:
    """In Go's words, but for TLS, whose errors OpenSSL knows by others."""
    if isinstance(error, ssl.SSLError):
        return unreachable(f"tls: {str(error.reason or error).replace('_', ' ').lower()}")
    if isinstance(error, TimeoutError):
        return unreachable(f"dial tcp {location.host}: i/o timeout")
    why = os.strerror(error.errno).lower() if error.errno else str(error)
    return unreachable(f"dial tcp {location.host}: connect: {why}")


def unreachable(why: str) -> StatusError:
    return _unavailable(f"error trying to reach service: {why}")


def _unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)
