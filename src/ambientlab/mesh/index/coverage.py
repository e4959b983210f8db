"""Which fields of each kind have no effect here, and whose doing that is.

This is the one place that says it: the findings in statuses and in istiod's log come from these tables, and so does
docs/compatibility.md. A field without an entry is honoured; that it is, its golden cases show. What depends on a
field's value, and not on its being set, is said by whoever reads the kind.

A path is written as in `spec.http[].match[].headers{}.exact`: `[]` any item of a list, `{}` any entry of a map. An
entry covers everything below its path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ambientlab.api.kinds import ISTIO_NETWORKING
from ambientlab.api.objects import Object
from ambientlab.mesh.index.diagnostics import Diagnostic, ObjectRef, ignored, unsupported


class Effect(StrEnum):
    """IGNORED and REFUSED by Istio's ambient mode too, REFUSED in words of its own; UNSUPPORTED here alone."""

    IGNORED = "ignored"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Exemption:
    """`why` says why Istio passes a field over, how it refuses it, or what happens instead of what it would do. With
    `only`, that is so for no other value."""

    effect: Effect
    why: str
    only: str = ""


def _ignored(why: str, *, only: str = "") -> Exemption:
    return Exemption(Effect.IGNORED, why, only)


def _refused(how: str) -> Exemption:
    return Exemption(Effect.REFUSED, how)


def _unsupported(consequence: str = "it has no effect here", *, only: str = "") -> Exemption:
    return Exemption(Effect.UNSUPPORTED, consequence, only)


_TRAFFIC_POLICY = {
    "loadBalancer.zoneAwareLbSetting": _ignored("zone-aware load balancing is not supported in ambient mode"),
    "outlierDetection.consecutiveErrors": _ignored(
        "it is not read any more: consecutive5xxErrors and consecutiveGatewayErrors are"
    ),
    "outlierDetection.outlierDetectionHttpErrorCodes": _ignored("Istio 1.31 does not read it yet"),
    "retryBudget.budgetInterval": _unsupported("the requests under way are counted"),
}
_TRAFFIC_POLICIES = (
    "spec.trafficPolicy",
    "spec.trafficPolicy.portLevelSettings[]",
    "spec.subsets[].trafficPolicy",
    "spec.subsets[].trafficPolicy.portLevelSettings[]",
)


def _refused_filters(*rules: str, backends: Iterable[str]) -> dict[str, Exemption]:
    """Filters that Istio refuses for all requests of a rule, and those for one backend."""
    refused = _refused("such a route has ResolvedRefs=False, InvalidFilter, and does nothing")
    paths = [f"spec.rules[].filters[].{name}" for name in rules]
    paths += [f"spec.rules[].backendRefs[].filters[].{name}" for name in backends]
    return dict.fromkeys(paths, refused)


_OWN_NAMESPACE_ONLY = {
    f"spec.{field}.namespace": _refused("cross namespace referencing is not currently supported")
    for field in ("targetRef", "targetRefs[]")
}
_CONNECTION_ROUTE = {
    "spec.parentRefs[].sectionName": _ignored("Istio narrows a Service to one of its ports by port alone"),
    "spec.useDefaultGateways": _ignored("Istio has no default Gateways"),
}
"""Of the kinds whose parents are Services."""

_MESH_ROUTE = {
    **_CONNECTION_ROUTE,
    "spec.hostnames": _ignored("hostnames are not used when the parent is a Service"),
    "spec.rules[].sessionPersistence": _ignored("Istio implements no session persistence for routes"),
}
"""Of those that are for requests."""


def _connection_matches(path: str, *subnets: str) -> dict[str, Exemption]:
    addresses = _ignored("a waypoint does not compare addresses: the rest of the match decides")
    never = _ignored("a match on the client never holds at a waypoint")
    result = {f"{path}.{name}": addresses for name in ("destinationSubnets", *subnets)}
    return result | {f"{path}.{name}": never for name in ("sourceLabels", "sourceNamespace")}


