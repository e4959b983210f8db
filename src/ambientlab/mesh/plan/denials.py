"""Connections that there were, and that a change would have denied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ambientlab.mesh.decide import Decision, Delivered, Reason
from ambientlab.mesh.ir import Key
from ambientlab.mesh.plan.comparing import Comparison, Effect, Example


@dataclass(frozen=True, slots=True)
class Connection:
    """`count` of them, from a client to a port of a service."""

    client: Key
    host: str
    port: int
    count: int


@dataclass(frozen=True, slots=True)
class Denial:
    """`every` request of such connections is denied, or those like the examples."""

    connection: Connection
    every: bool
    examples: tuple[Example, ...]


def denying(comparison: Comparison) -> bool:
    """Whether anything is denied that is not now."""
    return any(_denied(example) for effect in comparison.effects for example in effect.examples)


def denials(comparison: Comparison, seen: Iterable[Connection]) -> Iterator[Denial]:
    for one in seen:
        for effect in comparison.effects:
            if (effect.target, effect.port) == (one.host, one.port) and _concerns(effect, one.client):
                denied = tuple(example for example in effect.examples if _denied(example))
                if denied:
                    yield Denial(one, effect.every and len(denied) == len(effect.examples), denied)


def _concerns(effect: Effect, client: Key) -> bool:
    return any(client in some.members for some in effect.clients)


def _denied(example: Example) -> bool:
    return any(isinstance(o.result, Delivered) for o in example.before.outcomes) and _by_policy(example.after)


def _by_policy(decision: Decision) -> bool:
    """Whether no endpoint gets the request, and a policy is why."""
    results = [outcome.result for outcome in decision.outcomes]
    if any(isinstance(result, Delivered) for result in results):
        return False
    return any(
        result.reason in (Reason.DENIED, Reason.TOKEN) for result in results if not isinstance(result, Delivered)
    )
