"""What a plan comes to, before it is written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ambientlab.host.manifests import Problem
from ambientlab.host.rehearsal import Outcome
from ambientlab.mesh.explain import Unseen
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan import Clients, Effect, Plan

EXIT_SAME, EXIT_FAILED, EXIT_CHANGES = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Report:
    """`problems` are what is wrong with some of the objects; the plan is of the others."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    problems: tuple[Problem, ...]
    index: MeshIndex
    unseen: tuple[Unseen, ...] = ()

    @property
    def exit_code(self) -> int:
        if self.problems:
            return EXIT_FAILED
        return EXIT_CHANGES if self.plan.comparison.effects else EXIT_SAME


def together(effects: Iterable[Effect]) -> Iterator[tuple[Effect, ...]]:
    """Effects that are told as one: for several services the same clients notice the same."""
    found: dict[object, list[Effect]] = {}
    for effect in effects:
        requests = "" if effect.every else (effect.target, *(example.request for example in effect.examples))
        clients = frozenset(member for some in effect.clients for member in some.members)
        key = (effect.fate, effect.workload is None, requests, clients, effect.differences)
        found.setdefault(key, []).append(effect)
    for some in found.values():
        yield tuple(some)


def who(index: MeshIndex, effect: Effect) -> list[str]:
    """The clients by what made them, those in the mesh first; somebody outside where there is nobody else."""
    found: dict[str, None] = {}
    for some in sorted(effect.clients, key=lambda clients: not clients.captured):
        for member in some.members:
            found[_name(index, member)] = None
    return sorted(found, key=lambda name: name == _OUTSIDE)


_OUTSIDE = "outside of the mesh"


def _name(index: MeshIndex, member: Key | None) -> str:
    if member is None:
        return _OUTSIDE
    workload = index.mesh.workloads.get(member)
    return str(member) if workload is None else f"{workload.namespace}/{workload.workload_name or workload.name}"


def captured(clients: Iterable[Clients]) -> bool:
    return any(one.captured for one in clients)


def aimed(plan: Plan, *flags: str) -> Plan:
    """With commands for the cluster that is meant."""
    from ambientlab.mesh.explain.remedies import all_aimed

    warnings = tuple(replace(one, remedies=all_aimed(one.remedies, *flags)) for one in plan.warnings)
    return replace(plan, warnings=warnings)
