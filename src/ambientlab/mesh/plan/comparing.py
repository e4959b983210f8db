"""What a change of the mesh does to requests: two states of it, and each request that stands for others decided in
both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ambientlab import re2
from ambientlab.api.kinds import GATEWAY_NAME_LABEL
from ambientlab.mesh.decide import Decision, Request, decide
from ambientlab.mesh.ir import (
    SERVICE_KIND,
    AppProtocol,
    Authorization,
    Distribution,
    Endpoint,
    Guard,
    Key,
    Match,
    Mesh,
    Route,
    Service,
    names,
)
from ambientlab.mesh.plan import parts, probes
from ambientlab.mesh.plan.aspects import facets
from ambientlab.mesh.plan.carried import carrying
from ambientlab.mesh.plan.clients import Asked, Clients, Everybody
from ambientlab.mesh.plan.differences import Difference, differences
from ambientlab.mesh.plan.probes import Probe
from ambientlab.mesh.plan.touched import NOBODY, Touched, touched

_SOME_PORT = 1
"""That nobody is likely to ask about."""


class Fate(StrEnum):
    """What becomes of who is asked for. Values are part of the documented JSON."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Example:
    """A request, and the conditions of the routes that it meets, which others meet as well. `token` is the one it
    carries, in words."""

    request: Request
    matches: tuple[Match, ...]
    token: str
    before: Decision
    after: Decision


@dataclass(frozen=True, slots=True)
class Effect:
    """One difference for some clients of a port: for `every` request to it, or for those like the `examples`
    and not for the `others`. `target`
    is the host of a `service`, or the address of the first of `pods`, which are asked for by their own; then 0 is any
    port that no policy asks about."""

    target: str
    port: int
    fate: Fate
    clients: tuple[Clients, ...]
    every: bool
    examples: tuple[Example, ...]
    others: tuple[Example, ...]
    differences: tuple[Difference, ...]
    service: Service | None = None
    pods: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """`services` is how many there are in one state or the other, and `untouched` how many differ for nobody."""

    effects: tuple[Effect, ...]
    services: int
    untouched: int


def compare(before: Mesh, after: Mesh, domain: str) -> Comparison:
    comparing = _Comparing(before, after, domain)
    effects = tuple(comparing.effects())
    hosts = {*before.services, *after.services}
    return Comparison(effects, len(hosts), len(hosts - {effect.target for effect in effects}))


