"""Policies that a waypoint refuses, told to those whose they are.

The policies before a service are one resource, which Envoy takes whole or not at all. It goes on with those it had, as
after a listener that it refuses in Istio: so a policy may be bound and not in force, which nobody would expect of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.ir import Key
from ambientlab.mesh.session import Rejected
from ambientlab.mesh.xds.guards import owner_of
from ambientlab.mesh.xds.types import EXTENSION


def findings(index: MeshIndex, gateway: Key, rejections: Iterable[Rejected]) -> Iterator[Diagnostic]:
    """`rejections` are of one of the proxies of `gateway`, which are all alike."""
    for rejection in rejections:
        if rejection.type_url != EXTENSION:
            continue
        host = owner_of(rejection.name)
        guard = index.security.guards.get((gateway, host))
        if guard is None:
            continue
        of = host or "its workloads"
        message = f"waypoint {gateway} refuses the policies of {of}, and goes on with those it had: {rejection.detail}"
        for policy in guard.policies:
            yield Diagnostic(ObjectRef("AuthorizationPolicy", *policy.key), "Refused", message)
        for reading in index.security.tokens.values():
            if any(rule in guard.jwt_rules for rule in reading.rules):
                yield Diagnostic(ObjectRef("RequestAuthentication", *reading.key), "Refused", message)
