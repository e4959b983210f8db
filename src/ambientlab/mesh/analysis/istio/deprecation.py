"""Fields that are going away (pkg/config/analysis/analyzers/deprecation)."""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import SIDECAR, VIRTUALSERVICE
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import items
from ambientlab.mesh.index import MeshIndex


def analyse(index: MeshIndex) -> Iterator[Finding]:
    for item in items(index, VIRTUALSERVICE):
        for i, rule in enumerate(item.spec.get("http") or ()):
            if ((rule.get("fault") or {}).get("delay") or {}).get("percent", 0) > 0:
                words = "HTTPRoute.fault.delay.percent is deprecated; use HTTPRoute.fault.delay.percentage"
                yield codes.DEPRECATED(item.ref, words, field=f"spec.http[{i}].fault.delay.percent")
    for item in items(index, SIDECAR):
        if (item.spec.get("outboundTrafficPolicy") or {}).get("egressProxy") is not None:
            field = "spec.outboundTrafficPolicy.egressProxy"
            yield codes.DEPRECATED(item.ref, "OutboundTrafficPolicy.EgressProxy ignored", field=field)
