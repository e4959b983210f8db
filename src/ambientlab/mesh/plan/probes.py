"""Requests that stand for all requests to a port of a service: one for each way in which two states of a mesh can
differ about it.

What a waypoint does with a request follows from the first route that matches and from what its policies make of it. So
a request stands for all that meet the same route before and the same one after, and the same conditions of policies.
Routes that are the same in both states, to destinations that are the same, need none: whoever meets such a route before
and after sees no difference, and whoever meets another in one of the states is found by that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from ambientlab.mesh.decide import Request
from ambientlab.mesh.ir import Forward, Key, Match, Route, RouteTable
from ambientlab.mesh.plan import parts
from ambientlab.mesh.plan.parts import Atom, Option, Part

_MOST_COMBINED = 600
"""Ways to combine what a request can have, for one route and path: beyond that the simplest are tried."""

_PATH = Part("path")
_Met = list[tuple[int, tuple[Atom, ...]]]
"""Routes by their places, with what else they ask."""

Changed = Callable[[Route], bool]
"""Whether what a route does has changed, though it says the same."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`matches` are what it stands for: the conditions of the routes that it meets before and after, without those that
    hold for every request. `token` is the one that it carries, in words."""

    request: Request
    matches: tuple[Match, ...] = ()
    token: str = ""


class _Table:
    """Routes with their conditions, told apart by path."""

    def __init__(self, table: RouteTable | None) -> None:
        self.routes = table.routes if table is not None else ()
        self.atoms = [tuple(parts.of_match(route.match)) for route in self.routes]
        self._paths = [next((a for a in atoms if a.part.kind == "path"), None) for atoms in self.atoms]
        self._rest = [tuple(a for a in atoms if a.part.kind != "path") for atoms in self.atoms]

    def at(self, path: Request) -> _Met:
        """The routes that requests with the path may meet, and what else they ask."""
        found = []
        for number, asked in enumerate(self._paths):
            if asked is None or asked.holds(path):
                found.append((number, self._rest[number]))
                if not self._rest[number]:
                    break
        return found


def of_routes(
    before: RouteTable | None, after: RouteTable | None, atoms: Sequence[Atom], first: Request, changed: Changed | None
) -> Iterator[Probe]:
    """`first` is the plainest request, and `atoms` are what policies ask. `changed` is None where all routes are: the
    way to them has changed."""
    search = _Search(_Table(before), _Table(after), tuple(dict.fromkeys(atoms)), first)
    for match in _differing(before, after, changed):
        yield from search.below(match)
    if changed is None or (before is None) != (after is None):
        yield from search.unmatched()


def of_policies(atoms: Sequence[Atom], first: Request) -> Iterator[Probe]:
    """For what policies tell apart, whatever the routes are."""
    yield from _Search(_Table(None), _Table(None), tuple(dict.fromkeys(atoms)), first).below(Match())


def _differing(before: RouteTable | None, after: RouteTable | None, changed: Changed | None) -> Iterator[Match]:
    """The conditions of routes that are not the same in both."""
    old, new = _same(before, changed, 0), _same(after, changed, 1)
    kept_old, kept_new = ([one for one in some if one in other] for some, other in ((old, {*new}), (new, {*old})))
    found: dict[Match, None] = {}
    for routes, others, table in ((old, {*new}, before), (new, {*old}, after)):
        for route, same in zip(table.routes if table is not None else (), routes, strict=True):
            if kept_old != kept_new or same not in others:
                found[route.match] = None
    yield from found


def _same(table: RouteTable | None, changed: Changed | None, state: int) -> list[object]:
    """What of routes makes a difference: not what they are called, and whose they are."""
    routes = table.routes if table is not None else ()
    return [
        (route, state)
        if changed is None or changed(route)
        else replace(route, name="", origin=("", Key("", "")), stat_prefix="")
        for route in routes
    ]


class _Search:
    def __init__(self, before: _Table, after: _Table, atoms: tuple[Atom, ...], first: Request) -> None:
        self._tables = (before, after)
        self._policies = atoms
        self._first = first
        self._met: set[object] = set()
        self._of_path = [atom for atom in self._policies if atom.part == _PATH]
        of_routes = [a for table in self._tables for found in table.atoms for a in found if a.part == _PATH]
        asked = list(dict.fromkeys([*of_routes, *self._of_path]))
        self._paths = [parts.changed(first, _PATH, option) for option in parts.candidates(_PATH, asked, first)]

    def below(self, match: Match) -> Iterator[Probe]:
        """For requests that match."""
        asked = tuple(parts.of_match(match))
        path = next((atom for atom in asked if atom.part == _PATH), None)
        seen = set()
        for request in self._paths:
            if path is None or path.holds(request):
                met = [table.at(request) for table in self._tables]
                told = (
                    *(tuple(number for number, _ in found) for found in met),
                    tuple(atom.holds(request) for atom in self._of_path),
                )
                if told not in seen:
                    seen.add(told)
                    yield from self._at(request, met, asked)

    def unmatched(self) -> Iterator[Probe]:
        """For requests that no route matches: all are answered alike, so that one will do."""
        for request in self._paths[:_MOST_COMBINED]:
            for probe in self._at(request, [table.at(request) for table in self._tables], ()):
                if not probe.matches:
                    yield probe
                    return

    def _at(self, path: Request, met: Sequence[_Met], asked: Sequence[Atom]) -> Iterator[Probe]:
        own = [atom for some in met for _, rest in some for atom in rest]
        rest = [atom for atom in (*asked, *own, *self._policies) if atom.part.kind != "path"]
        by_part: dict[Part, dict[Atom, None]] = {}
        for atom in rest:
            by_part.setdefault(atom.part, {})[atom] = None
        wanted = [a for a in asked if a.part.kind != "path"]
        choices = [
            (part, [o for o in parts.options(part, [*atoms], path) if _fits(path, part, o, wanted)])
            for part, atoms in by_part.items()
        ]
        for options in islice(_combined([some for _, some in choices]), _MOST_COMBINED):
            request = path
            for (part, _), option in zip(choices, options, strict=True):
                request = parts.changed(request, part, option)
            routes = [_first(table, found, request) for table, found in zip(self._tables, met, strict=True)]
            key = (*routes, tuple(atom.holds(request) for atom in self._policies))
            if key not in self._met:
                self._met.add(key)
                yield Probe(request, _matches(self._tables, routes))


def _fits(path: Request, part: Part, option: Option, wanted: Iterable[Atom]) -> bool:
    request = parts.changed(path, part, option)
    return all(atom.holds(request) for atom in wanted if atom.part == part)


def _first(table: _Table, found: Iterable[tuple[int, Sequence[Atom]]], request: Request) -> int | None:
    return next((number for number, rest in found if all(atom.holds(request) for atom in rest)), None)


def _matches(tables: Iterable[_Table], routes: Iterable[int | None]) -> tuple[Match, ...]:
    met = (table.routes[number].match for table, number in zip(tables, routes, strict=True) if number is not None)
    return tuple(dict.fromkeys(met))


def _combined(choices: Sequence[Sequence[Option]]) -> Iterator[tuple[Option, ...]]:
    """The plainest first: those in which one part is not as usual, where there are too many for all to be tried."""
    size = 1
    for some in choices:
        size *= len(some)
    if size > _MOST_COMBINED:
        usual = tuple(some[0] for some in choices if some)
        for place, some in enumerate(choices):
            for option in some[1:]:
                yield (*usual[:place], option, *usual[place + 1 :])
    yield from product(*choices)


def destinations(route: Route) -> Iterator[str]:
    """The hosts that a route sends requests to, or copies of them."""
    if isinstance(route.action, Forward):
        yield from (item.destination.host for item in route.action.destinations)
        yield from (mirror.destination.host for mirror in route.action.mirrors)
