"""Which endpoint of a destination gets a request."""

from __future__ import annotations

from ambientlab.mesh.decide import lots
from ambientlab.mesh.ir import Destination, Endpoint, Mesh


def chosen(mesh: Mesh, destination: Destination) -> lots.Lot[Endpoint] | None:
    """None if there is no such destination; nothing to draw from if nothing is ready behind it.

    Proxies prefer the endpoint with fewer requests under way, so that requests one at a time go to all alike,
    or by their weights.
    """
    service = mesh.services.get(destination.host)
    if service is None or all(port.number != destination.port for port in service.ports):
        return None
    subset = service.subset(destination.subset) if destination.subset else None
    if destination.subset and subset is None:
        return None
    return lots.weighted(
        (max(endpoint.weight, 1), endpoint)
        for endpoint in service.endpoints
        if endpoint.target(destination.port) is not None and (subset is None or subset.selects(endpoint))
    )
