"""Policies that let through what they should stop, or stop what they should let through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, SERVICE, SERVICEENTRY
from ambientlab.api.objects import Object
from ambientlab.mesh.analysis import codes, cures
from ambientlab.mesh.analysis.finding import Code, Finding
from ambientlab.mesh.analysis.naming import names
from ambientlab.mesh.decide import admission, policy
from ambientlab.mesh.decide.admission import Connection
from ambientlab.mesh.decide.conditions import holds
from ambientlab.mesh.explain import Remedy, remedies, words
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.targets import Attachment, targets
from ambientlab.mesh.index.ztunnelpolicies import ZtunnelReading
from ambientlab.mesh.ir import (
    Authorization,
    Conditions,
    Key,
    PolicyAction,
    Protocol,
    Service,
    Waypoint,
    Workload,
)

_OF_ATTACHMENT: Mapping[str, Code] = {"AncestorNotBound": codes.NO_WAYPOINT, "TargetNotFound": codes.NO_SUCH_SERVICE}
_KIND = AUTHORIZATIONPOLICY.kind
_WHO = ("source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain")
"""What rules ask of a client's identity."""


class _Around:
    """Pods, and the services that have them, by namespace."""

    def __init__(self, index: MeshIndex) -> None:
        self.workloads: dict[str, list[Workload]] = {}
        self.services: dict[str, list[Service]] = {}
        for workload in index.workloads.values():
            self.workloads.setdefault(workload.namespace, []).append(workload)
        for _, service in sorted(index.mesh.services.items()):
            self.services.setdefault(service.namespace, []).append(service)
        self.identities = {workload.identity for workload in index.workloads.values()}


def analyse(index: MeshIndex) -> Iterator[Finding]:
    around = _Around(index)
    for key, obj in sorted(index.sources[AUTHORIZATIONPOLICY].items()):
        ref = ObjectRef(_KIND, *key)
        if targets(obj):
            yield from _unattached(index, ref, index.security.attachments.get(key, ()))
        elif (reading := index.security.ztunnel.policies.get(key)) is not None:
            yield from _beyond_ztunnel(index, around, ref, obj, reading)
        yield from _for_nobody(index, around, ref, obj)
    yield from _against_waypoints(index, around)


def _unattached(index: MeshIndex, ref: ObjectRef, attachments: Sequence[Attachment]) -> Iterator[Finding]:
    """Targets that lead to no waypoint."""
    field = "spec.targetRefs"
    for attachment in attachments:
        if attachment.bound:
            continue
        code = _OF_ATTACHMENT.get(attachment.reason, codes.INVALID)
        target = ObjectRef(attachment.target.kind, *attachment.target.key)
        there = target.kind == "Gateway" and remedies.object_of(index, target) is not None
        message = f"no effect on {target}: {'its waypoint is not ready' if there else attachment.message}"
        remedy = cures.edit(ref, field)
        if there:
            code, remedy = codes.NO_WAYPOINT, remedies.get_ready(index, attachment.target.key)
        elif code is codes.NO_WAYPOINT and (service := _declared_by(index, target)) is not None:
            binding = index.shapes[service.host].binding
            remedy = remedies.come_by_waypoint(index, target, binding)
        yield Finding(code, ref, message, field, (remedy,))


def _declared_by(index: MeshIndex, ref: ObjectRef) -> Service | None:
    kinds = (SERVICE.kind, SERVICEENTRY.kind)
    found = (s for s in index.mesh.services.values() if ref.kind in kinds and (s.kind, *s.key) == ref)
    return next(found, None)


def _beyond_ztunnel(
    index: MeshIndex, around: _Around, ref: ObjectRef, obj: Object, reading: ZtunnelReading
) -> Iterator[Finding]:
    """What it is told of a policy, if that is not all of it."""
    acceptance = reading.acceptance
    if acceptance is None or acceptance.reason == "Accepted":
        return
    found = [acceptance.message.rstrip("."), *_consequences(reading)]
    yield Finding(
        codes.NEEDS_WAYPOINT, ref, "; ".join(found), "spec.rules", tuple(_to_waypoints(index, around, ref, obj))
    )


def _consequences(reading: ZtunnelReading) -> Iterator[str]:
    told = reading.policy
    if told is None:
        yield "it is not in force"
    elif told.action is PolicyAction.DENY:
        dead = [str(n) for n, rule in enumerate(told.rules) if any(not any(clause) for clause in rule)]
        if dead:
            yield f"nothing is left of rule {', '.join(dead)}: what it denies passes"
    elif not told.rules:
        yield "no rule is left: it lets nobody in"


def _to_waypoints(index: MeshIndex, around: _Around, ref: ObjectRef, obj: Object) -> Iterator[Remedy]:
    """To the waypoint of the service whose pods it selects, or of all that have some of them."""
    reading = index.security.ztunnel.policies[remedies.key_of(ref)]
    pods = {
        workload.key
        for workload in around.workloads.get(ref.namespace, ())
        if reading.selector.selects(dict(workload.labels))
    }
    behind = {service: _pods(service) & pods for service in around.services.get(ref.namespace, ())}
    whole = [service for service, some in behind.items() if some == pods == _pods(service)]
    meant = whole[:1] or [service for service, some in behind.items() if some]
    if not meant:
        yield cures.edit(ref, "spec")
        return
    services = [ObjectRef(service.kind, *service.key) for service in meant]
    yield remedies.to_target(ref, obj, *services)
    if meant[0].waypoint is None:
        yield remedies.come_by_waypoint(index, services[0], index.shapes[meant[0].host].binding)


