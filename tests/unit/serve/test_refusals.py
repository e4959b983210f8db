"""Who is at fault where a proxy refuses a table of many objects' routes."""

from __future__ import annotations

from itertools import combinations

import pytest

from ambientlab.mesh import ir
from ambientlab.mesh.serve.refusals import Refusals

PLACE = ("shop.hello.svc.cluster.local", 80)
GATEWAY = ir.Key("hello", "waypoint")


def table(*names: str, status: int = 200) -> ir.RouteTable:
    """Each object has two routes, apart from each other."""
    routes = [
        ir.Route(name, ("VirtualService", ir.Key("hello", name)), ir.Match(), ir.DirectResponse(status))
        for name in (*names, *names)
    ]
    return ir.RouteTable(*PLACE, tuple(routes))


def ask(refusals: Refusals, wanted: ir.RouteTable, bad: set[str]) -> tuple[list[str], int]:
    """The objects whose routes a proxy that refuses `bad` ones runs in the end, and how many pushes that took."""
    running: tuple[str, ...] = ()
    for pushes in range(1, 50):
        published = refusals.seen(ir.Mesh(routes={PLACE: wanted})).routes[PLACE]
        names = tuple(dict.fromkeys(route.name for route in published.routes))
        if bad & set(names):
            more = refusals.rejected(PLACE, "no")
        else:
            running, more = names, refusals.accepted(PLACE)
        if not more:
            return sorted(running), pushes
    raise AssertionError("no end")


@pytest.mark.parametrize("bad", [set(c) for n in (0, 1, 2, 4) for c in combinations("abcd", n)], ids=sorted)
def test_the_good_ones_run_and_the_bad_ones_are_named(bad: set[str]) -> None:
    refusals = Refusals(GATEWAY)
    running, _ = ask(refusals, table(*"abcd"), bad)
    assert running == sorted(set("abcd") - bad)
    assert sorted(diagnostic.object.name for diagnostic in refusals.findings()) == sorted(bad)
    again = table(*"abcd", status=201)
    assert ask(refusals, again, set()) == (list("abcd"), 1), "other routes are other suspects"
    assert not list(refusals.findings())


def test_a_change_of_a_good_one_costs_one_push() -> None:
    refusals, wanted = Refusals(GATEWAY), table(*"abcdefgh")
    running, pushes = ask(refusals, wanted, {"g"})
    assert running == list("abcdefh")
    assert pushes <= 10
    changed = tuple(r for r in wanted.routes if r.name != "a") + table("a", status=404).routes
    assert ask(refusals, ir.RouteTable(*PLACE, changed), {"g"}) == (list("abcdefh"), 1)


def test_of_a_table_that_is_all_bad_the_proxy_keeps_what_it_had() -> None:
    refusals, wanted = Refusals(GATEWAY), table("a")
    assert ask(refusals, wanted, {"a"}) == ([], 2)
    assert refusals.seen(ir.Mesh(routes={PLACE: wanted})).routes[PLACE] is wanted
    (told,) = refusals.findings()
    assert (
        told.message == f"waypoint {GATEWAY} refuses its routes for {PLACE[0]}:80, and it goes on with those it had: no"
    )
    refusals.seen(ir.Mesh())
    assert not list(refusals.findings())
