"""Annotations of Istio's namespace: which there are, on what, and which are going away.

The table is that of istio.io/api/annotation of 1.31; which kinds are looked at is in
pkg/config/analysis/analyzers/annotations. Values are not looked at: those that Istio checks are settings of sidecars.
"""

from __future__ import annotations

from collections.abc import Iterator

from ambientlab.api.kinds import DEPLOYMENT, NAMESPACE, POD, SERVICE
from ambientlab.mesh.analysis.finding import Finding
from ambientlab.mesh.analysis.istio import codes
from ambientlab.mesh.analysis.istio.objects import Item, items
from ambientlab.mesh.index import MeshIndex

_ANY = "Any"
_INJECT = "sidecar.istio.io/inject"
_ENTRY, _GATEWAY = ("WorkloadEntry",), ("Gateway",)
_KINDS: dict[str, tuple[str, ...]] = {
    "alpha.istio.io/canonical-serviceaccounts": ("Service",),
    "alpha.istio.io/kubernetes-serviceaccounts": ("Service",),
    "ambient.istio.io/waypoint-inbound-binding": ("GatewayClass", "Gateway"),
    "galley.istio.io/analyze-suppress": (_ANY,),
    "gateway.istio.io/controller-version": (_ANY,),
    "gateway.istio.io/name-override": _GATEWAY,
    "gateway.istio.io/service-account": _GATEWAY,
    "istio.io/autoRegistrationGroup": _ENTRY,
    "istio.io/connectedAt": _ENTRY,
    "istio.io/disconnectedAt": _ENTRY,
    "istio.io/dry-run": ("AuthorizationPolicy",),
    "istio.io/use-waypoint-canary-weight": ("Service", "ServiceEntry", "Namespace"),
    "istio.io/workloadController": _ENTRY,
    "kubernetes.io/ingress.class": ("Ingress",),
    "networking.istio.io/exportTo": ("Service",),
    "networking.istio.io/service-type": _GATEWAY,
    "networking.istio.io/traffic-distribution": ("Namespace", "Service", "ServiceEntry"),
    "topology.istio.io/controlPlaneClusters": ("Namespace",),
    "traffic.istio.io/nodeSelector": ("Service",),
}
_OF_PODS = {
    "ambient.istio.io": "bypass-inbound-capture dns-capture redirection",
    "inject.istio.io": "templates",
    "istio.io": "reroute-virtual-interfaces rev",
    "prometheus.istio.io": "merge-metrics",
    "proxy.istio.io": "config overrides",
    "readiness.status.sidecar.istio.io": "applicationPorts failureThreshold initialDelaySeconds periodSeconds",
    "sidecar.istio.io": "agentLogLevel bootstrapOverride componentLogLevel discoveryAddress extraStatTags inject"
    " interceptionMode logLevel nativeSidecar proxyCPU proxyCPULimit proxyImage proxyImageType proxyMemory"
    " proxyMemoryLimit rewriteAppHTTPProbers statsCompression statsEvictionInterval statsFlushInterval"
    " statsHistogramBins statsHistogramBuckets statsInclusionPrefixes statsInclusionRegexps statsInclusionSuffixes"
    " status userVolume userVolumeMount",
    "status.sidecar.istio.io": "port",
    "traffic.sidecar.istio.io": "excludeInboundPorts excludeInterfaces excludeOutboundIPRanges excludeOutboundPorts"
    " includeInboundPorts includeOutboundIPRanges includeOutboundPorts kubevirtInterfaces",
}
_KINDS |= {f"{prefix}/{name}": ("Pod",) for prefix, names in _OF_PODS.items() for name in names.split()}
_DEPRECATED = {
    "alpha.istio.io/canonical-serviceaccounts": "",
    "alpha.istio.io/kubernetes-serviceaccounts": "",
    "sidecar.istio.io/discoveryAddress": "",
    "sidecar.istio.io/extraStatTags": "",
    _INJECT: f' in favor of the "{_INJECT}" label',
    "sidecar.istio.io/statsCompression": "",
    "sidecar.istio.io/statsInclusionPrefixes": "",
    "sidecar.istio.io/statsInclusionRegexps": "",
    "sidecar.istio.io/statsInclusionSuffixes": "",
    "traffic.sidecar.istio.io/kubevirtInterfaces": "",
}
_ISTIOS_OWN = ("sidecar.istio.io/status", "gateway.istio.io/controller-version", "istio.io/rev")


def analyse(index: MeshIndex) -> Iterator[Finding]:
    for resource in (NAMESPACE, SERVICE, POD, DEPLOYMENT):
        for item in items(index, resource):
            for name in sorted(item.annotations):
                if _concerns(name):
                    yield from _said(item, name)


def _concerns(name: str) -> bool:
    prefix = name.partition("/")[0]
    return name not in _ISTIOS_OWN and (prefix.endswith("istio.io") or name == "kubernetes.io/ingress.class")


def _said(item: Item, name: str) -> Iterator[Finding]:
    field = f"metadata.annotations[{name}]"
    kinds = _KINDS.get(name)
    if kinds is None:
        yield codes.UNKNOWN_ANNOTATION(item.ref, name, field=field)
        return
    if name in _DEPRECATED and not (name == _INJECT and _INJECT in item.labels):
        yield codes.DEPRECATED_ANNOTATION(item.ref, name, _DEPRECATED[name], field=field)
    if _ANY not in kinds and item.ref.kind not in kinds:
        yield codes.MISPLACED_ANNOTATION(item.ref, name, ", ".join(kinds), field=field)
