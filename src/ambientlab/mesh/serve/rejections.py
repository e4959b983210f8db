"""What proxies refuse, told to the objects that asked for it.

Of a waypoint: the policies before a service are one resource, and so is a cluster, which Envoy takes whole or not at
all. It goes on with those it had, as in Istio: so a DENY policy may be bound and not in force, which nobody would
expect of it. So is a credential. Of the node proxy: the cluster of a service's address or of a workload, and what
serves a captured pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, BACKENDTLSPOLICY, DESTINATIONRULE, POD, REQUESTAUTHENTICATION
from ambientlab.flow.collection import Collection, Context, Source
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.index.destinationrules import Rule
from ambientlab.mesh.index.diagnostics import REFUSED
from ambientlab.mesh.ir import Key, Service, TrafficPolicy, by_address
from ambientlab.mesh.session import Rejected
from ambientlab.mesh.xds.guards import owner_of
from ambientlab.mesh.xds.types import CLUSTER, EXTENSION, NODE_PROXY, SECRET
from ambientlab.mesh.xds.waypoint_clusters import destination_of

Place = tuple[Key, str, str]
"""A Gateway or `NODE_PROXY`, and the type and the name of a resource that its proxies refuse."""


class Rejections:
    """`findings` follow from what was heard last when the graph is settled."""

    def __init__(self, index: MeshIndex) -> None:
        self._index = index
        self._details: Source[Place, str] = index.graph.source("what proxies refuse")
        self.findings: Collection[Place, tuple[Diagnostic, ...]] = index.graph.derive(
            "refused policies and clusters", self._details, self._found
        )

    def heard(self, rejected: Iterable[tuple[Key, Rejected]]) -> None:
        """All that is refused just now, with the Gateways, or `NODE_PROXY`, of those who refuse it."""
        now = {(gateway, each.type_url, each.name): each.detail for gateway, each in rejected}
        for place in self._details.keys() - now.keys():
            self._details.delete(place)
        for place, detail in now.items():
            self._details.set(place, detail)

    def _found(self, ctx: Context, place: Place, detail: str) -> Mapping[Place, tuple[Diagnostic, ...]]:
        gateway, type_url, name = place
        who = f"waypoint {gateway}"
        refs: Iterable[ObjectRef]
        if gateway == NODE_PROXY:
            who, what, refs = "ztunnel", name, self._carried(ctx, name)
        elif type_url == EXTENSION:
            host = owner_of(name)
            what, refs = f"the policies of {host or 'its workloads'}", self._policies(ctx, gateway, host)
        elif type_url == CLUSTER:
            what, refs = f"the cluster {name}", self._rules(ctx, gateway, name)
        elif type_url == SECRET:
            what, refs = f"the credential {name}", self._naming(ctx, gateway, name)
        else:
            return {}
        message = f"{who} refuses {what}, and goes on with what it had: {detail}"
        return {place: tuple(Diagnostic(ref, REFUSED, message) for ref in refs)}

    def _policies(self, ctx: Context, gateway: Key, host: str) -> Iterator[ObjectRef]:
        security = self._index.security
        guard = ctx.fetch(security.guards, (gateway, host))
        if guard is None:
            return
        for policy in guard.policies:
            yield ObjectRef(AUTHORIZATIONPOLICY.kind, *policy.key)
        for reading in ctx.everything(security.tokens).values():
            if any(rule in guard.jwt_rules for rule in reading.rules):
                yield ObjectRef(REQUESTAUTHENTICATION.kind, *reading.key)

    def _rules(self, ctx: Context, waypoint: Key, cluster: str) -> Iterator[ObjectRef]:
        destination = destination_of(cluster)
        service = ctx.fetch(self._index.services, destination.host) if destination is not None else None
        if destination is not None and service is not None:
            policy = service.policy(destination.port, destination.subset)
            for rule, own in self._deciding(ctx, waypoint, service, destination.port, destination.subset):
                if own != TrafficPolicy(own.origin):
                    yield from self._written(ctx, service, rule, policy)

    def _naming(self, ctx: Context, waypoint: Key, credential: str) -> Iterator[ObjectRef]:
        """Whatever has connections made with it."""
        found: dict[ObjectRef, None] = {}
        for service in ctx.everything(self._index.services).values():
            for port, subset, policy in service.policies:
                if policy.tls is None or credential not in policy.tls.secrets:
                    continue
                for rule, own in self._deciding(ctx, waypoint, service, port, subset):
                    if own.tls == policy.tls:
                        found.update(dict.fromkeys(self._written(ctx, service, rule, policy)))
        yield from found

    def _deciding(
        self, ctx: Context, waypoint: Key, service: Service, port: int, subset: str
    ) -> Iterator[tuple[Rule, TrafficPolicy]]:
        """The rules that are merged into a policy, and what each says."""
        for rule in self._index.registry.rules.deciding(ctx, service.namespace, service.hostname, waypoint):
            if (own := rule.policy(port, subset)) is not None:
                yield rule, own

    def _written(self, ctx: Context, service: Service, rule: Rule, policy: TrafficPolicy) -> Iterator[ObjectRef]:
        """Who wrote a rule: a DestinationRule is its own, and a BackendTLSPolicy asks for no more than TLS."""
        if not rule.from_backend_policy:
            yield ObjectRef(DESTINATIONRULE.kind, *rule.key)
            return
        for reading in self._index.backend_policies.of_host(ctx, service.namespace, service.hostname):
            if reading.tls == policy.tls:
                yield ObjectRef(BACKENDTLSPOLICY.kind, *reading.key)

    def _carried(self, ctx: Context, resource: str) -> Iterator[ObjectRef]:
        """The object behind one of the node proxy's resources, whose names are in mesh.xds.ztunnel."""
        kind, _, rest = resource.partition("|")
        if kind == "vip":
            address, _, port = rest.rpartition(":")
            address = address.strip("[]")
            service = by_address(ctx.everything(self._index.services).values()).get((address, int(port)))
            if service is not None:
                yield ObjectRef(service.kind, *service.key)
        elif kind == "ip":
            for workload in ctx.everything(self._index.workloads).values():
                if rest in workload.ips:
                    yield ObjectRef(POD.kind, workload.namespace, workload.name)
        elif "/" in rest:
            pod = Key(*rest.split("/", 1))
            yield ObjectRef(POD.kind, *pod)
            if kind in ("inbound", "inplain"):
                yield from self._enforced(ctx, pod)

    def _enforced(self, ctx: Context, pod: Key) -> Iterator[ObjectRef]:
        """The policies that a pod's routes and its listener for plain connections are made of."""
        ztunnel = self._index.security.ztunnel
        for policy in ctx.fetch(ztunnel.enforced, pod) or ():
            if ctx.fetch(ztunnel.policies, policy.key) is not None:
                yield ObjectRef(AUTHORIZATIONPOLICY.kind, *policy.key)
