"""What `kubectl apply --prune` would delete: objects that were applied once, that the selector selects, and that are
not among those applied now (KEP-3659 describes how that works, and what is wrong with it)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from ambientlab.api import kinds, objects, selectors
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object, annotations_of, labels_of
from ambientlab.api.resources import Resource
from ambientlab.apiserver.patch.apply import LAST_APPLIED
from ambientlab.host.kubeapi import KubeApi, collection, decoded, message
from ambientlab.host.rehearsal import Outcome, Rehearser, Target
from ambientlab.host.served import UnknownKindError
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key

_CORE = ("ConfigMap", "Endpoints", "PersistentVolumeClaim", "Pod", "ReplicationController", "Secret", "Service")
_BY_DEFAULT = (
    *(f"core/v1/{kind}" for kind in (*_CORE, "Namespace", "PersistentVolume")),
    "batch/v1/Job",
    "batch/v1/CronJob",
    "networking.k8s.io/v1/Ingress",
    *(f"apps/v1/{kind}" for kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")),
)
"""kubectl's own list (k8s.io/kubectl, pkg/util/prune): nothing of a mesh is in it."""


class PruneError(Exception):
    """What to prune cannot be told from the options."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """`selector` is "" for everything, `allowed` are `GROUP/VERSION/KIND`, by default those of kubectl."""

    selector: str = ""
    allowed: Sequence[str] = ()

    def targets(self, api: KubeApi, rehearser: Rehearser, applied: Collection[Outcome]) -> list[Target]:
        """Kinds that the cluster does not have are passed over. Raises PruneError and ApiError."""
        kept = {(one.change.resource.group, one.change.resource.kind, one.change.key) for one in applied}
        places = [
            (resource, f"{collection(resource, namespace)}?labelSelector={quote(self.selector)}")
            for resource in self._resources(rehearser)
            for namespace in (_homes(applied) if resource.namespaced else [""])
        ]
        found = []
        for (resource, _), reply in zip(places, api.get([place for _, place in places]), strict=True):
            if reply.status not in (200, 404):
                raise PruneError(f"what to prune is not known: {message(reply)}")
            for obj in (decoded(reply).get("items") or ()) if reply.status == 200 else ():
                key = Key(objects.namespace(obj), objects.name(obj))
                if LAST_APPLIED in annotations_of(obj) and (resource.group, resource.kind, key) not in kept:
                    found.append(Target(resource, key))
        return found

    def _resources(self, rehearser: Rehearser) -> Iterator[Resource]:
        for text in self.allowed or _BY_DEFAULT:
            group, _, rest = text.partition("/")
            version, _, kind = rest.partition("/")
            if not kind:
                raise PruneError(f"invalid GroupVersionKind format: {text}, please follow <group/version/kind>")
            try:
                yield rehearser.served.kind(version if group in ("core", "") else f"{group}/{version}", kind)
            except UnknownKindError as error:
                if self.allowed:
                    raise PruneError(f"--prune-allowlist={text}: {error}") from error

    def left(self, index: MeshIndex, applied: Collection[Outcome]) -> Iterator[tuple[str, Object]]:
        """Objects of the mesh that would go if their kind were allowed to, with what allows it."""
        try:
            wanted = selectors.parse_labels(self.selector) if self.selector else None
        except StatusError as error:
            raise PruneError(error.message) from error
        homes = set(_homes(applied))
        kept = {(one.change.resource, one.change.key) for one in applied}
        for resource in kinds.SHIPPED_CRDS:
            text = f"{resource.group}/{resource.version}/{resource.kind}"
            for key, obj in index.sources[resource].items() if resource in index.sources else ():
                left = LAST_APPLIED in annotations_of(obj) and key.namespace in homes and text not in self.allowed
                if left and (resource, key) not in kept and (wanted is None or wanted.matches(labels_of(obj))):
                    yield text, obj


def _homes(applied: Collection[Outcome]) -> list[str]:
    return sorted({one.change.key.namespace for one in applied if one.change.key.namespace})
