"""Ambientlab's own findings and Istio's, without what both have to say of an object."""

from __future__ import annotations

from collections.abc import Mapping

from ambientlab.mesh.analysis import ANALYSERS, codes, istio
from ambientlab.mesh.analysis.finding import Code, Finding, analyse
from ambientlab.mesh.analysis.istio import codes as theirs
from ambientlab.mesh.index import MeshIndex

SAME: Mapping[Code, tuple[Code, ...]] = {
    theirs.NOT_FOUND.code: (codes.MISSING_BACKEND, codes.NO_SUCH_SERVICE, codes.WAYPOINT_MISSING),
    theirs.CONFLICTING_HOSTS.code: (codes.SHADOWED,),
    theirs.PORT_NAME.code: (codes.UNDECLARED_PROTOCOL, codes.OTHER_PROTOCOL),
    theirs.NO_WORKLOADS.code: (codes.NOBODY_SELECTED, codes.IGNORED),
    theirs.UNREACHABLE_RULE.code: (codes.SHADOWED, codes.NEVER_MATCHES),
    theirs.INEFFECTIVE_MATCH.code: (codes.SHADOWED, codes.NEVER_MATCHES),
    theirs.SCHEMA_WARNING.code: (
        codes.IGNORED,
        codes.INVALID,
        codes.NEEDS_WAYPOINT,
        codes.NEVER_MATCHES,
        codes.NOBODY_SELECTED,
        codes.NOT_BUILT,
        codes.SKIPS_WAYPOINT,
    ),
    theirs.ADDRESSES_REQUIRED.code: (codes.SKIPS_WAYPOINT,),
    theirs.NO_PROVIDERS.code: (codes.IGNORED, codes.NOT_BUILT),
    theirs.INEFFECTIVE_SELECTOR.code: (codes.NOBODY_SELECTED, codes.IGNORED),
    theirs.INEFFECTIVE_POLICY.code: (codes.IGNORED,),
    theirs.NEGATIVE_CONDITION.code: tuple(codes.REGISTRY.codes.values()),
    theirs.EMPTY_SUBSET.code: (codes.NO_ENDPOINTS,),
    theirs.UNKNOWN_HOST.code: (codes.NO_SUCH_SERVICE, codes.NO_WAYPOINT),
}
"""Istio's code -> ours, which say the same, and what to type."""
LEFT_OUT = frozenset({theirs.NOT_INJECTED.code})
"""That a namespace is not in the mesh is nothing wrong with it."""


def everything(index: MeshIndex) -> tuple[Finding, ...]:
    ours = analyse(index, ANALYSERS)
    said = {(finding.object, finding.code) for finding in ours}

    def alone(finding: Finding) -> bool:
        return not any((finding.object, code) in said for code in SAME.get(finding.code, ()))

    theirs = [f for f in analyse(index, istio.ANALYSERS) if f.code not in LEFT_OUT and alone(f)]
    return analyse(index, (lambda _: ours, lambda _: theirs))
