"""What the index says of objects, as findings: nothing is found out here a second time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, SERVICEENTRY
from ambientlab.mesh.analysis import codes, cures, hosts, ports
from ambientlab.mesh.analysis.finding import Code, Finding
from ambientlab.mesh.explain import Remedy, remedies
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.index.coverage import exempt
from ambientlab.mesh.index.diagnostics import UNSUPPORTED, WAYPOINT_BOUND
from ambientlab.mesh.index.gatewayroute import TO_A_WAYPOINT
from ambientlab.mesh.index.told import UNSEEN, told
from ambientlab.mesh.ir import Destination

_CODES: Mapping[str, Code] = {
    "NoWaypoint": codes.NO_WAYPOINT,
    "AncestorNotBound": codes.NO_WAYPOINT,
    "ForeignNamespace": codes.WRONG_NAMESPACE,
    "NotExported": codes.WRONG_NAMESPACE,
    "Shadowed": codes.SHADOWED,
    "Unreachable": codes.SHADOWED,
    "OlderPolicy": codes.SHADOWED,
    "NoPort": codes.NO_SUCH_PORT,
    "NoRoute": codes.NEVER_MATCHES,
    "NeverMatches": codes.NEVER_MATCHES,
    "InvalidExpression": codes.NEVER_MATCHES,
    "ServerName": codes.NEVER_MATCHES,
    "OtherTrustDomain": codes.NEVER_MATCHES,
    "FaultNever": codes.NEVER_MATCHES,
    "DelegateConflict": codes.NEVER_MATCHES,
    "NothingSelected": codes.NOBODY_SELECTED,
    "NotInMesh": codes.NOBODY_SELECTED,
    "HostNotFound": codes.NO_SUCH_SERVICE,
    "NoMatchingParent": codes.NO_SUCH_SERVICE,
    TO_A_WAYPOINT: codes.IGNORED,
    "TargetNotFound": codes.NO_SUCH_SERVICE,
    "DelegateMissing": codes.NO_SUCH_SERVICE,
    "NoAddress": codes.SKIPS_WAYPOINT,
    "BackendNotFound": codes.MISSING_BACKEND,
    "DestinationMissing": codes.MISSING_BACKEND,
    "MirrorMissing": codes.MISSING_BACKEND,
    "ReferenceGrantMissing": codes.NOT_PERMITTED,
    "UnsupportedValue": codes.NOT_BUILT,
    "Ignored": codes.IGNORED,
    UNSUPPORTED: codes.NOT_BUILT,
}
"""Of the reasons; all others mean that something cannot be followed as it is."""
_ELSEWHERE = frozenset({"ResolvedWaypoints", "OtherController", UNSEEN})
"""What is said in other words too, is another controller's, or is about Secrets, which nobody reads to analyse."""


def analyse(index: MeshIndex) -> Iterator[Finding]:
    said = [*(d for d in index.diagnostics() if not _elsewhere(d)), *told(index)]
    missing = {(d.object, d.destination) for d in said if d.reason == "BackendNotFound"}
    void = {d.object for d in said if d.field and _code(index, d) is codes.INVALID}
    for diagnostic in said:
        if diagnostic.reason in ("DestinationMissing", "MirrorMissing"):
            unusable = diagnostic.destination == Destination("", 0) and diagnostic.object in void
            if unusable or (diagnostic.object, diagnostic.destination) in missing:
                continue
        if not _told_with_policy(index, diagnostic):
            yield _finding(index, diagnostic)


def _elsewhere(diagnostic: Diagnostic) -> bool:
    """What is said of labels that name waypoints, `waypoints` says once for all whom a label concerns. That a
    VirtualService is for gateways alone is nothing wrong."""
    of_binding = diagnostic.condition == WAYPOINT_BOUND or diagnostic.message.startswith("canary not attached")
    return of_binding or diagnostic.reason in _ELSEWHERE or diagnostic.field == "spec.gateways"


def _told_with_policy(index: MeshIndex, diagnostic: Diagnostic) -> bool:
    """What is left of a rule that ztunnel cannot follow is part of what `policies` says of all of the policy."""
    if diagnostic.object.kind != AUTHORIZATIONPOLICY.kind or diagnostic.reason != "Ignored":
        return False
    reading = index.security.ztunnel.policies.get(remedies.key_of(diagnostic.object))
    return reading is not None and reading.acceptance is not None and reading.acceptance.reason != "Accepted"


def _code(index: MeshIndex, diagnostic: Diagnostic) -> Code:
    code = _CODES.get(diagnostic.reason, codes.INVALID)
    if code is codes.NO_WAYPOINT and diagnostic.object.kind == SERVICEENTRY.kind:
        return codes.SKIPS_WAYPOINT
    if code is codes.NO_SUCH_PORT and ports.named(index, diagnostic):
        return codes.OTHER_PROTOCOL
    return code


def _finding(index: MeshIndex, diagnostic: Diagnostic) -> Finding:
    code, ref = _code(index, diagnostic), diagnostic.object
    message = diagnostic.message
    if diagnostic.reason == TO_A_WAYPOINT:
        message = "no effect: a waypoint takes routes by their Services and ServiceEntries, and none by its Gateway"
    if code in (codes.NO_SUCH_PORT, codes.OTHER_PROTOCOL):
        message = f"{message}; {ports.there(index, diagnostic.host)}"
    found = tuple(_remedies(index, diagnostic, code)) or (cures.edit(ref, diagnostic.field),)
    return Finding(code, ref, message, diagnostic.field, found)


def _remedies(index: MeshIndex, diagnostic: Diagnostic, code: Code) -> Iterator[Remedy]:
    ref, shape = diagnostic.object, index.shapes.get(diagnostic.host)
    match code:
        case codes.NO_WAYPOINT | codes.SKIPS_WAYPOINT if shape is not None and shape.binding.waypoint is None:
            if diagnostic.reason == "NoWaypoint":
                yield remedies.come_by_waypoint(index, ObjectRef(shape.kind, *shape.key), shape.binding)
        case codes.WRONG_NAMESPACE if diagnostic.reason == "NotExported":
            yield remedies.export(ref)
        case codes.WRONG_NAMESPACE if shape is not None:
            yield remedies.go_home(ref, shape.key.namespace)
        case codes.NO_SUCH_SERVICE:
            yield from hosts.completed(index, diagnostic)
        case codes.SHADOWED if diagnostic.reason != "Unreachable":
            yield from (remedies.instead(ref, other) for other in diagnostic.first if other != ref)
            yield cures.without(ref)
        case codes.MISSING_BACKEND if diagnostic.destination is not None:
            yield from _provided(index, diagnostic.destination)
        case codes.NO_SUCH_PORT:
            yield from ports.moved(index, diagnostic)
        case codes.OTHER_PROTOCOL:
            yield from ports.declared(index, diagnostic)
        case codes.IGNORED if exempt(ref.kind, diagnostic.field):
            yield cures.without(ref, diagnostic.field)
        case codes.NOT_BUILT:
            yield cures.look(ref)


def _provided(index: MeshIndex, destination: Destination) -> Iterator[Remedy]:
    there = index.mesh.services.get(destination.host)
    if there is None:
        yield from remedies.provide(index, destination)
    elif not destination.subset:
        yield remedies.ports_of(there)
