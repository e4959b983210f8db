"""What Istio's webhook warns of and lets pass (the Warnings of istio/istio pkg/config/validation), in its words.

Clients print them: `Warning: virtualService rule #1 not used (only the last rule can have no matches)`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from ambientlab.api import kinds
from ambientlab.api.fielderrors import quote
from ambientlab.api.objects import Object
from ambientlab.api.serviceentries import is_autoallocated
from ambientlab.api.validation.istio import common
from ambientlab.api.validation.istio.unreachable import unused

_LARGE_BODY = 100 * 1024
_TCP = ("tcp", "https", "tls", "mongo", "redis", "mysql")
"""Protocols that protocol.Instance.IsTCP counts as TCP."""
_PRIVATE = {"RSA": "d", "EC": "d", "OKP": "d", "oct": "k"}
"""Type of a key -> the member that must stay with its owner (RFC 7518, 6; RFC 8037, 2)."""
_NO_LABELS = "workload selector specified without labels"
_OF_REQUESTS = {"requestPrincipals", "notRequestPrincipals", "trustDomains", "notTrustDomains"}
"""What a source can say that a DENY rule has not for TCP, as Istio counts."""
_NO_TCP = (
    "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of only HTTP"
    " attributes in a DENY rule; it is recommended to explicitly specify the port"
)
_ENVOYFILTER = (
    "EnvoyFilter exposes internal implementation details that may change at any time. Prefer other APIs if possible,"
    " and exercise extreme caution, especially around upgrades."
)
_FAILOVER = "outlier detection policy must be provided for failover"


def warnings(kind: str, obj: Object) -> list[str]:
    """Of an object that validation has passed. Of Gateways, of what Sidecars listen on and of the patches of
    EnvoyFilters, which nothing here follows, there are more than these."""
    spec = obj.get("spec") or {}
    match kind:
        case kinds.VIRTUALSERVICE.kind:
            found = _virtual_service(spec)
        case kinds.DESTINATIONRULE.kind:
            found = _destination_rule(spec)
        case kinds.SERVICEENTRY.kind:
            found = _service_entry(obj, spec)
        case kinds.WORKLOADENTRY.kind:
            found = _workload(spec)
        case kinds.REQUESTAUTHENTICATION.kind:
            found = chain(_selector(spec), _key_sets(spec))
        case kinds.AUTHORIZATIONPOLICY.kind:
            found = chain(_selector(spec), _authorization(spec))
        case kinds.PEERAUTHENTICATION.kind:
            found = _selector(spec)
        case kinds.SIDECAR.kind:
            found = _workload_selector(spec, "sidecar")
        case kinds.ENVOYFILTER.kind:
            found = chain([_ENVOYFILTER], _workload_selector(spec, "Envoy filter"))
        case kinds.TELEMETRY.kind:
            found = chain(_selector(spec), _telemetry(spec))
        case _:
            return []
    return list(found)


def _selector(spec: Object) -> Iterator[str]:
    if "selector" in spec and not (spec["selector"] or {}).get("matchLabels"):
        yield _NO_LABELS


def _workload_selector(spec: Object, what: str) -> Iterator[str]:
    if "workloadSelector" in spec and not (spec["workloadSelector"] or {}).get("labels"):
        yield f"{what}: {_NO_LABELS}, will be applied to all services in namespace"


def _authorization(spec: Object) -> Iterator[str]:
    for rule in (spec.get("rules") or ()) if spec.get("action") == "DENY" else ():
        sources = [(one or {}).get("source") or {} for one in rule.get("from") or ()]
        operations = [(one or {}).get("operation") or {} for one in rule.get("to") or ()]
        of_tcp = [one for one in operations if "ports" in one or "notPorts" in one]
        if not operations:
            of_tcp = [one for one in sources if one.keys() - _OF_REQUESTS]
        if (sources or operations) and not of_tcp:
            yield _NO_TCP


def _virtual_service(spec: Object) -> Iterator[str]:
    yield from _gateways(spec)
    for route in spec.get("http") or ():
        for match in route.get("match") or ():
            yield from _gateways(match)
        if "mirrorPercent" in route:
            yield 'using deprecated setting "mirrorPercent", use "mirrorPercentage" instead'
        abort = (route.get("fault") or {}).get("abort")
        if abort is not None and not any(name in abort for name in ("httpStatus", "grpcStatus", "http2Error")):
            yield "abort configured, but error type not set"
        body = (route.get("directResponse") or {}).get("body") or {}
        if len((body.get("string") or body.get("bytes") or "").encode()) > _LARGE_BODY:
            yield "large direct_responses may impact control plane performance"
    for route in spec.get("tls") or ():
        for match in route.get("match") or ():
            for name in filter(common.is_address, match.get("sniHosts") or ()):
                address = f"using an IP address ({quote(name)})"
                yield f"{address} goes against SNI spec and most clients do not support this"
    yield from map(str, unused(spec))


def _gateways(spec: Object) -> Iterator[str]:
    for name in spec.get("gateways") or ():
        first, dot, rest = name.partition(".")
        if dot and "/" not in name:
            preferred = f"{rest.partition('.')[0]}/{first}"
            advice = f"prefer the <namespace>/<name> format: {quote(preferred)}"
            yield f"using legacy gatewayName format {quote(name)}; {advice}"


def _destination_rule(spec: Object) -> Iterator[str]:
    policies = [spec.get("trafficPolicy"), *(subset.get("trafficPolicy") for subset in spec.get("subsets") or ())]
    for policy in filter(None, policies):
        yield from chain.from_iterable(map(_traffic_policy, [policy, *(policy.get("portLevelSettings") or ())]))


def _traffic_policy(policy: Object) -> Iterator[str]:
    balancer = policy.get("loadBalancer") or {}
    if (policy.get("outlierDetection") or {}).get("consecutiveErrors"):
        advice = "use consecutiveGatewayErrors or consecutive5xxErrors instead"
        yield f"outlier detection consecutive errors is deprecated, {advice}"
    if (balancer.get("consistentHash") or {}).get("minimumRingSize"):
        advice = "use ConsistentHashLB's RingHash configuration instead"
        yield f"consistent hash MinimumRingSize is deprecated, {advice}"
    for name in ("localityLbSetting", "zoneAwareLbSetting"):
        setting = balancer.get(name) or {}
        if (setting.get("failover") or setting.get("failoverPriority")) and "outlierDetection" not in policy:
            yield _FAILOVER


def _service_entry(obj: Object, spec: Object) -> Iterator[str]:
    resolution, hosts = spec.get("resolution") or "NONE", spec.get("hosts") or []
    protocols = [(port.get("protocol") or "").lower() for port in spec.get("ports") or ()]
    yield from _workload_selector(spec, "service entry")
    if resolution != "DYNAMIC_DNS":
        for host in hosts:
            if "*" in host and not host.startswith("*."):
                yield f"partial wildcard {quote(host)} not allowed"
    if not spec.get("addresses") and not is_autoallocated(obj):
        for _ in filter(lambda protocol: protocol in ("", "tcp"), protocols):
            serving = "addresses are required for ports serving TCP (or unset) protocol"
            yield f"{serving} when IP Autoallocation is not enabled"
    if resolution == "NONE" and "workloadSelector" in spec:
        yield "workloadSelector should not be set when resolution mode is NONE"
    if resolution == "STATIC":
        yield from chain.from_iterable(map(_workload, spec.get("endpoints") or ()))
    shared = resolution in ("DNS", "DNS_ROUND_ROBIN") and spec.get("addresses") and len(hosts) > 1
    if shared and any(protocol in _TCP for protocol in protocols):
        yield "service entry can not have more than one host specified simultaneously with address and tcp port"


def _workload(entry: Object) -> Iterator[str]:
    if not entry.get("address") and entry.get("network"):
        yield f"address is unset with network {quote(entry['network'])}"


def _key_sets(spec: Object) -> Iterator[str]:
    for rule in spec.get("jwtRules") or ():
        for index, key in enumerate(_keys(rule.get("jwks") or "{}")):
            if isinstance(key, dict) and _PRIVATE.get(key.get("kty", "")) in key:
                only = "only public keys are used for verification"
                yield f"jwks key at index {index} contains private key material; {only}"


def _keys(text: str) -> list[Any]:
    """None where an API without a webhook has stored what are no keys."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    keys = found.get("keys", [found]) if isinstance(found, dict) else []
    return keys if isinstance(keys, list) else []


def _telemetry(spec: Object) -> Iterator[str]:
    tracing = spec.get("tracing") or []
    if len(tracing) > 1:
        yield "multiple tracing is not currently supported"
    for one in tracing:
        if len(one.get("providers") or ()) > 1:
            yield "multiple providers is not currently supported"
    for metrics in spec.get("metrics") or ():
        for override in metrics.get("overrides") or ():
            if "" in (override.get("tagOverrides") or {}):
                yield "tagOverrides.name may not be empty"
