"""What names of services mean where. `shapes` are all services, by host (see `mesh.ir.names`)."""

from __future__ import annotations

from ambientlab.flow.collection import Collection, Context
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import names


def meant(ctx: Context, shapes: Collection[str, Shape], namespace: str, name: str) -> Shape | None:
    """What a name means in a namespace."""
    return names.meant(namespace, name, lambda host: ctx.fetch(shapes, host))


def concerned(ctx: Context, shapes: Collection[str, Shape], namespace: str, host: str) -> bool:
    """Whether objects in a namespace mean this service by its name, as they do if it is at a waypoint there."""
    if home := names.namespace_of(host):
        shape = ctx.fetch(shapes, host)
        return namespace in (home, *(waypoint.namespace for waypoint in (shape.binding.waypoints if shape else ())))
    return ctx.fetch(shapes, names.for_namespace(namespace, host)) is None
