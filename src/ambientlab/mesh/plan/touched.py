"""Which services and workloads a change can make a difference to: those that a decision about reads a value of that is
another now."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ambientlab.mesh.ir import Distribution, Key, Mesh, Service
from ambientlab.mesh.plan.probes import destinations

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Touched:
    """`reached` are services that are not the same themselves, or whose pods do not let in the same; `hosts` all to
    which a request may go another way, these among them; `workloads` those to whose own addresses one may."""

    reached: frozenset[str]
    hosts: frozenset[str]
    workloads: frozenset[Key]
    waypoints: frozenset[Key]


def touched(before: Mesh, after: Mesh) -> Touched:
    services = changes(before.services, after.services)
    waypoints = changes(before.waypoints, after.waypoints)
    guards = changes(before.guards, after.guards)
    enforced = changes(before.enforced, after.enforced)
    workloads = changes(before.workloads, after.workloads)
    reached = set(services)
    for mesh in (before, after):
        reached |= {s.host for s in mesh.services.values() if enforced and _has_one_of(s, enforced)}
    hosts = {*reached, *(host for _, host in guards if host)}
    for routes in (changes(before.routes, after.routes), changes(before.tcp_routes, after.tcp_routes)):
        hosts |= {host for host, _ in routes}
    for mesh in (before, after):
        hosts |= {s.host for s in mesh.services.values() if not waypoints.isdisjoint(key for key, _ in s.waypoints)}
        hosts |= set(_leading_to(mesh, reached))
        if changes(before.nodes, after.nodes):
            hosts |= {s.host for s in mesh.services.values() if s.distribution is not Distribution.ANY}
    by_waypoint = {key for key, host in guards if not host} | waypoints
    themselves = {
        key
        for key in {*before.workloads, *after.workloads}
        if key in workloads or key in enforced or _waypoints(before, after, key) & by_waypoint
    }
    return Touched(frozenset(reached), frozenset(hosts), frozenset(themselves), frozenset(waypoints))


def changes(before: Mapping[K, V], after: Mapping[K, V]) -> set[K]:
    """The keys of entries that came, went or became others."""
    found = {key for key in before if key not in after}
    for key, new in after.items():
        old = before.get(key)
        if old is not new and old != new:
            found.add(key)
    return found


def _leading_to(mesh: Mesh, services: set[str]) -> Iterator[str]:
    """Hosts from which routes lead to some of the services."""
    for (host, _), table in mesh.routes.items():
        if any(not services.isdisjoint(destinations(route)) for route in table.routes):
            yield host
    for (host, _), connections in mesh.tcp_routes.items():
        if any(item.destination.host in services for item in connections.destinations):
            yield host


def _has_one_of(service: Service, workloads: set[Key]) -> bool:
    return any(end.workload is not None and end.workload.key in workloads for end in service.endpoints)


def _waypoints(before: Mesh, after: Mesh, key: Key) -> set[Key]:
    found = (mesh.workloads.get(key) for mesh in (before, after))
    return {one.waypoint for one in found if one is not None and one.waypoint is not None}
