"""Derived collections: what they recompute, and that the result never differs from computing everything anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.flow.collection import Change, Collection, Context, Graph, Source


class World:
    """Items name a group and link to another item; groups have a factor; totals follow both, and their size. Items are
    brought together by group and by link as well."""

    def __init__(self) -> None:
        graph = Graph()
        self.graph = graph
        self.runs: Counter[str] = Counter()
        self.items: Source[str, tuple[str, int, str]] = graph.source("items")
        self.factors: Source[str, int] = graph.source("factors")
        by_group = self.items.index(lambda _, item: (item[0],))

        def scale(ctx: Context, key: str, item: tuple[str, int, str]) -> Mapping[str, int]:
            self.runs[f"scale {key}"] += 1
            factor = ctx.fetch(self.factors, item[0])
            linked = ctx.fetch(self.items, item[2])
            if factor is None:
                return {}
            return {f"{key}'": min(item[1], 5) * factor, f"{key}''": linked[1] if linked else -1}

        self.scaled: Collection[str, int] = graph.derive("scaled", self.items, scale)

        def total(ctx: Context, key: str, factor: int) -> Mapping[str, tuple[int, int]]:
            self.runs[f"total {key}"] += 1
            members = ctx.select(by_group, key)
            return {key: (sum(value for _, value, _ in members), len(ctx.everything(self.scaled)))}

        self.totals: Collection[str, tuple[int, int]] = graph.derive("totals", self.factors, total)
        self.together = graph.group("together", self.items, lambda _, item: (item[0], item[2]))
        self.largest = graph.derive("largest", self.together, lambda _, key, items: {key: max(i[1] for i in items)})

    def result(self) -> tuple[dict[str, Any], ...]:
        return dict(self.scaled), dict(self.totals), dict(self.together), dict(self.largest)


names = st.sampled_from("abc")
steps = st.one_of(
    st.tuples(st.just("item"), names, st.one_of(st.none(), st.tuples(names, st.integers(0, 9), names))),
    st.tuples(st.just("factor"), names, st.one_of(st.none(), st.integers(0, 3))),
    st.tuples(st.just("settle"), names, st.none()),
)


@given(st.lists(steps, max_size=30))
def test_incremental_equals_full_recomputation(script: list[tuple[str, str, Any]]) -> None:
    world = World()
    mirror: dict[str, int] = {}

    def note(key: str, change: Change[int]) -> None:
        assert mirror.get(key) == change.old
        mirror.pop(key, None)
        if change.new is not None:
            mirror[key] = change.new

    world.scaled.watch(note)
    for what, key, value in script:
        source: Source[str, Any] = world.items if what == "item" else world.factors
        if what == "settle":
            world.graph.settle()
        elif value is None:
            source.delete(key)
        else:
            source.set(key, value)
    world.graph.settle()
    fresh = World()
    for key, value in world.items.items():
        fresh.items.set(key, value)
    for key, value in world.factors.items():
        fresh.factors.set(key, value)
    fresh.graph.settle()
    assert world.result() == fresh.result()
    assert mirror == dict(world.scaled)


def test_only_dependents_run_again() -> None:
    world = World()
    for key, group in (("x", "a"), ("y", "b")):
        world.items.set(key, (group, 7, "none"))
    for group in ("a", "b"):
        world.factors.set(group, 2)
    world.graph.settle()
    world.runs.clear()
    world.items.set("x", ("a", 8, "none"))
    world.graph.settle()
    assert world.runs == {"scale x": 1, "total a": 1}


def test_an_equal_result_stops_the_change() -> None:
    graph = Graph()
    numbers: Source[str, int] = graph.source("numbers")
    parity = graph.derive("parity", numbers, lambda ctx, key, n: {key: n % 2})
    ran: list[str] = []

    def named(ctx: Context, key: str, odd: int) -> Mapping[str, str]:
        ran.append(key)
        return {key: "odd" if odd else "even"}

    words = graph.derive("words", parity, named)
    numbers.set("n", 1)
    graph.settle()
    numbers.set("n", 3)
    graph.settle()
    assert ran == ["n"]
    assert dict(words) == {"n": "odd"}


def test_a_key_may_move_between_inputs_in_one_settling() -> None:
    graph = Graph()
    owners: Source[str, str] = graph.source("owners")
    by_address = graph.derive("by address", owners, lambda ctx, key, address: {address: key})
    owners.set("one", "10.0.0.1")
    graph.settle()
    owners.set("one", "10.0.0.2")
    owners.set("two", "10.0.0.1")
    graph.settle()
    assert dict(by_address) == {"10.0.0.1": "two", "10.0.0.2": "one"}


def test_two_inputs_for_one_key_are_refused() -> None:
    graph = Graph()
    owners: Source[str, str] = graph.source("owners")
    graph.derive("by address", owners, lambda ctx, key, address: {address: key})
    owners.set("one", "10.0.0.1")
    owners.set("two", "10.0.0.1")
    with pytest.raises(ValueError, match="both yield"):
        graph.settle()


def test_of_two_inputs_for_one_key_the_first_counts_where_somebody_is_told() -> None:
    told: list[tuple[str, Hashable]] = []
    graph = Graph(lambda name, key, error: told.append((name, key)))
    owners: Source[str, str] = graph.source("owners")
    by_address = graph.derive("by address", owners, lambda ctx, key, address: {address: key})
    owners.set("one", "10.0.0.1")
    graph.settle()
    owners.set("two", "10.0.0.1")
    owners.set("three", "10.0.0.3")
    graph.settle()
    assert (dict(by_address), told) == ({"10.0.0.1": "one", "10.0.0.3": "three"}, [("by address", "two")])
    owners.delete("two")
    graph.settle()
    assert dict(by_address) == {"10.0.0.1": "one", "10.0.0.3": "three"}


def test_an_entry_that_cannot_be_filed_is_not_written() -> None:
    graph = Graph()
    items: Source[str, dict[str, str]] = graph.source("items")
    by_colour, by_shape = items.index(lambda _, item: (item["colour"],)), items.index(lambda _, item: (item["shape"],))
    items.set("a", {"colour": "red", "shape": "round"})
    for key in ("a", "b"):
        with pytest.raises(KeyError):
            items.set(key, {"colour": "blue"})
    assert (by_colour.select("red"), by_shape.select("round")) == ([items["a"]], [items["a"]])
    assert (by_colour.select("blue"), "b" in items) == ([], False)


def test_reading_a_younger_collection_is_refused() -> None:
    graph = Graph()
    first: Source[str, int] = graph.source("first")
    younger: list[Collection[str, int]] = []
    graph.derive("reader", first, lambda ctx, key, _: {key: ctx.fetch(younger[0], key)})
    younger.append(graph.source("younger"))
    first.set("a", 1)
    with pytest.raises(ValueError, match="younger"):
        graph.settle()


def test_an_entry_that_cannot_be_derived_stays_as_it_was() -> None:
    told: list[tuple[str, Hashable]] = []
    graph = Graph(lambda name, key, error: told.append((name, key)))
    numbers: Source[str, str] = graph.source("numbers")
    factor: Source[str, int] = graph.source("factor")
    products = graph.derive("products", numbers, lambda ctx, key, v: {key: int(v) * (ctx.fetch(factor, "f") or 1)})
    for key, value in (("a", "1"), ("b", "x")):
        numbers.set(key, value)
    graph.settle()
    assert (dict(products), told) == ({"a": 1}, [("products", "b")])
    for key, value in (("a", "y"), ("b", "2")):
        numbers.set(key, value)
    graph.settle()
    assert dict(products) == {"a": 1, "b": 2}
    factor.set("f", 2)
    numbers.set("a", "3")
    graph.settle()
    assert dict(products) == {"a": 6, "b": 4}


def test_an_entry_whose_groups_cannot_be_told_stays_in_those_it_was_in() -> None:
    told: list[tuple[str, Hashable]] = []
    graph = Graph(lambda name, key, error: told.append((name, key)))
    numbers: Source[str, str] = graph.source("numbers")
    parity = graph.group("by parity", numbers, lambda _, value: (int(value) % 2,))
    for key, value in (("a", "1"), ("b", "x"), ("c", "2")):
        numbers.set(key, value)
    graph.settle()
    assert (dict(parity), told) == ({1: ("1",), 0: ("2",)}, [("by parity", "b")])
    for key, value in (("a", "y"), ("c", "3")):
        numbers.set(key, value)
    graph.settle()
    assert dict(parity) == {1: ("y", "3")}


def test_a_join_has_the_first_parents_entry() -> None:
    graph = Graph()
    strong: Source[str, int] = graph.source("strong")
    weak: Source[str, int] = graph.source("weak")
    joined = graph.join("joined", strong, weak)
    doubled = graph.derive("doubled", joined, lambda _, key, value: {key: 2 * value})
    weak.set("a", 1)
    weak.set("b", 2)
    strong.set("b", 3)
    graph.settle()
    assert dict(doubled) == {"a": 2, "b": 6}
    strong.delete("b")
    weak.delete("a")
    graph.settle()
    assert dict(doubled) == {"b": 4}


def test_a_group_is_in_the_order_of_keys_and_goes_with_its_last_entry() -> None:
    graph = Graph()
    numbers: Source[str, int] = graph.source("numbers")
    parity = graph.group("by parity", numbers, lambda _, number: (number % 2,))
    for key, value in (("b", 1), ("a", 3), ("c", 2)):
        numbers.set(key, value)
    graph.settle()
    assert dict(parity) == {1: (3, 1), 0: (2,)}
    numbers.set("c", 5)
    graph.settle()
    assert dict(parity) == {1: (3, 1, 5)}


def test_settling_tells_how_often_a_function_ran() -> None:
    world = World()
    for key, group in (("x", "a"), ("y", "b")):
        world.items.set(key, (group, 7, "none"))
    world.graph.settle()
    world.items.set("x", ("a", 8, "none"))
    assert world.graph.settle() == 3  # scaled x, the largest of group a and of link none
    assert world.graph.settle() == 0
