"""Istio's own Gateway: the pods it selects and the ports that their Services have.

pkg/config/analysis/analyzers/gateway, which takes a Service without a selector for one that selects every pod. This
mesh has no ingress gateway, so that such a Gateway selects nobody, and that is what it is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import ISTIOGATEWAY, POD, SERVICE
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import items, selected, written
from ambientlab.mesh.index import MeshIndex


def analyse(index: MeshIndex) -> Iterator[Finding]:
    services = list(items(index, SERVICE))
    pods = list(items(index, POD))
    for gateway in items(index, ISTIOGATEWAY):
        wanted = gateway.spec.get("selector") or {}
        found = [pod for pod in pods if selected(wanted, pod.labels)]
        if not found:
            yield codes.NOT_FOUND(gateway.ref, "selector", written(wanted), field="spec.selector")
            continue
        ports = {
            number
            for pod in found
            for service in services
            if service.ref.namespace == pod.ref.namespace and selected(service.spec.get("selector") or {}, pod.labels)
            for port in service.spec.get("ports") or ()
            if port.get("protocol", "TCP") == "TCP"
            for number in (port["port"], port.get("targetPort"))
        }
        for i, server in enumerate(gateway.spec.get("servers") or ()):
            number = server["port"]["number"]
            if number not in ports:
                yield codes.PORT_NOT_ON_SERVICE(gateway.ref, number, written(wanted), field=f"spec.servers[{i}].port")
