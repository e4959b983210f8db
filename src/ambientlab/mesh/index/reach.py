"""Whom policies of ztunnel are for: pods of certain labels, of a namespace, of the mesh; and whether anybody is there.

Istio accepts a policy for nobody, and one for pods that are not in the mesh, without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ambientlab.api.kinds import POD
from ambientlab.api.objects import Object, annotations_of, labels_of
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Collection, Context, Graph
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.selectors import MESH, Place, Selector, places_of
from ambientlab.mesh.index.workloads import REDIRECTION
from ambientlab.mesh.ir import Key


@dataclass(frozen=True, slots=True)
class PodKind:
    """All of a pod that matters to policies; the rest of it changes often."""

    labels: Mapping[str, str]
    captured: bool


class Reach:
    def __init__(self, graph: Graph, sources: Mapping[Resource, Collection[Key, Object]]) -> None:
        self.pods: Collection[Key, PodKind] = graph.derive("kinds of pods", sources[POD], _kind)
        self._at = graph.group("pods by place", self.pods, lambda key, pod: places_of(key.namespace, pod.labels))
        self._captured_at: Collection[Place, bool] = graph.derive(
            "places of pods", self._at, lambda _, place, pods: {place: any(pod.captured for pod in pods)}
        )

    def findings(
        self, ctx: Context, resource: Resource, key: Key, selector: Selector, place: Place
    ) -> Mapping[Key, tuple[Diagnostic, ...]]:
        """About a policy that is filed under `place`."""
        captured = None if selector.nothing else self._captured(ctx, selector, place)
        ref = ObjectRef(resource.kind, *key)
        if captured is None and (selector.labels or selector.nothing):
            why = "no effect: it selects no pod"
            return {key: (Diagnostic(ref, "NothingSelected", why, field="spec.selector"),)}
        if captured is False and place != Place(MESH):
            why = "no effect: no pod that it is for is in the mesh"
            return {key: (Diagnostic(ref, "NotInMesh", why, field="spec"),)}
        return {}

    def _captured(self, ctx: Context, selector: Selector, place: Place) -> bool | None:
        """Whether one that is meant is in the mesh; None where there is none at all."""
        if len(selector.labels or ()) < 2:
            return ctx.fetch(self._captured_at, place)
        meant = [pod.captured for pod in ctx.fetch(self._at, place) or () if selector.selects(pod.labels)]
        return any(meant) if meant else None


def _kind(_: Context, key: Key, pod: Object) -> Mapping[Key, PodKind]:
    return {key: PodKind(labels_of(pod), annotations_of(pod).get(REDIRECTION) == "enabled")}
