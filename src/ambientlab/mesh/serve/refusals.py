"""Route tables that proxies of a waypoint refuse: what their answers teach, and what objects are told of it."""

from __future__ import annotations

from collections.abc import Mapping

from ambientlab.flow.collection import Collection, Context, Graph
from ambientlab.mesh.index import Diagnostic, ObjectRef
from ambientlab.mesh.index.diagnostics import REFUSED
from ambientlab.mesh.ir import Key, Mesh
from ambientlab.mesh.xds.trials import Trial, parts
from ambientlab.mesh.xds.waypoint import Waypoints


class Refusals:
    """What is withheld from proxies, and what there is to say, follow from the trials when the graph is settled."""

    def __init__(self, graph: Graph, mesh: Mesh, waypoints: Waypoints) -> None:
        self._mesh = mesh
        self._trials = waypoints.trials
        self.findings: Collection[tuple[Key, str, int], tuple[Diagnostic, ...]] = graph.derive(
            "refused routes", self._trials, self._found
        )
        waypoints.tables.watch(lambda place, change: self._trials.delete(place) if change.new is None else None)

    def judged(self, gateway: Key, host: str, port: int, refusal: str | None) -> bool:
        """Proxies of a waypoint run the table as it was published last, or said this when they refused it. Returns
        whether another is to be published now."""
        table = self._mesh.routes.get((host, port))
        if table is None:
            return False
        place = gateway, host, port
        before = self._trials.get(place, Trial())
        after = before.accepted(table) if refusal is None else before.rejected(table, refusal)
        self._trials.set(place, after)
        return before.published(table) != after.published(table)

    def _found(
        self, ctx: Context, place: tuple[Key, str, int], trial: Trial
    ) -> Mapping[tuple[Key, str, int], tuple[Diagnostic, ...]]:
        gateway, host, port = place
        table = ctx.fetch(self._mesh.routes, (host, port)) if trial.refused else None
        if table is None:
            return {}
        there = parts(table)
        refused = [part for part in there if part in trial.refused]
        rest = "it goes on with those it had" if refused == there else "those of others are in force without them"
        what = f"waypoint {gateway} refuses its routes for {host}:{port}, and {rest}"
        found = [
            Diagnostic(ObjectRef(kind, *key), REFUSED, f"{what}: {trial.refused[part]}")
            for part in refused
            for (kind, key), _ in [part]
        ]
        return {place: tuple(found)} if found else {}
