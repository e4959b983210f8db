"""Collections derived from collections, kept up to date by recomputing only what a change touches.

A `Source` is filled from outside. `Graph.derive` makes a collection whose entries are a function of one input entry and
of whatever else that function fetches through its `Context`; the fetches are the dependencies, recorded anew on each
run. `Graph.join` lays collections over each other; `Graph.group` brings together the entries that have something in
common. `Graph.settle` brings everything up to date, in the order the collections were made in: a function can only
fetch from collections older than its own, so no entry is computed twice in one settling and there are no cycles. An
entry that comes out equal to what it was stops the change there.

The functions must be pure: same input, same fetches, same output. Everything is synchronous and deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
I = TypeVar("I", bound=Hashable)  # noqa: E741 - an index value
K2 = TypeVar("K2", bound=Hashable)
V2 = TypeVar("V2")
D = TypeVar("D")

_EVERYTHING = object()
"""The token of a reader that looked at a whole collection."""


@dataclass(frozen=True, slots=True)
class Change(Generic[V]):
    """What became of an entry: `old` is None where it appeared, `new` where it went."""

    old: V | None
    new: V | None


class Index(Generic[I, K, V]):
    """Entries of a collection by something computed from them."""

    def __init__(self, collection: Collection[K, V], of: Callable[[K, V], Iterable[I]]) -> None:
        self.collection = collection
        self._of = of
        self._keys: dict[I, set[K]] = {}
        for key, value in collection.items():
            self._add(key, self._under(key, value))

    def select(self, value: I) -> list[V]:
        """The entries under `value`, ordered by their keys, which must be comparable."""
        keys: list[Any] = sorted(self._keys.get(value, ()))
        return [self.collection[key] for key in keys]

    def _under(self, key: K, value: V) -> set[I]:
        return set(self._of(key, value))

    def _add(self, key: K, under: set[I]) -> None:
        for index_value in under:
            self._keys.setdefault(index_value, set()).add(key)

    def _remove(self, key: K, value: V) -> set[I]:
        under = self._under(key, value)
        for index_value in under:
            keys = self._keys[index_value]
            keys.discard(key)
            if not keys:
                del self._keys[index_value]
        return under


class Collection(Mapping[K, V]):
    """A live, read-only view of entries; made by `Graph.source` and `Graph.derive`. Equal only to itself."""

    def __init__(self, name: str, order: int) -> None:
        self.name = name
        self.order = order
        self._values: dict[K, V] = {}
        self._indexes: list[Index[Any, K, V]] = []
        self._readers: dict[Hashable, set[tuple[_Derived[Any, Any, Any, Any], Hashable]]] = {}
        self._children: list[_Derived[K, V, Any, Any] | _Joined[K, V] | _Grouped[K, V, Any]] = []
        self._watchers: list[Callable[[K, Change[V]], None]] = []
        self._changes: dict[K, Change[V]] = {}

    def __getitem__(self, key: K) -> V:
        return self._values[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: Any = None) -> Any:
        return self._values.get(key, default)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def index(self, of: Callable[[K, V], Iterable[I]]) -> Index[I, K, V]:
        index = Index(self, of)
        self._indexes.append(index)
        return index

    def snapshot(self) -> Collection[K, V]:
        """The entries as they are at this moment, which nothing changes any more."""
        kept: Collection[K, V] = Collection(self.name, self.order)
        kept._values = dict(self._values)
        return kept

    def watch(self, handler: Callable[[K, Change[V]], None]) -> None:
        """Call `handler` for each entry that changed, after each settling, when all collections agree."""
        self._watchers.append(handler)

    def _write(self, key: K, new: V | None) -> None:
        old = self._values.get(key)
        if old is new or old == new:
            return
        # a function of an index may raise: not before this is done is anything changed
        filed = [(index, set() if new is None else index._under(key, new)) for index in self._indexes]
        stale: set[tuple[_Derived[Any, Any, Any, Any], Hashable]] = set()
        for token in (key, _EVERYTHING):
            stale |= self._readers.get(token, set())
        for index, under in filed:
            left = set() if old is None else index._remove(key, old)
            index._add(key, under)
            for value in left | under:
                stale |= self._readers.get((index, value), set())
        if new is None:
            del self._values[key]
        else:
            self._values[key] = new
        if self._watchers:
            first = self._changes[key].old if key in self._changes else old
            self._changes[key] = Change(first, new)
        for child in self._children:
            child._dirty.add(key)
        for reader, input_key in stale:
            reader._dirty.add(input_key)

    def _report(self) -> None:
        changes, self._changes = self._changes, {}
        for key, change in changes.items():
            if change.old != change.new:
                for handler in self._watchers:
                    handler(key, change)


class Source(Collection[K, V]):
    """A collection written from outside; what it feeds is stale until the graph is settled."""

    def set(self, key: K, value: V) -> None:
        self._write(key, value)

    def delete(self, key: K) -> None:
        self._write(key, None)


class Context:
    """How a deriving function reads other collections, so that it runs again when what it read changes."""

    def __init__(self, order: int) -> None:
        self._order = order
        self.reads: set[tuple[Collection[Any, Any], Hashable]] = set()

    def fetch(self, collection: Collection[K, V], key: K) -> V | None:
        self._note(collection, key)
        return collection.get(key)

    def select(self, index: Index[I, K, V], value: I) -> list[V]:
        self._note(index.collection, (index, value))
        return index.select(value)

    def everything(self, collection: Collection[K, V]) -> Mapping[K, V]:
        self._note(collection, _EVERYTHING)
        return collection

    def _note(self, collection: Collection[Any, Any], token: Hashable) -> None:
        if collection.order >= self._order:
            raise ValueError(f"a collection cannot read the younger collection {collection.name!r}")
        self.reads.add((collection, token))


Derive = Callable[[Context, K, V], Mapping[K2, V2]]
Failed = Callable[[str, Hashable, Exception], None]
"""Told of a collection, and the entry of its parent that its function raised for."""


class _Derived(Collection[K2, V2], Generic[K, V, K2, V2]):
    def __init__(
        self, name: str, order: int, parent: Collection[K, V], function: Derive[K, V, K2, V2], failed: Failed | None
    ) -> None:
        super().__init__(name, order)
        self._parent = parent
        self._function = function
        self._failed = failed
        self._dirty: set[K] = set(parent)
        self._reads: dict[K, set[tuple[Collection[Any, Any], Hashable]]] = {}
        self._outputs: dict[K, Mapping[K2, V2]] = {}
        parent._children.append(self)

    def _settle(self) -> int:
        dirty, self._dirty = self._dirty, set()
        results = {key: self._run(key) for key in dirty}
        gone: dict[K2, None] = {}
        fresh: dict[K2, V2] = {}
        for key in results:
            gone.update(dict.fromkeys(self._outputs.pop(key, {})))
        for key, outputs in results.items():
            clashing = [out for out in outputs if out in fresh or (out in self._values and out not in gone)]
            if clashing:
                self._clash(key, clashing[0])
                outputs = {out: value for out, value in outputs.items() if out not in clashing}
            if outputs:
                self._outputs[key] = outputs
            fresh.update(outputs)
        for out in gone:
            if out not in fresh:
                self._write(out, None)
        for out, value in fresh.items():
            self._write(out, value)
        return len(dirty)

    def _clash(self, key: K, out: K2) -> None:
        error = ValueError(f"two entries of {self._parent.name!r} both yield {out!r} in {self.name!r}")
        if self._failed is None:
            raise error
        self._failed(self.name, key, error)

    def _run(self, key: K) -> Mapping[K2, V2]:
        for collection, token in self._reads.pop(key, ()):
            readers = collection._readers[token]
            readers.discard((self, key))
            if not readers:
                del collection._readers[token]
        value = self._parent.get(key)
        if value is None:
            return {}
        context = Context(self.order)
        try:
            outputs = self._function(context, key, value)
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(self.name, key, error)
            outputs = self._outputs.get(key, {})
        self._reads[key] = context.reads
        for collection, token in context.reads:
            collection._readers.setdefault(token, set()).add((self, key))
        return outputs


class _Joined(Collection[K, V]):
    def __init__(self, name: str, order: int, parents: tuple[Collection[K, V], ...]) -> None:
        super().__init__(name, order)
        self._parents = parents
        self._dirty: set[K] = {key for parent in parents for key in parent}
        for parent in parents:
            parent._children.append(self)

    def _settle(self) -> int:
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            self._write(key, next((parent[key] for parent in self._parents if key in parent), None))
        return 0


class _Grouped(Collection[I, tuple[V, ...]], Generic[K, V, I]):
    def __init__(
        self,
        name: str,
        order: int,
        parent: Collection[K, V],
        of: Callable[[K, V], Iterable[I]],
        failed: Failed | None,
    ) -> None:
        super().__init__(name, order)
        self._parent = parent
        self._of = of
        self._failed = failed
        self._dirty: set[K] = set(parent)
        self._under: dict[K, frozenset[I]] = {}
        self._members: dict[I, set[K]] = {}
        parent._children.append(self)

    def _settle(self) -> int:
        dirty, self._dirty = self._dirty, set()
        touched: set[I] = set()
        for key in dirty:
            before = self._under.pop(key, frozenset())
            now = self._groups(key, before)
            if now:
                self._under[key] = now
            for group in before - now:
                self._members[group].discard(key)
            for group in now - before:
                self._members.setdefault(group, set()).add(key)
            touched |= before | now
        for group in touched:
            keys: list[Any] = sorted(self._members[group])
            if not keys:
                del self._members[group]
            self._write(group, tuple(self._parent[key] for key in keys) or None)
        return 0

    def _groups(self, key: K, before: frozenset[I]) -> frozenset[I]:
        if key not in self._parent:
            return frozenset()
        try:
            return frozenset(self._of(key, self._parent[key]))
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(self.name, key, error)
            return before


class Graph:
    """The collections of one world, in the order they were made.

    A function that raises ends the settling, unless `failed` is told: then its entry stays as it was, and all others
    are brought up to date.
    """

    def __init__(self, failed: Failed | None = None) -> None:
        self._failed = failed
        self._collections: list[Collection[Any, Any]] = []
        self._following: list[_Derived[Any, Any, Any, Any] | _Joined[Any, Any] | _Grouped[Any, Any, Any]] = []

    def source(self, name: str) -> Source[Any, Any]:
        source: Source[Any, Any] = Source(name, len(self._collections))
        self._collections.append(source)
        return source

    def derive(self, name: str, parent: Collection[K, V], function: Derive[K, V, K2, V2]) -> Collection[K2, V2]:
        """A collection of what `function` makes of each entry of `parent`.

        No two entries of `parent` may yield the same key: ValueError when settling, and the first one's counts where
        `failed` is told.
        """
        derived: _Derived[K, V, K2, V2] = _Derived(name, len(self._collections), parent, function, self._failed)
        self._collections.append(derived)
        self._following.append(derived)
        return derived

    def join(self, name: str, *parents: Collection[K, V]) -> Collection[K, V]:
        """The entries of all `parents`; under a key that several have, the first one's."""
        joined = _Joined(name, len(self._collections), parents)
        self._collections.append(joined)
        self._following.append(joined)
        return joined

    def group(
        self, name: str, parent: Collection[K, V], of: Callable[[K, V], Iterable[I]]
    ) -> Collection[I, tuple[V, ...]]:
        """The entries of `parent` by something computed from each; those that share it are in the order of their keys,
        which must be comparable."""
        grouped = _Grouped(name, len(self._collections), parent, of, self._failed)
        self._collections.append(grouped)
        self._following.append(grouped)
        return grouped

    def reader(self) -> Context:
        """For whoever reads as the deriving functions do, between settlings: nothing is recomputed for it."""
        return Context(len(self._collections))

    def settle(self) -> int:
        """Bring every collection up to date, then tell the watchers. Returns how often a function had to run for it."""
        runs = 0
        for following in self._following:
            if following._dirty:
                runs += following._settle()
        for collection in self._collections:
            if collection._changes:
                collection._report()
        return runs
