"""Services, endpoints and endpoint slices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ambientlab.api.objects import Object
from ambientlab.api.printers.columns import AGE, NAME, NONE, Column, Printer, age, labels_text, wide

_UNSET = "<unset>"
_SHOWN = 3


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        obj["metadata"]["name"],
        spec.get("type", ""),
        spec.get("clusterIP") or NONE,
        _external(obj),
        ",".join(_port(one) for one in spec.get("ports") or ()) or NONE,
        age(obj, now),
        labels_text(spec.get("selector")),
    ]


def _port(port: Object) -> str:
    number = f"{port['port']}:{port['nodePort']}" if port.get("nodePort") else str(port["port"])
    return f"{number}/{port.get('protocol', 'TCP')}"


def _external(obj: Object) -> str:
    spec = obj.get("spec") or {}
    listed = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return spec.get("externalName") or ""
        case "LoadBalancer":
            ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
            given = sorted(one.get("ip") or one.get("hostname") or "" for one in ingress)
            return ",".join(given + listed) or "<pending>"
    return ",".join(listed) or NONE


SERVICE = Printer(
    (
        NAME,
        Column("Type", description="How the service is exposed."),
        Column("Cluster-IP", description="The service's address inside the cluster."),
        Column("External-IP", description="Addresses at which it answers from outside."),
        Column("Port(s)", description="Its ports and their protocols."),
        AGE,
        wide("Selector"),
    ),
    _service,
)


def _some(values: list[str], empty: str) -> str:
    if not values:
        return empty
    more = f" + {len(values) - _SHOWN} more..." if len(values) > _SHOWN else ""
    return ",".join(values[:_SHOWN]) + more


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        for address in subset.get("addresses") or ():
            ports = subset.get("ports") or ()
            found += [f"{address['ip']}:{port['port']}" for port in ports] or [address["ip"]]
    return [obj["metadata"]["name"], _some(found, NONE), age(obj, now)]


ENDPOINTS = Printer((NAME, Column("Endpoints"), AGE), _endpoints)


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(port["port"]) if port.get("port") is not None else "*" for port in obj.get("ports") or ()]
    addresses = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return [
        obj["metadata"]["name"],
        obj.get("addressType", ""),
        _some(ports, _UNSET),
        _some(addresses, _UNSET),
        age(obj, now),
    ]


ENDPOINTSLICE = Printer((NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE), _endpoint_slice)
