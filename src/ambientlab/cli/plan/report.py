"""What a plan comes to, before it is written down."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from ambientlab.api.kinds import GATEWAY_NAME_LABEL
from ambientlab.host.manifests import Problem
from ambientlab.host.pruning import Pruning
from ambientlab.host.rehearsal import Outcome
from ambientlab.mesh.explain import Unseen
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan import Denial, Effect, Plan

EXIT_SAME, EXIT_FAILED, EXIT_CHANGES = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Report:
    """`problems` are what is wrong with some of the objects; the plan is of the others. `left` is what `--prune` would
    leave, though it might be meant, and `denied` are connections of the last minutes that would be."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    problems: tuple[Problem, ...]
    index: MeshIndex
    left: tuple[str, ...] = ()
    denied: tuple[Denial, ...] = ()
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
        asked = ((one.request.method, one.request.path, one.request.headers, one.token) for one in effect.examples)
        requests = () if effect.every else tuple(asked)
        clients = frozenset(member for some in effect.clients for member in some.members)
        said = tuple((one.aspect, one.subject, one.shares or (one.before, one.after)) for one in effect.differences)
        key = (effect.fate, effect.service is None, requests, clients, said)
        found.setdefault(key, []).append(effect)
    for some in found.values():
        yield tuple(some)


_OUTSIDE = "outside of the mesh"
_FEW = 3


def who(index: MeshIndex, effect: Effect) -> str:
    """The clients by what made them, or what they have in common where they are many."""
    members = {member for some in effect.clients for member in some.members}
    names = sorted({_name(index, member) for member in members if member is not None})
    known = {key: w for key, w in index.mesh.workloads.items() if GATEWAY_NAME_LABEL not in dict(w.labels)}
    inside = {key for key, workload in known.items() if workload.captured}
    outside = set(known) - inside
    if len(names) > _FEW and members >= inside:
        if not members - inside:
            return f"everybody in the mesh ({len(inside)} pods)"
        if members >= outside:
            return f"everybody ({len(known)} pods)"
    if len(names) > _FEW and members >= outside and not members & inside:
        return f"everybody who is not in the mesh ({len(outside)} pods)"
    if not names:
        return _OUTSIDE
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW + 1 else ""
    return f"{', '.join(names if not more else names[:_FEW])}{more}{f', {_OUTSIDE}' if None in members else ''}"


def _name(index: MeshIndex, member: Key) -> str:
    workload = index.mesh.workloads.get(member)
    return str(member) if workload is None else f"{workload.namespace}/{workload.workload_name or workload.name}"


def left(pruning: Pruning, index: MeshIndex, applied: Collection[Outcome]) -> Iterator[str]:
    for text, obj in pruning.left(index, applied):
        place = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        yield f"{text.rpartition('/')[2]} {place} stays: kubectl prunes it with --prune-allowlist={text} alone"


def aimed(plan: Plan, *flags: str) -> Plan:
    """With commands for the cluster that is meant."""
    from ambientlab.mesh.explain.remedies import all_aimed

    warnings = tuple(replace(one, remedies=all_aimed(one.remedies, *flags)) for one in plan.warnings)
    return replace(plan, warnings=warnings)
