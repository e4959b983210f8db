"""Policies and clusters that a waypoint refuses, told to the objects that asked for them.

The policies before a service are one resource, and so is a cluster, which Envoy takes whole or not at all. It goes on
with those it had, as in Istio: so a DENY policy may be bound and not in force, which nobody would expect of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, DESTINATIONRULE, REQUESTAUTHENTICATION
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.ir import Key
from ambientlab.mesh.session import Rejected
from ambientlab.mesh.xds.guards import owner_of
from ambientlab.mesh.xds.types import CLUSTER, EXTENSION
from ambientlab.mesh.xds.waypoint_clusters import destination_of


def findings(index: MeshIndex, gateway: Key, rejections: Iterable[Rejected]) -> Iterator[Diagnostic]:
    """`rejections` are of one of the proxies of `gateway`, which are all alike."""
    for rejection in rejections:
        if rejection.type_url == EXTENSION:
            host = owner_of(rejection.name)
            what, refs = f"the policies of {host or 'its workloads'}", _guards(index, gateway, host)
        elif rejection.type_url == CLUSTER:
            what, refs = f"the cluster {rejection.name}", _rules(index, rejection.name)
        else:
            continue
        for ref in refs:
            message = f"waypoint {gateway} refuses {what}, and goes on with what it had: {rejection.detail}"
            yield Diagnostic(ref, "Refused", message)


def _guards(index: MeshIndex, gateway: Key, host: str) -> Iterator[ObjectRef]:
    guard = index.security.guards.get((gateway, host))
    if guard is None:
        return
    for policy in guard.policies:
        yield ObjectRef(AUTHORIZATIONPOLICY.kind, *policy.key)
    for reading in index.security.tokens.values():
        if any(rule in guard.jwt_rules for rule in reading.rules):
            yield ObjectRef(REQUESTAUTHENTICATION.kind, *reading.key)


def _rules(index: MeshIndex, cluster: str) -> Iterator[ObjectRef]:
    destination = destination_of(cluster)
    service = index.mesh.services.get(destination.host) if destination is not None else None
    if destination is None or service is None:
        return
    origin = service.policy(destination.port, destination.subset).origin
    if origin is not None and origin in index.sources[DESTINATIONRULE]:
        yield ObjectRef(DESTINATIONRULE.kind, *origin)