class _Comparing:
    def __init__(self, before: Mesh, after: Mesh, domain: str) -> None:
        self._before, self._after, self._domain = before, after, domain
        self._touched: Touched = touched(before, after)
        self._everybody = Everybody(before, after)
        self._own: dict[str, set[str]] = {}
        """Hostname -> the namespaces in which it means, before or after, what it means to nobody else."""
        for host in {*before.services, *after.services}:
            if namespace := names.namespace_of(host):
                self._own.setdefault(names.hostname(host), set()).add(namespace)

    def effects(self) -> Iterator[Effect]:
        hosts = {*self._before.services, *self._after.services}
        touched = self._touched.hosts | set(self._touched.entries)
        for host in sorted(hosts if self._everybody.moved else hosts & touched):
            yield from _joined(self._of_host(host))
        for pods in self._pods():
            yield from _joined(self._of_pods(pods))

    def _pods(self) -> Iterator[tuple[Key, ...]]:
        """Pods that are asked for by their own addresses: together where the same decides about them."""
        groups: dict[tuple[object, ...], list[Key]] = {}
        for key in sorted(self._touched.workloads):
            old, new = self._before.workloads.get(key), self._after.workloads.get(key)
            if old is not None and new is not None and old.ip == new.ip and GATEWAY_NAME_LABEL not in dict(new.labels):
                decides = [
                    (one.protocol, one.identity, one.waypoint, mesh.enforced.get(key, ()))
                    for mesh, one in ((self._before, old), (self._after, new))
                ]
                groups.setdefault((key.namespace, *decides), []).append(key)
        yield from map(tuple, groups.values())

    def _of_pods(self, pods: tuple[Key, ...]) -> Iterator[Effect]:
        key = pods[0]
        old, new = self._before.workloads[key], self._after.workloads[key]
        guards = [
            mesh.guards.get((one.waypoint, ""))
            for mesh, one in ((self._before, old), (self._after, new))
            if one.waypoint is not None
        ]
        policies = [policy for mesh in (self._before, self._after) for policy in mesh.enforced.get(key, ())]
        atoms = [atom for guard in guards for atom in parts.of_guard(guard)]
        clients = [*self._everybody.told_apart(Asked(guards, policies), places=False, called={key})]
        for port in (*_asked_ports(policies), 0):
            first = Request(new.ip, port or _SOME_PORT, authority=f"{new.ip}:{port or _SOME_PORT}")
            for some in clients:
                if not some.moved:  # what becomes of those, all services that they ask for say
                    asked = probes.of_policies(atoms, first)
                    found = list(self._decided(asked, some))
                    for examples, others, told in _grouped(found):
                        fate = Fate.CHANGED
                        yield Effect(new.ip, port, fate, (some,), not others, examples, others, told, pods=pods)

    def _of_host(self, host: str) -> Iterator[Effect]:
        old, new = _meant(self._before, host), _meant(self._after, host)
        states = [service for service in (old, new) if service is not None]
        guards = [
            mesh.guards.get((key, service.host))
            for mesh, service in ((self._before, old), (self._after, new))
            if service is not None
            for key, _ in service.waypoints
        ]
        clients = [*self._clients(host, states, guards)]
        fate = Fate.ADDED if old is None else Fate.REMOVED if new is None else Fate.CHANGED
        for port in sorted({port.number for service in states for port in service.ports} or {80}):
            for some in clients:
                found = list(self._of_port(host, port, some, states, guards))
                for examples, others, told in _grouped(found):
                    yield Effect(host, port, fate, (some,), not others, examples, others, told, states[-1])

    def _clients(self, host: str, states: Sequence[Service], guards: Sequence[Guard | None]) -> Iterator[Clients]:
        pods = {
            end.workload.key for name in self._reached(host) for end in self._ends(name) if end.workload is not None
        }
        policies = {
            policy: None
            for mesh in (self._before, self._after)
            for key in pods
            for policy in mesh.enforced.get(key, ())
        }
        places = any(service.distribution is not Distribution.ANY for service in states)
        entries = self._touched.entries.get(host, NOBODY)
        own = self._own.get(names.hostname(host), set())
        asked = Asked(guards, policies)
        for some in self._everybody.told_apart(asked, places=places, called=pods, namespaces=own):
            if names.namespace_of(host) != (some.namespace if some.namespace in own else ""):
                continue
            if some.moved or host in self._touched.hosts or entries.of(self._shown(some, states)):
                yield some

    def _shown(self, clients: Clients, states: Sequence[Service]) -> Iterator[str]:
        """The identities with which requests of clients come to pods: a waypoint's are its own."""
        for mesh in (self._before, self._after):
            for key in (key for service in states for key, _ in service.waypoints):
                yield from (one.identity for one in (mesh.waypoints[key].members if key in mesh.waypoints else ()))
        if not clients.captured:
            yield ""
        elif clients.one is not None and any(service.waypoint is None for service in states):
            yield self._after.workloads[clients.one].identity

    def _reached(self, host: str) -> set[str]:
        """The hosts that requests for one may be sent to."""
        found = {host}
        for mesh in (self._before, self._after):
            if (service := _meant(mesh, host)) is None:
                continue
            found.add(service.host)
            for port in service.ports:
                if (table := mesh.routes.get((service.host, port.number))) is not None:
                    found |= {name for route in table.routes for name in probes.destinations(route)}
                if (connections := mesh.tcp_routes.get((service.host, port.number))) is not None:
                    found |= {item.destination.host for item in connections.destinations}
        return found

    def _ends(self, host: str) -> Iterator[Endpoint]:
        for mesh in (self._before, self._after):
            if (service := mesh.services.get(host)) is not None:
                yield from service.endpoints

    def _of_port(
        self, host: str, port: int, clients: Clients, states: Sequence[Service], guards: Sequence[Guard | None]
    ) -> Iterator[tuple[Example, tuple[Difference, ...]]]:
        yield from self._decided(self._probes(host, port, clients, states, guards), clients)

    def _decided(self, asked: Iterable[Probe], clients: Clients) -> Iterator[tuple[Example, tuple[Difference, ...]]]:
        seen = set()
        for probe in asked:
            if probe.request in seen:
                continue
            seen.add(probe.request)
            try:
                old = decide(self._before, clients.one, probe.request, domain=self._domain)
                new = decide(self._after, clients.one, probe.request, domain=self._domain)
            except re2.ExpressionError:
                continue
            told = () if old == new else differences(facets(self._before, old), facets(self._after, new))
            yield Example(probe.request, probe.matches, probe.token, old, new), told

    def _probes(
        self, host: str, port: int, clients: Clients, states: Sequence[Service], guards: Sequence[Guard | None]
    ) -> Iterator[Probe]:
        protocols = {found.protocol for service in states if (found := service.port(port)) is not None}
        first = _plainest(states[-1], port)
        looked_into = (clients.captured or clients.moved) and any(service.waypoint is not None for service in states)
        if not protocols or any(p.http or p is AppProtocol.UNDECLARED for p in protocols):
            if looked_into:
                yield from self._routed(host, port, clients, guards, first)
            else:
                yield Probe(first)
        if any(not p.http for p in protocols):
            yield Probe(replace(first, scheme="https"))

    def _routed(
        self, host: str, port: int, clients: Clients, guards: Sequence[Guard | None], first: Request
    ) -> Iterator[Probe]:
        before, after = _meant(self._before, host), _meant(self._after, host)
        old = self._before.routes.get((before.host, port)) if before is not None else None
        new = self._after.routes.get((after.host, port)) if after is not None else None
        atoms = [atom for guard in guards for atom in parts.of_guard(guard)]
        same_way = (
            not clients.moved
            and before is not None
            and after is not None
            and before.waypoints == after.waypoints
            and before.port(port) == after.port(port)
            and self._touched.waypoints.isdisjoint(key for key, _ in after.waypoints)
        )
        for token, plain in carrying(guards, first):
            for probe in probes.of_routes(old, new, atoms, plain, self._changed if same_way else None):
                yield replace(probe, token=token)
            for probe in probes.of_policies(atoms, plain):
                yield replace(probe, token=token)

    def _changed(self, route: Route) -> bool:
        return not self._touched.reached.isdisjoint(probes.destinations(route))