def _pods(service: Service) -> set[Key]:
    return {endpoint.workload.key for endpoint in service.endpoints if endpoint.workload is not None}


def _for_nobody(index: MeshIndex, around: _Around, ref: ObjectRef, obj: Object) -> Iterator[Finding]:
    """ALLOW policies with rules none of which any identity of the mesh meets."""
    spec = obj.get("spec") or {}
    if (spec.get("action") or PolicyAction.ALLOW) != PolicyAction.ALLOW or not spec.get("rules"):
        return
    key = remedies.key_of(ref)
    if targets(obj):
        asked = index.security.policies[key].policy.rules
        met = any(_waypoint_meets(conditions, around.identities) for rule in asked for conditions in rule.sources)
    else:
        told = index.security.ztunnel.policies[key].policy
        if told is None or not told.rules:
            return
        met = any(_ztunnel_meets(told, identity) for identity in around.identities)
    if not met:
        message = "no pod there is has an identity that a rule asks for, so that it lets nobody in"
        yield Finding(codes.ADMITS_NOBODY, ref, message, "spec.rules", (cures.edit(ref, "spec.rules"),))


def _waypoint_meets(conditions: Conditions, identities: Iterable[str]) -> bool:
    asked = [condition for condition in conditions if condition.attribute in _WHO]
    attempts = (policy.Attempt(None, identity, "", "", 0) for identity in identities)
    return not asked or any(all(holds(c, partial(policy.has, attempt)) for c in asked) for attempt in attempts)


def _ztunnel_meets(told: Authorization, identity: str) -> bool:
    """As far as it asks for an identity: addresses and ports are as they may be."""
    connection = Connection(identity, "", "", 0)

    def match(conditions: Conditions) -> bool:
        asked = [condition for condition in conditions if condition.attribute in _WHO]
        return bool(conditions) and all(holds(c, partial(admission.has, connection)) for c in asked)

    return any(all(any(map(match, clause)) for clause in rule) for rule in told.rules)


def _against_waypoints(index: MeshIndex, around: _Around) -> Iterator[Finding]:
    """Policies of ztunnel that refuse the waypoint of a service whatever it sends there."""
    refused: dict[tuple[ObjectRef, Waypoint], dict[str, None]] = {}
    for service in (service for some in around.services.values() for service in some):
        for key, _ in service.waypoints:
            waypoint = index.mesh.waypoints[key]
            for workload in (e.workload for e in service.endpoints):
                if workload is not None and workload.protocol is Protocol.HBONE and waypoint.members:
                    for ref in _refusing(index, service, waypoint, workload):
                        refused.setdefault((ref, waypoint), {})[str(ObjectRef(service.kind, *service.key))] = None
    for (ref, waypoint), services in sorted(refused.items(), key=lambda each: (each[0][0], each[0][1].key)):
        identity = waypoint.members[0].identity
        message = (
            f"ztunnel refuses what waypoint {waypoint.key} sends to {names(services)}: it sees "
            f"{words.identity(identity)}, not the client"
        )
        found = tuple(_let_in(index, around, ref, identity.removeprefix("spiffe://")))
        yield Finding(codes.WAYPOINT_NOT_ADMITTED, ref, message, "spec.rules", found)


def _refusing(index: MeshIndex, service: Service, waypoint: Waypoint, workload: Workload) -> Iterator[ObjectRef]:
    """The policies that refuse connections of the waypoint on every port of a pod."""
    endpoint = next(e for e in service.endpoints if e.workload == workload)
    member = waypoint.members[0]
    found = [
        admission.at(index.mesh, workload, Connection(member.identity, member.ip, workload.ip, target))
        for _, target in endpoint.ports
    ]
    if not found or any(each.allowed for each in found):
        return
    enforced = index.mesh.enforced.get(workload.key, ())
    denying = {each.policy for each in found if each.policy is not None}
    for each in denying or {p for p in enforced if p.action is PolicyAction.ALLOW and (p.rules or _meant(index, p))}:
        if each.key in index.sources[AUTHORIZATIONPOLICY]:
            yield ObjectRef(_KIND, *each.key)


def _meant(index: MeshIndex, told: Authorization) -> bool:
    """Whether somebody wrote that it is to let nobody in: of one that lost its rules, that is told already."""
    return not (index.sources[AUTHORIZATIONPOLICY].get(told.key, {}).get("spec") or {}).get("rules")


def _let_in(index: MeshIndex, around: _Around, ref: ObjectRef, principal: str) -> Iterator[Remedy]:
    obj = remedies.object_of(index, ref) or {}
    spec = obj.get("spec") or {}
    if (spec.get("action") or PolicyAction.ALLOW) == PolicyAction.ALLOW:
        rule = {"from": [{"source": {"principals": [principal]}}]}
        path, value = ("/spec/rules/-", rule) if spec.get("rules") else ("/spec/rules", [rule])
        yield Remedy("let the waypoint in", (remedies.patch(ref, ("add", path, value)),))
    yield from _to_waypoints(index, around, ref, obj)
