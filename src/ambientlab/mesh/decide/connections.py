"""Where connections go that nobody looks into: those of the node proxy, and at a waypoint what is no HTTP.

For a request that means: one for each connection, as curl makes them.
"""

from __future__ import annotations

from ambientlab.mesh.decide import endpoints, lots
from ambientlab.mesh.decide.decision import Delivered, End, Failed, Reason, refused
from ambientlab.mesh.decide.request import Request
from ambientlab.mesh.decide.routing import admission_at, hop_to
from ambientlab.mesh.ir import Destination, Endpoint, Mesh, TcpRoute


def routed(
    mesh: Mesh, route: TcpRoute | None, itself: Destination, identity: str, called: endpoints.Called, request: Request
) -> lots.Lot[End]:
    """To the service called, if there is no route. A connection for what is not there is closed, and any if there is
    nothing at all."""
    if route is None:
        return ended(mesh, itself, identity, called, request)
    if not route.destinations:
        return lots.certain((0, Failed(Reason.NO_CLUSTER)))
    shares = lots.weighted((item.weight, item.destination) for item in route.destinations)
    return lots.joined(shares, lambda destination: ended(mesh, destination, identity, called, request))


def ended(
    mesh: Mesh, destination: Destination, identity: str, called: endpoints.Called, request: Request
) -> lots.Lot[End]:
    found = endpoints.chosen(mesh, destination, called)
    if not found:
        return lots.certain((0, Failed(Reason.NO_CLUSTER if found is None else Reason.NO_ENDPOINT)))
    return tuple(
        (share, (0, entered(mesh, destination, endpoint, identity, called.source(endpoint), request)))
        for share, endpoint in found
    )


def entered(
    mesh: Mesh, destination: Destination, endpoint: Endpoint, identity: str, source: str, request: Request
) -> Delivered | Failed:
    """`identity` and `source` are of whoever connects to the endpoint."""
    hop = hop_to(endpoint, destination.port, identity)
    admission = admission_at(mesh, endpoint, destination.port, hop, source)
    if not admission.allowed:
        return Failed(refused(admission), admission)
    return Delivered(destination, endpoint, hop, request, admission=admission)
