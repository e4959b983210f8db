"""BackendTLSPolicies: what Istio's conditions say of them."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import BACKENDTLSPOLICY
from ambientlab.mesh.analysis import codes, cures
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.index import MeshIndex, ObjectRef
from ambientlab.mesh.index.diagnostics import ACCEPTED

_CODES = {"TargetNotFound": codes.NO_SUCH_SERVICE, "Conflicted": codes.SHADOWED}
_AS_ASKED = "IgnoredByIstio"


def analyse(index: MeshIndex) -> Iterator[Finding]:
    for key, reading in sorted(index.backend_policies.readings.items()):
        ref = ObjectRef(BACKENDTLSPOLICY.kind, *key)
        for number, target in enumerate(reading.targets):
            for verdict in target.conditions:
                if verdict.type != ACCEPTED or verdict.status or verdict.reason == _AS_ASKED:
                    continue
                code = _CODES.get(verdict.reason, codes.INVALID)
                field = "spec.validation" if code is codes.INVALID else f"spec.targetRefs[{number}]"
                cure = cures.without(ref) if code is codes.SHADOWED else cures.edit(ref, field)
                yield Finding(code, ref, verdict.message, field, (cure,))
