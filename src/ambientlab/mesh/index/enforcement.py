"""What ztunnel is told of policies, and which of them it enforces for which pod.

AuthorizationPolicies and PeerAuthentications come to be the same kind of thing. Those for a namespace or for the mesh
ztunnel finds by itself; of others istiod tells it with each workload (buildWorkloadPolicies in
pilot/pkg/serviceregistry/ambient/workloads.go; assert_rbac in src/state.rs of istio/ztunnel).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, PEERAUTHENTICATION
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.flow.collection import Collection, Context, Graph
from ambientlab.mesh.index import peerauthentications, ztunnelpolicies
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef
from ambientlab.mesh.index.findings import Said, of_diagnostics, of_readings
from ambientlab.mesh.index.peerauthentications import Effective, Peer, converted_key, oldest, static_strict
from ambientlab.mesh.index.reach import PodKind, Reach
from ambientlab.mesh.index.selectors import MESH, Place, places_of
from ambientlab.mesh.index.ztunnelpolicies import ZtunnelReading
from ambientlab.mesh.ir import Authorization, Key, Scope, takes_tunnels


class Enforcement:
    """The collections of policies for connections, derived within the graph of everything else."""

    def __init__(self, graph: Graph, sources: Mapping[Resource, Collection[Key, Object]], root: str) -> None:
        self._root = root
        self.policies: Collection[Key, ZtunnelReading] = graph.derive(
            "AuthorizationPolicies for ztunnel",
            sources[AUTHORIZATIONPOLICY],
            lambda _, key, obj: {key: ztunnelpolicies.read(key, obj, root)},
        )
        self._peers: Collection[Key, Peer] = graph.derive(
            "PeerAuthentications read",
            sources[PEERAUTHENTICATION],
            lambda _, key, obj: {key: peerauthentications.read(key, obj, root)},
        )
        self._policies_by_place = self.policies.index(self._place)
        self._peers_by_place = self._peers.index(lambda _, peer: (peer.place,))
        always = graph.source("PeerAuthentications, if any")
        strict = static_strict(root)
        always.set(strict.key, strict)
        self.authorizations: Collection[Key, Authorization] = graph.join(
            "authorizations",
            graph.derive("AuthorizationPolicies as authorizations", self.policies, _told),
            graph.derive("PeerAuthentications as authorizations", self._peers, self._converted),
            graph.derive(
                "static STRICT policy",
                always,
                lambda ctx, key, strict: {key: strict} if ctx.everything(self._peers) else {},
            ),
        )
        self._reach = Reach(graph, sources)
        self.enforced: Collection[Key, tuple[Authorization, ...]] = graph.derive(
            "authorizations enforced", self._reach.pods, self._of_pod
        )
        self._ineffective: tuple[Collection[Key, tuple[Diagnostic, ...]], ...] = (
            graph.derive("AuthorizationPolicies for nobody", self.policies, self._without_pods),
            graph.derive("PeerAuthentications without effect", self._peers, self._without_effect),
        )

    def said(self) -> list[Said]:
        return [of_readings(self.policies), *map(of_diagnostics, self._ineffective)]

    def _converted(self, ctx: Context, _: Key, peer: Peer) -> Mapping[Key, Authorization]:
        if not peer.ports:
            return {}
        above = [self._wide(ctx, where) for where in (peer.key.namespace, MESH)]
        found = peerauthentications.converted(peer, *above)
        return {} if found is None else {converted_key(peer): found}

    def _wide(self, ctx: Context, namespace: str) -> Peer | None:
        """Of those without a selector, for a namespace or the mesh."""
        found = ctx.select(self._peers_by_place, Place(namespace))
        return oldest(peer for peer in found if peer.selector.labels is None)

    def _of_pod(self, ctx: Context, key: Key, pod: PodKind) -> Mapping[Key, tuple[Authorization, ...]]:
        """In ztunnel's order: those of the namespace, of the mesh, then those that ask for the pod's labels."""
        labels = pod.labels
        if takes_tunnels(labels):
            return {}
        readings = {
            reading.policy.key: reading
            for place in places_of(key.namespace, labels)
            for reading in ctx.select(self._policies_by_place, place)
            if reading.policy is not None and reading.selector.selects(labels)
        }
        policies = [reading.policy for reading in readings.values() if reading.policy is not None]
        policies.sort(key=lambda policy: (_ORDER[policy.scope], policy.key))
        peers = self._effective(ctx, key, labels)
        made = ctx.fetch(self.authorizations, peers.policy) if peers is not None else None
        return {key: (*policies, *(() if made is None else (made,)))}

    def _effective(self, ctx: Context, pod: Key, labels: Mapping[str, str]) -> Effective | None:
        places = places_of(pod.namespace, labels)
        peers = {peer.key: peer for place in places for peer in ctx.select(self._peers_by_place, place)}
        selecting = (peer for peer in peers.values() if peer.selector.selects(labels))
        return peerauthentications.effective(selecting, self._root)

    def origin(self, ctx: Context, pod: Key, policy: Key) -> ObjectRef | None:
        """The object that a policy which is enforced for a pod is made of."""
        if policy in self.policies:
            return ObjectRef(AUTHORIZATIONPOLICY.kind, *policy)
        kind = ctx.fetch(self._reach.pods, pod)
        found = self._effective(ctx, pod, kind.labels) if kind is not None else None
        return None if found is None or found.policy != policy else ObjectRef(PEERAUTHENTICATION.kind, *found.peer.key)

    def _without_pods(self, ctx: Context, key: Key, reading: ZtunnelReading) -> Mapping[Key, tuple[Diagnostic, ...]]:
        if reading.policy is None:
            return {}
        place = reading.selector.place(self._where(key))
        return self._reach.findings(ctx, AUTHORIZATIONPOLICY, key, reading.selector, place)

    def _without_effect(self, ctx: Context, key: Key, peer: Peer) -> Mapping[Key, tuple[Diagnostic, ...]]:
        rivals = ctx.select(self._peers_by_place, peer.place)
        found = [*peerauthentications.findings(peer), *peerauthentications.without_effect(peer, rivals)]
        if not found:
            return self._reach.findings(ctx, PEERAUTHENTICATION, key, peer.selector, peer.place)
        return {key: tuple(found)}

    def _where(self, policy: Key) -> str:
        return MESH if policy.namespace == self._root else policy.namespace

    def _place(self, key: Key, reading: ZtunnelReading) -> Iterable[Place]:
        if reading.policy is None or reading.selector.nothing:
            return ()
        return (reading.selector.place(self._where(key)),)


_ORDER = {scope: number for number, scope in enumerate((Scope.NAMESPACE, Scope.GLOBAL, Scope.WORKLOAD_SELECTOR))}


def _told(_: Context, key: Key, reading: ZtunnelReading) -> Mapping[Key, Authorization]:
    return {} if reading.policy is None else {key: reading.policy}
