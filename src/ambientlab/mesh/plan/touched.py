"""Which services and workloads a change can make a difference to: those that a decision about reads a value of that is
another now."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ambientlab.mesh.decide.admission import Connection, admitted
from ambientlab.mesh.ir import Authorization, Distribution, Key, Mesh, Service
from ambientlab.mesh.plan.probes import destinations

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Noticing:
    """Those whom a pod lets in and did not, or the reverse: by their identity, "" for who shows none. `anyone` is where
    it depends on more."""

    identities: frozenset[str] = frozenset()
    anyone: bool = False

    def __bool__(self) -> bool:
        return self.anyone or bool(self.identities)

    def of(self, identities: Iterable[str]) -> bool:
        return self.anyone or not self.identities.isdisjoint(identities)

    def __or__(self, other: Noticing) -> Noticing:
        return Noticing(self.identities | other.identities, self.anyone or other.anyone)


NOBODY = Noticing()


@dataclass(frozen=True, slots=True)
class Touched:
    """`hosts` are all to which any request may go another way. To those of `entries` it may as well, for who has an
    identity that their pods notice, or those of services that routes lead to. `reached` are services that are not the
    same themselves, or whose pods do not let in the same; `workloads` those to whose own addresses something may be
    another."""

    reached: frozenset[str]
    hosts: frozenset[str]
    entries: Mapping[str, Noticing]
    workloads: frozenset[Key]
    waypoints: frozenset[Key]


def touched(before: Mesh, after: Mesh) -> Touched:
    services = changes(before.services, after.services)
    waypoints = changes(before.waypoints, after.waypoints)
    guards = changes(before.guards, after.guards)
    workloads = changes(before.workloads, after.workloads)
    hosts = {*services, *(host for _, host in guards if host)}
    for routes in (changes(before.routes, after.routes), changes(before.tcp_routes, after.tcp_routes)):
        hosts |= {host for host, _ in routes}
    for mesh in (before, after):
        hosts |= {s.host for s in mesh.services.values() if not waypoints.isdisjoint(key for key, _ in s.waypoints)}
        hosts |= {host for host, to in _leading(mesh) if to in services}
        if changes(before.nodes, after.nodes):
            hosts |= {s.host for s in mesh.services.values() if s.distribution is not Distribution.ANY}
    noticing = _noticing(before, after)
    entries = _entries((before, after), noticing)
    by_waypoint = {key for key, host in guards if not host} | waypoints
    themselves = {
        key
        for key in {*before.workloads, *after.workloads}
        if key in workloads or key in noticing or _waypoints(before, after, key) & by_waypoint
    }
    return Touched(
        frozenset({*services, *entries}), frozenset(hosts), entries, frozenset(themselves), frozenset(waypoints)
    )


def changes(before: Mapping[K, V], after: Mapping[K, V]) -> set[K]:
    """The keys of entries that came, went or became others."""
    found = {key for key in before if key not in after}
    for key, new in after.items():
        old = before.get(key)
        if old is not new and old != new:
            found.add(key)
    return found


def _noticing(before: Mesh, after: Mesh) -> dict[Key, Noticing]:
    """By pod, where it is anybody."""
    everybody = {w.identity for mesh in (before, after) for w in mesh.workloads.values()} | {""}
    known: dict[tuple[object, object], Noticing] = {}
    found = {}
    for key in changes(before.enforced, after.enforced):
        pair = (before.enforced.get(key, ()), after.enforced.get(key, ()))
        if pair not in known:
            known[pair] = _differing(*pair, everybody)
        if known[pair]:
            found[key] = known[pair]
    return found


def _differing(old: tuple[Authorization, ...], new: tuple[Authorization, ...], everybody: Iterable[str]) -> Noticing:
    asked = {
        condition.attribute
        for policy in (*old, *new)
        for rule in policy.rules
        for clause in rule
        for match in clause
        for condition in match
    }
    if any(attribute.endswith((".ip", ".port")) for attribute in asked):
        return Noticing(anyone=True)
    connections = {identity: Connection(identity, "", "", 0) for identity in everybody}
    return Noticing(
        frozenset(who for who, how in connections.items() if admitted(old, how).allowed != admitted(new, how).allowed)
    )


def _entries(meshes: Iterable[Mesh], noticing: Mapping[Key, Noticing]) -> dict[str, Noticing]:
    """By host: of its own pods, and of those behind services that its routes lead to."""
    found: dict[str, Noticing] = {}
    for mesh in meshes if noticing else ():
        own = {s.host: some for s in mesh.services.values() if (some := _of_pods(s, noticing))}
        for host, some in own.items():
            found[host] = found.get(host, NOBODY) | some
        for host, to in _leading(mesh):
            if to in own:
                found[host] = found.get(host, NOBODY) | own[to]
    return found


def _of_pods(service: Service, noticing: Mapping[Key, Noticing]) -> Noticing:
    result = NOBODY
    for end in service.endpoints:
        if end.workload is not None and end.workload.key in noticing:
            result |= noticing[end.workload.key]
    return result


def _leading(mesh: Mesh) -> Iterator[tuple[str, str]]:
    """Hosts, and those that their routes lead to."""
    for (host, _), table in mesh.routes.items():
        for route in table.routes:
            for to in destinations(route):
                yield host, to
    for (host, _), connections in mesh.tcp_routes.items():
        for item in connections.destinations:
            yield host, item.destination.host


def _waypoints(before: Mesh, after: Mesh, key: Key) -> set[Key]:
    found = (mesh.workloads.get(key) for mesh in (before, after))
    return {one.waypoint for one in found if one is not None and one.waypoint is not None}
