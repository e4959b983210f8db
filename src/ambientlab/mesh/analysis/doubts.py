"""What not everything is seen for: a finding that something is absent is none where it may only not be seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    DESTINATIONRULE,
    ENDPOINTSLICE,
    GATEWAY,
    GATEWAYCLASS,
    ISTIOGATEWAY,
    NAMESPACE,
    POD,
    REFERENCEGRANT,
    SERVICE,
    SERVICEENTRY,
    VIRTUALSERVICE,
    WORKLOADENTRY,
)
from ambientlab.api.resources import Resource
from ambientlab.mesh.analysis import codes
from ambientlab.mesh.analysis.finding import Code, Finding
from ambientlab.mesh.analysis.istio import codes as theirs

_OF_WAYPOINTS = (NAMESPACE, GATEWAY, GATEWAYCLASS)
_OF_SERVICES = (SERVICE, SERVICEENTRY)

ABSENT: Mapping[Code, tuple[Resource, ...]] = {
    codes.NO_WAYPOINT: (*_OF_WAYPOINTS, *_OF_SERVICES),
    codes.UNUSED_WAYPOINT: (NAMESPACE, *_OF_SERVICES, POD),
    codes.WAYPOINT_MISSING: _OF_WAYPOINTS,
    codes.WAYPOINT_WITHOUT_PODS: (POD,),
    codes.WAYPOINT_REFUSES: (NAMESPACE,),
    codes.CANARY_UNUSABLE: _OF_WAYPOINTS,
    codes.NO_SUCH_SERVICE: (*_OF_SERVICES, VIRTUALSERVICE, GATEWAY),
    codes.MISSING_BACKEND: (*_OF_SERVICES, DESTINATIONRULE),
    codes.NO_ENDPOINTS: (ENDPOINTSLICE, POD, WORKLOADENTRY),
    codes.NOT_PERMITTED: (REFERENCEGRANT,),
    codes.ADMITS_NOBODY: (POD,),
    codes.NOBODY_SELECTED: (POD,),
    codes.SKIPS_WAYPOINT: _OF_WAYPOINTS,
    theirs.NOT_FOUND.code: (*_OF_SERVICES, NAMESPACE, GATEWAY, DESTINATIONRULE, AUTHORIZATIONPOLICY),
    theirs.NO_WORKLOADS.code: (POD,),
    theirs.HOST_NOT_IN_GATEWAY.code: (ISTIOGATEWAY,),
    theirs.PORT_NOT_ON_SERVICE.code: (POD, SERVICE),
    theirs.INEFFECTIVE_SELECTOR.code: (POD, GATEWAY),
    theirs.EMPTY_SUBSET.code: (POD,),
    theirs.UNKNOWN_HOST.code: _OF_SERVICES,
}
"""The kinds of which something is absent where there is a finding."""


def doubted(unseen: Collection[str]) -> tuple[Code, ...]:
    """The codes that nothing is to be said of, given what could not be listed, by its `group_resource`."""
    return tuple(code for code, kinds in ABSENT.items() if any(kind.group_resource in unseen for kind in kinds))


def credible(found: Iterable[Finding], unseen: Collection[str]) -> tuple[Finding, ...]:
    without = doubted(unseen)
    return tuple(finding for finding in found if finding.code not in without)
