"""Which endpoint of a destination gets a request."""

from __future__ import annotations

from dataclasses import dataclass

from ambientlab.mesh.decide import lots
from ambientlab.mesh.ir import Destination, Endpoint, Mesh, Port, Resolution, Service


@dataclass(frozen=True, slots=True)
class Called:
    """The name and the address that the client called, which are all that some services know of their endpoints."""

    host: str
    address: str
    port: int


def chosen(mesh: Mesh, destination: Destination, called: Called) -> lots.Lot[Endpoint] | None:
    """None if there is no such destination; nothing to draw from if nothing is ready behind it.

    Proxies prefer the endpoint with fewer requests under way, so that requests one at a time go to all alike, or by
    their weights. An endpoint that is found by name counts as one, however many addresses the name has.
    """
    service = mesh.services.get(destination.host)
    port = None if service is None else next((p for p in service.ports if p.number == destination.port), None)
    if service is None or port is None or (destination.subset and service.subset(destination.subset) is None):
        return None
    subset = service.subset(destination.subset) if destination.subset else None
    return lots.weighted(
        (max(endpoint.weight, 1), endpoint)
        for endpoint in _endpoints(service, port, called)
        if endpoint.target(port.number) is not None and (subset is None or subset.selects(endpoint))
    )


def _endpoints(service: Service, port: Port, called: Called) -> tuple[Endpoint, ...]:
    match service.resolution:
        case Resolution.NONE:
            return (Endpoint(called.address, ((port.number, port.target or called.port),), None),)
        case Resolution.DYNAMIC_DNS:
            return (Endpoint(called.host, ((port.number, port.target or called.port),), None),)
        case _:
            return service.endpoints