EXEMPTIONS: Mapping[str, Mapping[str, Exemption]] = {
    "BackendTLSPolicy": {"spec.options": _ignored("Istio has no options of its own")},
    "DestinationRule": {
        "spec.workloadSelector": _ignored("a waypoint passes over rules for single clients, the whole of this one"),
        **{
            f"{level}.{path}": exemption
            for level in _TRAFFIC_POLICIES
            for path, exemption in _TRAFFIC_POLICY.items()
            if not (level.endswith("[]") and path.startswith("retryBudget"))
        },
    },
    "Gateway": {
        "spec.allowedListeners": _unsupported("no ListenerSet adds listeners to a Gateway"),
        "spec.defaultScope": _ignored("Istio attaches no route by default"),
        "spec.listeners[].hostname": _ignored("a waypoint serves the hosts of the services that use it"),
        "spec.listeners[].tls": _ignored("a waypoint's tunnels have the certificates of the mesh"),
        "spec.tls": _ignored("a waypoint's tunnels have the certificates of the mesh"),
    },
    "GatewayClass": {
        "spec.parametersRef": _ignored(
            "Istio takes a class's parameters from a ConfigMap with the label gateway.istio.io/defaults-for-class"
        ),
    },
    "GRPCRoute": {**_MESH_ROUTE, **_refused_filters("extensionRef", backends=("extensionRef", "requestMirror"))},
    "EnvoyFilter": {"spec": _unsupported("no proxy is patched")},
    "Gateway.networking.istio.io": {"spec": _unsupported("no gateway at the edge is deployed or configured")},
    "HTTPRoute": {
        **_MESH_ROUTE,
        **_refused_filters(
            "extensionRef",
            "externalAuth",
            backends=("cors", "extensionRef", "externalAuth", "requestMirror", "requestRedirect", "urlRewrite"),
        ),
    },
    "Service": {
        "spec.externalIPs": _unsupported("nothing answers at them"),
        "spec.externalTrafficPolicy": _unsupported("nothing comes from outside of the cluster", only="Local"),
        "spec.healthCheckNodePort": _unsupported("nothing answers at a port of the node"),
        "spec.loadBalancerClass": _unsupported("no load balancer is there for the cluster"),
        "spec.loadBalancerIP": _unsupported("no load balancer is there for the cluster"),
        "spec.loadBalancerSourceRanges": _unsupported("no load balancer is there for the cluster"),
        "spec.ports[].nodePort": _unsupported("nothing answers at a port of the node"),
        "spec.sessionAffinity": _ignored(
            "ztunnel and waypoints choose an endpoint each time: only pods outside the mesh stay with one",
            only="ClientIP",
        ),
        "spec.sessionAffinityConfig": _unsupported(
            "a pod outside the mesh stays for as long as endpoints do not change"
        ),
    },
    "ServiceEntry": {
        "spec.endpoints[].network": _unsupported("there is one network here, and the endpoint is called directly"),
        "spec.exportTo": _ignored("ztunnel takes every ServiceEntry for every namespace"),
    },
    "ProxyConfig": {"spec": _unsupported("proxies are started as the mesh's defaults have it")},
    "Sidecar": {"spec": _ignored("Sidecar resources are ignored in ambient mode: ztunnel and waypoints read none")},
    "TrafficExtension": {"spec": _unsupported("no filter is added to any proxy")},
    "WasmPlugin": {"spec": _unsupported("no filter is added to any proxy")},
    "WorkloadEntry": {
        "spec.network": _unsupported("there is one network here, and the workload is called directly"),
    },
    "TCPRoute": _CONNECTION_ROUTE,
    "TLSRoute": _CONNECTION_ROUTE,
    "VirtualService": {
        "spec.http[].fault.abort.http2Error": _refused("HTTP/2 abort fault injection not supported yet"),
        "spec.http[].fault.delay.exponentialDelay": _refused("exponentialDelay not supported yet"),
        "spec.http[].match[].sourceLabels": _ignored("a match on source labels never holds in ambient mode"),
        "spec.http[].match[].sourceNamespace": _ignored(
            "a waypoint compares it with its own namespace, never with the client's"
        ),
        **_connection_matches("spec.tcp[].match[]", "sourceSubnet"),
        **_connection_matches("spec.tls[].match[]"),
    },
    "AuthorizationPolicy": _OWN_NAMESPACE_ONLY,
    "RequestAuthentication": {
        **_OWN_NAMESPACE_ONLY,
        "spec.selector": _ignored("waypoints take policies by targetRefs alone, and ztunnel looks at no tokens"),
    },
    "Telemetry": {
        **_OWN_NAMESPACE_ONLY,
        "spec.metrics[].reportingInterval": _unsupported("what connections carry is counted when they end"),
        "spec.selector": _ignored("waypoints take Telemetry by targetRefs or for a namespace, and ztunnel takes none"),
        "spec.tracing": _unsupported("there are no spans here"),
    },
}
"""Kind -> path -> exemption."""


def name_of(group: str, kind: str) -> str:
    """What a kind is called here and in findings: with its group, as kubectl has it, where another has its name."""
    return f"{kind}.{group}" if (group, kind) == (ISTIO_NETWORKING, "Gateway") else kind


def exempt(kind: str, path: str) -> bool:
    """Whether a field of an object, `spec.http[2].match[0].name`, is one of the tables'."""
    return re.sub(r"\[\d+\]", "[]", path) in EXEMPTIONS.get(kind, {})


@dataclass(slots=True)
class _Step:
    exemption: Exemption | None = None
    below: dict[str, _Step] = field(default_factory=dict)


def _tree(table: Mapping[str, Exemption]) -> _Step:
    root = _Step()
    for path, exemption in table.items():
        step = root
        for name in steps(path):
            step = step.below.setdefault(name, _Step())
        step.exemption = exemption
    return root


def steps(path: str) -> list[str]:
    """`spec.http[].name` -> ["spec", "http", "[]", "name"]."""
    return path.replace("[]", ".[]").replace("{}", ".{}").split(".")


_TREES = {kind: _tree(table) for kind, table in EXEMPTIONS.items()}


def findings(ref: ObjectRef, obj: Object) -> tuple[Diagnostic, ...]:
    """What is to be said of the fields that are set in an object."""
    tree = _TREES.get(ref.kind)
    return () if tree is None else tuple(_walk(ref, "", obj, tree))


def _walk(ref: ObjectRef, path: str, value: Any, step: _Step) -> Iterator[Diagnostic]:
    if value in (None, "", [], {}):
        return
    if step.exemption is not None:
        if step.exemption.only not in ("", value):
            return
        match step.exemption.effect:
            case Effect.IGNORED:
                yield ignored(ref, path, step.exemption.why)
            case Effect.UNSUPPORTED:
                yield unsupported(ref, path, step.exemption.why)
        return
    for name, below in step.below.items():
        match name:
            case "[]" if isinstance(value, list):
                for i, item in enumerate(value):
                    yield from _walk(ref, f"{path}[{i}]", item, below)
            case "{}" if isinstance(value, dict):
                for key, item in value.items():
                    yield from _walk(ref, f"{path}[{key}]", item, below)
            case _ if isinstance(value, dict):
                yield from _walk(ref, f"{path}.{name}" if path else name, value.get(name), below)
