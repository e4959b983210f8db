"""Who is at fault where a proxy refuses a table of many objects' routes."""

from __future__ import annotations

from dataclasses import fields
from itertools import chain, combinations
from typing import Any

import pytest

from ambientlab.flow.collection import Collection, Graph, Source
from ambientlab.mesh import ir
from ambientlab.mesh.index import Diagnostic
from ambientlab.mesh.serve.refusals import Refusals
from ambientlab.mesh.xds.waypoint import Waypoints

PLACE = ("shop.hello.svc.cluster.local", 80)
GATEWAY = ir.Key("hello", "waypoint")


def table(*names: str, status: int = 200) -> ir.RouteTable:
    """Each object has two routes, apart from each other."""
    routes = [
        ir.Route(name, ("VirtualService", ir.Key("hello", name)), ir.Match(), ir.DirectResponse(status))
        for name in (*names, *names)
    ]
    return ir.RouteTable(*PLACE, tuple(routes))


class World:
    """A waypoint's table, whose proxies refuse it while it has routes of a bad object."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.mesh = ir.Mesh(*(self.graph.source(each.name) for each in fields(ir.Mesh)))
        self.waypoints = Waypoints(self.graph, self.mesh)
        self.refusals = Refusals(self.graph, self.mesh, self.waypoints)
        self.waypoints.served.set(GATEWAY, GATEWAY)
        ports = (ir.Port(PLACE[1], "http", ir.AppProtocol.HTTP),)
        self.put(self.mesh.services, PLACE[0], ir.Service("hello", "shop", PLACE[0], (), ports, (), (), GATEWAY))

    def put(self, collection: Collection[Any, Any], key: Any, value: Any) -> None:
        assert isinstance(collection, Source)
        collection.set(key, value)

    def published(self) -> ir.RouteTable:
        self.graph.settle()
        return self.waypoints.tables[GATEWAY, *PLACE]

    def ask(self, wanted: ir.RouteTable, bad: set[str]) -> tuple[list[str], int]:
        """The objects whose routes run in the end, and how many pushes that took."""
        self.put(self.mesh.routes, PLACE, wanted)
        running: tuple[str, ...] = ()
        for pushes in range(1, 50):
            names = tuple(dict.fromkeys(route.name for route in self.published().routes))
            refused = bool(bad & set(names))
            running = running if refused else names
            if not self.refusals.judged(GATEWAY, *PLACE, "no" if refused else None):
                return sorted(running), pushes
        raise AssertionError("no end")

    def findings(self) -> list[Diagnostic]:
        self.graph.settle()
        found = chain.from_iterable(self.refusals.findings.values())
        return sorted(found, key=lambda diagnostic: diagnostic.object.name)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("bad", [set(c) for n in (0, 1, 2, 4) for c in combinations("abcd", n)], ids=sorted)
def test_the_good_ones_run_and_the_bad_ones_are_named(world: World, bad: set[str]) -> None:
    running, _ = world.ask(table(*"abcd"), bad)
    assert running == sorted(set("abcd") - bad)
    assert [diagnostic.object.name for diagnostic in world.findings()] == sorted(bad)
    again = table(*"abcd", status=201)
    assert world.ask(again, set()) == (list("abcd"), 1), "other routes are other suspects"
    assert not world.findings()


def test_a_change_of_a_good_one_costs_one_push(world: World) -> None:
    wanted = table(*"abcdefgh")
    running, pushes = world.ask(wanted, {"g"})
    assert running == list("abcdefh")
    assert pushes <= 10
    changed = tuple(r for r in wanted.routes if r.name != "a") + table("a", status=404).routes
    assert world.ask(ir.RouteTable(*PLACE, changed), {"g"}) == (list("abcdefh"), 1)


def test_of_a_table_that_is_all_bad_the_proxy_keeps_what_it_had(world: World) -> None:
    wanted = table("a")
    assert world.ask(wanted, {"a"}) == ([], 1)
    assert world.published() is wanted
    (told,) = world.findings()
    assert (
        told.message == f"waypoint {GATEWAY} refuses its routes for {PLACE[0]}:80, and it goes on with those it had: no"
    )


def test_of_a_table_that_went_nothing_is_remembered(world: World) -> None:
    wanted = table("a", "b")
    world.ask(wanted, {"a"})
    world.put(world.mesh.routes, PLACE, None)
    assert not world.findings()
    world.put(world.mesh.routes, PLACE, wanted)
    assert world.published() is wanted
