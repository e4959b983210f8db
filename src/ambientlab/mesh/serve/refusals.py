"""Route tables that a proxy refuses, and whose routes in them are at fault.

A table holds the routes of several objects, and Envoy refuses it whole. The parts that were in a table it accepted are
trusted; of the others, half is withheld until the rest is judged, so that each refusal halves the suspects: k bad parts
among n cost about k*log2(n) pushes of milliseconds. A part found guilty stays out until its routes change, and its
object is told in Envoy's own words. A table of bad parts alone is left as it is: the proxy goes on with what it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ambientlab.mesh.index import Diagnostic, ObjectRef
from ambientlab.mesh.ir import Key, Mesh, Route, RouteTable

_Place = tuple[str, int]
_Part = tuple[tuple[str, Key], tuple[Route, ...]]
"""What one object has in a table."""


@dataclass(slots=True)
class _Trial:
    """Of one table. `published` are the parts the proxy was given last."""

    table: RouteTable
    parts: tuple[_Part, ...]
    published: tuple[_Part, ...] = ()
    trusted: frozenset[_Part] = frozenset()
    withheld: frozenset[_Part] = frozenset()
    refused: dict[_Part, str] = field(default_factory=dict)

    def publish(self) -> RouteTable:
        """The table without what is refused or withheld, or as it is where nothing else is in it."""
        if not (self.refused or self.withheld):
            self.published = self.parts
            return self.table
        out = {part[0] for part in self.parts if part in self.refused or part in self.withheld}
        self.published = tuple(part for part in self.parts if part[0] not in out) or self.parts
        if len(self.published) == len(self.parts):
            return self.table
        return replace(self.table, routes=tuple(r for r in self.table.routes if r.origin not in out))


class Refusals:
    """Of the proxies of one Gateway, which are all alike. `seen` gives the mesh as they are to have it."""

    def __init__(self, gateway: Key) -> None:
        self._gateway = gateway
        self._trials: dict[_Place, _Trial] = {}

    def seen(self, mesh: Mesh) -> Mesh:
        self._trials = {place: trial for place, trial in self._trials.items() if place in mesh.routes}
        return replace(mesh, routes=_View(mesh.routes, self._published))

    def accepted(self, place: _Place) -> bool:
        """The proxy runs what was published last. Returns whether more is to be published now."""
        trial = self._trials.get(place)
        if trial is None:
            return False
        trial.trusted |= frozenset(trial.published)
        more, trial.withheld = bool(trial.withheld), frozenset()
        return more

    def rejected(self, place: _Place, detail: str) -> bool:
        """The proxy refused what was published last. Returns whether something else is to be published now."""
        trial = self._trials.get(place)
        if trial is None:
            return False
        suspects = [part for part in trial.published if part not in trial.trusted and part not in trial.refused]
        if len(suspects) == 1:
            trial.refused[suspects[0]] = detail
            trial.withheld = frozenset()
        else:
            trial.withheld |= frozenset(suspects[len(suspects) // 2 :])
        return bool(suspects)

    def findings(self) -> Iterator[Diagnostic]:
        for (host, port), trial in self._trials.items():
            for ((kind, key), _), detail in trial.refused.items():
                alone = len(trial.refused) == len(trial.parts)
                rest = "it goes on with those it had" if alone else "those of others are in force without them"
                message = f"waypoint {self._gateway} refuses its routes for {host}:{port}, and {rest}: {detail}"
                yield Diagnostic(ObjectRef(kind, *key), "Refused", message)

    def _published(self, place: _Place, table: RouteTable) -> RouteTable:
        trial = self._trials.get(place)
        if trial is None or (trial.table is not table and trial.table != table):
            trial = self._trials[place] = _renewed(trial, table)
        return trial.publish()


def _renewed(old: _Trial | None, table: RouteTable) -> _Trial:
    """What is known of parts that stayed as they were is kept."""
    parts = _parts(table)
    if old is None:
        return _Trial(table, parts)
    refused = {part: detail for part, detail in old.refused.items() if part in parts}
    return _Trial(table, parts, trusted=old.trusted & frozenset(parts), refused=refused)


def _parts(table: RouteTable) -> tuple[_Part, ...]:
    found: dict[tuple[str, Key], list[Route]] = {}
    for route in table.routes:
        found.setdefault(route.origin, []).append(route)
    return tuple((origin, tuple(routes)) for origin, routes in found.items())


class _View(Mapping[_Place, RouteTable]):
    def __init__(
        self, tables: Mapping[_Place, RouteTable], published: Callable[[_Place, RouteTable], RouteTable]
    ) -> None:
        self._tables = tables
        self._published = published

    def __getitem__(self, place: _Place) -> RouteTable:
        return self._published(place, self._tables[place])

    def __iter__(self) -> Iterator[_Place]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)