def _meant(mesh: Mesh, host: str) -> Service | None:
    """What those call who call `host`: what all do, where they have nothing of their own."""
    return mesh.services.get(host) or mesh.services.get(names.hostname(host))


def _asked_ports(policies: Iterable[Authorization]) -> list[int]:
    found = {
        int(value)
        for policy in policies
        for rule in policy.rules
        for clause in rule
        for match in clause
        for condition in match
        if condition.attribute == "destination.port"
        for value in (*condition.values, *condition.not_values)
    }
    return sorted(found)


def _plainest(service: Service, port: int) -> Request:
    """A request for the service as its clients write it."""
    host = service.hostname.replace("*", "any", 1)
    named = f"{service.name}.{service.namespace}" if service.kind == SERVICE_KIND else host
    return Request(host, port, authority=named if port == 80 else f"{named}:{port}")


def _grouped(
    found: Sequence[tuple[Example, tuple[Difference, ...]]],
) -> Iterator[tuple[tuple[Example, ...], tuple[Example, ...], tuple[Difference, ...]]]:
    """Requests for which the same differs, and the others."""
    for told in dict.fromkeys(differing for _, differing in found if differing):
        alike = tuple(example for example, differing in found if differing == told)
        yield alike, tuple(example for example, differing in found if differing != told), told


def _joined(effects: Iterable[Effect]) -> Iterator[Effect]:
    """With the clients together for whom the same requests differ in the same."""
    found: dict[tuple[object, ...], Effect] = {}
    for effect in effects:
        requests = () if effect.every else tuple(example.request for example in effect.examples)
        key = (effect.port, requests, effect.differences)
        one = found.get(key)
        found[key] = effect if one is None else replace(one, clients=one.clients + effect.clients)
    yield from found.values()
