"""Route tables that a proxy refuses, and whose routes in them are at fault.

A table holds the routes of several objects, and Envoy refuses it whole. The parts that were in a table it accepted are
trusted; of the others, half is withheld until the rest is judged, so that each refusal halves the suspects: k bad parts
among n cost about k*log2(n) pushes of milliseconds. A part found guilty stays out until its routes change. A table of
bad parts alone is left as it is: the proxy goes on with what it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ambientlab.mesh.ir import Key, Route, RouteTable

Part = tuple[tuple[str, Key], tuple[Route, ...]]
"""What one object has in a table."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is known of the parts of one table. `refused` has the proxy's words."""

    trusted: frozenset[Part] = frozenset()
    withheld: frozenset[Part] = frozenset()
    refused: Mapping[Part, str] = field(default_factory=dict)

    def published(self, table: RouteTable) -> RouteTable:
        """The table without what is refused or withheld, or as it is where nothing else is in it."""
        if not (self.refused or self.withheld):
            return table
        out = {part[0] for part in parts(table) if part in self.refused or part in self.withheld}
        routes = tuple(route for route in table.routes if route.origin not in out)
        return replace(table, routes=routes) if routes and out else table

    def accepted(self, table: RouteTable) -> Trial:
        """The proxy runs what was published of `table`."""
        known = self._about(table)
        return replace(known, trusted=known.trusted | set(parts(self.published(table))), withheld=frozenset())

    def rejected(self, table: RouteTable, detail: str) -> Trial:
        """The proxy refused what was published of `table`."""
        known = self._about(table)
        published = parts(self.published(table))
        suspects = [part for part in published if part not in known.trusted and part not in known.refused]
        if len(suspects) == 1:
            return replace(known, refused={**known.refused, suspects[0]: detail}, withheld=frozenset())
        return replace(known, withheld=known.withheld | set(suspects[len(suspects) // 2 :]))

    def _about(self, table: RouteTable) -> Trial:
        """What is known of parts that are in the table."""
        there = set(parts(table))
        refused = {part: detail for part, detail in self.refused.items() if part in there}
        return Trial(self.trusted & there, self.withheld & there, refused)


def parts(table: RouteTable) -> list[Part]:
    found: dict[tuple[str, Key], list[Route]] = {}
    for route in table.routes:
        found.setdefault(route.origin, []).append(route)
    return [(origin, tuple(routes)) for origin, routes in found.items()]
