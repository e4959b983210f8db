"""What all proxies are told, kept up to date by collections: a change makes anew only what depends on it."""

from __future__ import annotations

from google.protobuf.message import Message

from ambientlab.flow.collection import Collection, Graph
from ambientlab.mesh.ir import Key, Mesh
from ambientlab.mesh.xds.types import TYPES, Owned, Resources
from ambientlab.mesh.xds.waypoint import Waypoints
from ambientlab.mesh.xds.ztunnel import Ztunnel


class Proxies:
    """To be derived in the graph of the mesh itself. Watch `resources` for what becomes different. `ipv6` is whether
    the node has that."""

    def __init__(self, graph: Graph, mesh: Mesh, *, ipv6: bool = True) -> None:
        self.ztunnel = Ztunnel(graph, mesh, ipv6=ipv6)
        self.waypoints = Waypoints(graph, mesh, ipv6=ipv6)
        self.resources: Collection[Owned, Message] = graph.join(
            "resources", *self.ztunnel.resources, *self.waypoints.resources
        )

    def told(self, proxy: Key) -> Resources:
        """Everything that one proxy has."""
        found: Resources = {type_url: {} for type_url in TYPES}
        for (owner, type_url, name), message in self.resources.items():
            if owner == proxy:
                found[type_url][name] = message
        return found
