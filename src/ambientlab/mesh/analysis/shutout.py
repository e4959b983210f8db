"""Policies of ztunnel that shut out the waypoint of the service they are for."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import AUTHORIZATIONPOLICY
from ambientlab.mesh.analysis import codes
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.naming import names
from ambientlab.mesh.analysis.neighbours import Neighbours
from ambientlab.mesh.decide import admission
from ambientlab.mesh.decide.admission import Connection
from ambientlab.mesh.explain import Remedy, remedies, words
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.ir import Authorization, Endpoint, PolicyAction, Waypoint


def analyse(index: MeshIndex) -> Iterator[Finding]:
    """Policies of ztunnel that refuse the waypoint of a service whatever it sends there."""
    around = Neighbours(index)
    refused: dict[tuple[ObjectRef, Waypoint], dict[str, None]] = {}
    for service in (service for some in around.services.values() for service in some):
        for key, _ in service.waypoints:
            waypoint = index.mesh.waypoints[key]
            for endpoint in service.endpoints if waypoint.members else ():
                for ref in _refusing(index, waypoint, endpoint):
                    refused.setdefault((ref, waypoint), {})[str(ObjectRef(service.kind, *service.key))] = None
    for (ref, waypoint), services in sorted(refused.items(), key=lambda each: (each[0][0], each[0][1].key)):
        identity = waypoint.members[0].identity
        message = (
            f"ztunnel refuses what waypoint {waypoint.key} sends to {names(services)}: it sees "
            f"{words.identity(identity)}, not the client"
        )
        found = tuple(_let_in(index, around, ref, identity.removeprefix("spiffe://")))
        yield Finding(codes.WAYPOINT_NOT_ADMITTED, ref, message, "spec.rules", found)


def _refusing(index: MeshIndex, waypoint: Waypoint, endpoint: Endpoint) -> Iterator[ObjectRef]:
    """The policies that refuse connections of the waypoint on every port of a pod."""
    member, workload = waypoint.members[0], endpoint.workload
    found = [
        admission.at(index.mesh, workload, Connection(member.identity, member.ip, endpoint.address, target))
        for _, target in endpoint.ports
    ]
    if workload is None or not found or any(each.allowed or each.unasked for each in found):
        return
    enforced = index.mesh.enforced.get(workload.key, ())
    denying = {each.policy for each in found if each.policy is not None}
    for each in denying or {p for p in enforced if p.action is PolicyAction.ALLOW and (p.rules or _meant(index, p))}:
        if each.key in index.sources[AUTHORIZATIONPOLICY]:
            yield ObjectRef(AUTHORIZATIONPOLICY.kind, *each.key)


def _meant(index: MeshIndex, told: Authorization) -> bool:
    """Whether somebody wrote that it is to let nobody in: of one that lost its rules, that is told already."""
    return not (index.sources[AUTHORIZATIONPOLICY].get(told.key, {}).get("spec") or {}).get("rules")


def _let_in(index: MeshIndex, around: Neighbours, ref: ObjectRef, principal: str) -> Iterator[Remedy]:
    obj = remedies.object_of(index, ref) or {}
    spec = obj.get("spec") or {}
    if (spec.get("action") or PolicyAction.ALLOW) == PolicyAction.ALLOW:
        rule = {"from": [{"source": {"principals": [principal]}}]}
        path, value = ("/spec/rules/-", rule) if spec.get("rules") else ("/spec/rules", [rule])
        yield Remedy("let the waypoint in", (remedies.patch(ref, ("add", path, value)),))
    yield from around.to_waypoints(ref, obj)
