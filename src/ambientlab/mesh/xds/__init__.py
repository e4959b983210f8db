"""The mesh as Envoy resources: IR and a proxy in, protobuf messages out. Pure, and cached per IR value.

`ztunnel.Ztunnel` and `waypoint.WaypointProxy` hold what they generated for the values they last saw, so that after a
change every untouched resource is the identical message: whoever pushes may compare with `is`.
"""

from __future__ import annotations
