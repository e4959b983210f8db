"""One consistent view of everything at a moment."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ambientlab.flow.collection import Collection
from ambientlab.mesh.ir.authorizations import Authorization
from ambientlab.mesh.ir.identities import TrustDomains
from ambientlab.mesh.ir.nearness import Place
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

    `trust_domains` has one entry, under THE_MESH. `nodes` is where nodes are that say so, as `region/zone/subzone`.

    What reads them within one step needs no more than a mapping; what is kept up to date is derived from them.
    """

    workloads: Collection[Key, Workload]
    services: Collection[str, Service]
    waypoints: Collection[Key, Waypoint]
    routes: Collection[tuple[str, int], RouteTable]
    tcp_routes: Collection[tuple[str, int], TcpRoute]
    guards: Collection[tuple[Key, str], Guard]
    telemetry: Collection[tuple[Key, str], Telemetry]
    authorizations: Collection[Key, Authorization]
    enforced: Collection[Key, tuple[Authorization, ...]]
    trust_domains: Collection[str, TrustDomains]
    nodes: Collection[Key, str]

    @property
    def trust(self) -> TrustDomains:
        return self.trust_domains.get(THE_MESH, TrustDomains())

    def place(self, node: str) -> Place:
        return Place(node, self.nodes.get(Key("", node), ""))

    def snapshot(self) -> Mesh:
        """The mesh as it is at this moment: its values never change, and its collections do."""
        return Mesh(*(getattr(self, field.name).snapshot() for field in fields(self)))
