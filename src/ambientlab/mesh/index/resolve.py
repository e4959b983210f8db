"""Routes filled in with what the services they lead to have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ambientlab.mesh.index.drafts import REQUEST_PORT
from ambientlab.mesh.index.services import Shape
from ambientlab.mesh.ir import Destination, Forward, Mirror, Redirect, Route, WeightedDestination


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What routes refer to: services, by what their names mean to the waypoint. Each answer is a dependency."""

    shape: Callable[[str], Shape | None]
    subset_names: Callable[[Shape], frozenset[str]]

    def exists(self, destination: Destination) -> bool:
        shape = self.shape(destination.host)
        if shape is None or shape.port(destination.port) is None:
            return False
        return not destination.subset or destination.subset in self.subset_names(shape)

    def placed(self, destination: Destination, port: int) -> Destination:
        """With its port: where none is named, an only port of the service, or else the port asked for."""
        shape = self.shape(destination.host)
        if shape is None:
            number = destination.port or (port if destination.host else 0)
            return replace(destination, port=number)
        number = destination.port or (shape.ports[0].number if len(shape.ports) == 1 else port)
        return replace(destination, host=shape.host, port=number)


def resolved(route: Route, port: int, around: Surroundings) -> Route:
    action = route.action
    if isinstance(action, Redirect):
        number = port if action.port == REQUEST_PORT else action.port
        own = {"https": 443}.get(action.scheme, 80)
        return replace(route, action=replace(action, port=0 if number == own else number))
    if not isinstance(action, Forward):
        return route
    mirrors: list[Mirror] = []
    for mirror in action.mirrors:
        there = around.placed(mirror.destination, port)
        if around.exists(there):
            mirrors.append(replace(mirror, destination=there))
    return replace(
        route,
        action=replace(action, destinations=destinations(action.destinations, port, around), mirrors=tuple(mirrors)),
    )


def destinations(
    items: Iterable[WeightedDestination], port: int, around: Surroundings
) -> tuple[WeightedDestination, ...]:
    result = []
    for item in items:
        there = around.placed(item.destination, port)
        result.append(replace(item, destination=there, found=item.found and around.exists(there)))
    return tuple(result)


def words(destination: Destination) -> str:
    if not destination.host:
        return "an unusable reference"
    subset = f" subset {destination.subset}" if destination.subset else ""
    return f"{destination.host}:{destination.port}{subset}"
