"""Policies that let through what they should stop, or stop what they should let through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, SERVICE, SERVICEENTRY
from ambientlab.api.objects import Object
from ambientlab.mesh.analysis import codes, cures
from ambientlab.mesh.analysis.finding import Code, Finding
from ambientlab.mesh.analysis.neighbours import Neighbours
from ambientlab.mesh.decide import admission, policy
from ambientlab.mesh.decide.admission import Connection
from ambientlab.mesh.decide.conditions import holds
from ambientlab.mesh.explain import remedies
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.targets import Attachment, targets
from ambientlab.mesh.index.ztunnelpolicies import ZtunnelReading
from ambientlab.mesh.ir import (
    Authorization,
    Conditions,
    PolicyAction,
    Service,
)

_OF_ATTACHMENT: Mapping[str, Code] = {"AncestorNotBound": codes.NO_WAYPOINT, "TargetNotFound": codes.NO_SUCH_SERVICE}
_KIND = AUTHORIZATIONPOLICY.kind
_WHO = ("source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain")
"""What rules ask of a client's identity."""


def analyse(index: MeshIndex) -> Iterator[Finding]:
    around = Neighbours(index)
    for key, obj in sorted(index.sources[AUTHORIZATIONPOLICY].items()):
        ref = ObjectRef(_KIND, *key)
        if targets(obj):
            yield from _unattached(index, ref, index.security.attachments.get(key, ()))
        elif (reading := index.security.ztunnel.policies.get(key)) is not None:
            yield from _beyond_ztunnel(index, around, ref, obj, reading)
        yield from _for_nobody(index, around, ref, obj)


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
    index: MeshIndex, around: Neighbours, ref: ObjectRef, obj: Object, reading: ZtunnelReading
) -> Iterator[Finding]:
    """What it is told of a policy, if that is not all of it."""
    acceptance = reading.acceptance
    if acceptance is None or acceptance.reason == "Accepted":
        return
    found = [acceptance.message.rstrip("."), *_consequences(reading)]
    yield Finding(codes.NEEDS_WAYPOINT, ref, "; ".join(found), "spec.rules", tuple(around.to_waypoints(ref, obj)))


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


def _for_nobody(index: MeshIndex, around: Neighbours, ref: ObjectRef, obj: Object) -> Iterator[Finding]:
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
