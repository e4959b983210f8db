"""What all stages of the index have to say, brought together by the objects it is about."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ambientlab.flow.collection import Collection, Context, Derive, Graph
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef

Say = Callable[[Any, Any], Iterable[Diagnostic]]
Said = tuple[Collection[Any, Any], Say]
"""A collection, and what there is to say about an entry by its key and value."""


def of_readings(collection: Collection[Any, Any]) -> Said:
    """Of values that have their diagnostics with them."""
    return collection, lambda _, reading: reading.diagnostics


def of_diagnostics(collection: Collection[Any, tuple[Diagnostic, ...]]) -> Said:
    return collection, lambda _, diagnostics: diagnostics


def everything(said: Iterable[Said]) -> Iterator[Diagnostic]:
    for collection, say in said:
        for key, value in collection.items():
            yield from say(key, value)


def by_object(graph: Graph, said: Sequence[Said]) -> Collection[ObjectRef, tuple[Diagnostic, ...]]:
    """The findings about each object: what no condition of Istio's says."""
    parts = [graph.derive(f"said of {c.name}", c, _numbered(n, say)) for n, (c, say) in enumerate(said)]
    together = graph.join("findings", *parts)
    grouped = graph.group("findings by object", together, lambda _, found: {each.object for each in found})
    return graph.derive("findings of objects", grouped, _about)


def _numbered(number: int, say: Say) -> Derive[Hashable, Any, tuple[int, Hashable], tuple[Diagnostic, ...]]:
    """Keys of several collections, told apart."""

    def findings(_: Context, key: Hashable, value: Any) -> Mapping[tuple[int, Hashable], tuple[Diagnostic, ...]]:
        found = tuple(diagnostic for diagnostic in say(key, value) if not diagnostic.condition)
        return {(number, key): found} if found else {}

    return findings


def _about(
    _: Context, ref: ObjectRef, found: tuple[tuple[Diagnostic, ...], ...]
) -> Mapping[ObjectRef, tuple[Diagnostic, ...]]:
    # the same of several services is said once
    mine = dict.fromkeys(replace(each, host="") for some in found for each in some if each.object == ref)
    return {ref: tuple(sorted(mine, key=order))}


def order(diagnostic: Diagnostic) -> tuple[ObjectRef, str, str, str, str]:
    return diagnostic.object, diagnostic.field, diagnostic.reason, diagnostic.message, diagnostic.host
