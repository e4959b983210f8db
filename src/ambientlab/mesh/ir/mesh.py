"""One consistent view of everything at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ambientlab.mesh.ir.authorizations import Authorization
from ambientlab.mesh.ir.identities import TrustDomains
from ambientlab.mesh.ir.policies import Guard
from ambientlab.mesh.ir.routes import RouteTable, TcpRoute
from ambientlab.mesh.ir.services import Service
from ambientlab.mesh.ir.telemetry import Telemetry
from ambientlab.mesh.ir.workloads import Key, Waypoint, Workload

THE_MESH = ""
"""The key of what there is one of."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """`routes` and `tcp_routes` hold, by (host, port), only what some object asked for; a port without is forwarded to.

    `guards` and `telemetry`, by (waypoint, host), are of those that some object asked for; the host "" is for what a
    waypoint does of itself, as for workloads that are asked for by their own addresses.

    `authorizations` are all that ztunnel is told of, and `enforced` those of each pod, in the order in which those of
    one action are tried. A pod that takes tunnels itself has no ztunnel before it, and no entry.

    `trust_domains` has one entry, under THE_MESH.

    The mappings may be live views of collections: read them within one step, do not keep them.
    """

    workloads: Mapping[Key, Workload] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    waypoints: Mapping[Key, Waypoint] = field(default_factory=dict)
    routes: Mapping[tuple[str, int], RouteTable] = field(default_factory=dict)
    tcp_routes: Mapping[tuple[str, int], TcpRoute] = field(default_factory=dict)
    guards: Mapping[tuple[Key, str], Guard] = field(default_factory=dict)
    telemetry: Mapping[tuple[Key, str], Telemetry] = field(default_factory=dict)
    authorizations: Mapping[Key, Authorization] = field(default_factory=dict)
    enforced: Mapping[Key, tuple[Authorization, ...]] = field(default_factory=dict)
    trust_domains: Mapping[str, TrustDomains] = field(default_factory=dict)

    @property
    def trust(self) -> TrustDomains:
        return self.trust_domains.get(THE_MESH, TrustDomains())

    def services_of(self, waypoint: Key) -> list[Service]:
        """The services whose traffic goes through a waypoint, by host."""
        return [service for _, service in sorted(self.services.items()) if waypoint in dict(service.waypoints)]
