"""Who sends requests, told apart as far as policies and places tell them apart."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ambientlab.api.kinds import GATEWAY_NAME_LABEL
from ambientlab.mesh.decide import admission, policy
from ambientlab.mesh.decide.conditions import holds
from ambientlab.mesh.ir import Authorization, Condition, Guard, Key, Mesh, Workload


@dataclass(frozen=True, slots=True)
class Clients:
    """All that one decision holds for: `one` is any of them, None for who is no pod of the cluster. `moved` is whether
    they come into the mesh or leave it, or change their identity."""

    one: Key | None
    members: tuple[Key | None, ...]
    captured: bool
    moved: bool

    @property
    def namespace(self) -> str:
        return "" if self.one is None else self.one.namespace


class Everybody:
    """The clients that there are before and after."""

    def __init__(self, before: Mesh, after: Mesh) -> None:
        self._groups: dict[tuple[object, ...], list[tuple[Key, Workload, Workload]]] = {}
        for key, new in sorted(after.workloads.items(), key=lambda item: item[0]):
            old = before.workloads.get(key)
            if old is not None and GATEWAY_NAME_LABEL not in dict(new.labels):
                alike = (old.protocol, new.protocol, old.identity, new.identity, old.node, new.node)
                self._groups.setdefault(alike, []).append((key, old, new))
        self._told: dict[tuple[Condition, bool, str, str], bool] = {}
        self.moved = any(_moved(*pairs[0][1:]) for pairs in self._groups.values())

    def told_apart(
        self, asked: Asked, *, places: bool, called: Container[Key] = (), namespaces: Container[str] = ()
    ) -> Iterator[Clients]:
        """By what policies ask of them, if `places` matter by their nodes, and those in each of the `namespaces` from
        all others. Pods that are `called` stand for others only where there is nobody else: a pod that calls itself is
        no example."""
        found: dict[tuple[object, ...], tuple[bool, bool, list[Key | None]]] = {}
        for one, old, new in self._everybody(addresses=asked.addresses):
            moved = old is not None and new is not None and _moved(old, new)
            captured = new is not None and new.captured
            told = (
                _captured(old), captured, moved, *self._answers(asked, old), *self._answers(asked, new),
                *((old.node, new.node) if places and old is not None and new is not None else ()),
                new.namespace if new is not None and new.namespace in namespaces else "",
            )  # fmt: skip
            found.setdefault(told, (captured, moved, []))[2].extend(one)
        for captured, moved, members in found.values():
            pods = [member for member in members if member is not None]
            # somebody outside is like the pods that are not in the mesh, and needs no mention beside them
            example = next((pod for pod in pods if pod not in called), pods[0] if pods else None)
            yield Clients(example, tuple(pods or members), captured, moved)

    def _answers(self, asked: Asked, client: Workload | None) -> Iterator[bool]:
        """Policies of many services ask the same of the same clients."""
        identity = client.identity if client is not None and client.captured else ""
        ip = client.ip if client is not None else ""
        for conditions, judge in ((asked.of_requests, _at_waypoint), (asked.of_connections, _at_ztunnel)):
            for condition in conditions:
                place = (condition, judge is _at_waypoint, identity, ip if condition.attribute.endswith(".ip") else "")
                if place not in self._told:
                    self._told[place] = judge(condition, identity, ip)
                yield self._told[place]

    def _everybody(self, *, addresses: bool) -> Iterator[tuple[Sequence[Key | None], Workload | None, Workload | None]]:
        for pairs in self._groups.values():
            if addresses:
                yield from (([key], old, new) for key, old, new in pairs)
            else:
                _, old, new = pairs[0]
                yield [key for key, _, _ in pairs], old, new
        yield [None], None, None


class Asked:
    """What policies ask of clients."""

    def __init__(self, guards: Iterable[Guard | None], policies: Iterable[Authorization]) -> None:
        at_waypoints = (
            condition
            for guard in guards
            if guard is not None
            for each in guard.policies
            for rule in each.rules
            for conditions in rule.sources
            for condition in conditions
        )
        at_ztunnel = (
            condition
            for each in policies
            for rule in each.rules
            for clause in rule
            for match in clause
            for condition in match
        )
        self.of_requests = _of_clients(at_waypoints)
        self.of_connections = _of_clients(at_ztunnel)
        self.addresses = any(one.attribute.endswith(".ip") for one in (*self.of_requests, *self.of_connections))


def _at_waypoint(condition: Condition, identity: str, ip: str) -> bool:
    return holds(condition, partial(policy.has, policy.Attempt(None, identity, ip, "", 0)))


def _at_ztunnel(condition: Condition, identity: str, ip: str) -> bool:
    return holds(condition, partial(admission.has, admission.Connection(identity, ip, "", 0)))


def _of_clients(conditions: Iterable[Condition]) -> Sequence[Condition]:
    return tuple(dict.fromkeys(c for c in conditions if c.attribute.startswith(("source.", "remote."))))


def _captured(workload: Workload | None) -> bool:
    return workload is not None and workload.captured


def _moved(old: Workload, new: Workload) -> bool:
    identities = (old.identity, new.identity) if new.captured else ("", "")
    return old.protocol is not new.protocol or identities[0] != identities[1]
