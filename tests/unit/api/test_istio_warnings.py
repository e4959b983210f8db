"""What Istio's webhook lets pass and warns of, in which words; and what it has nothing to say to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.api.validation.semantic import webhook_warnings
from support.api_samples import DESTINATIONRULE, SERVICEENTRY, VIRTUALSERVICE, WORKLOADENTRY, spoiled

TO_V1 = [{"destination": {"host": "helloworld", "subset": "v1"}}]
FAILOVER = {"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}}
KEYS = {"keys": [{"kty": "RSA", "n": "a", "e": "AQAB"}, {"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": "c"}]}
TELEMETRY: Object = {
    "apiVersion": "telemetry.istio.io/v1",
    "kind": "Telemetry",
    "metadata": {"name": "t", "namespace": "hello"},
    "spec": {},
}
TOKENS: Object = {
    "apiVersion": "security.istio.io/v1",
    "kind": "RequestAuthentication",
    "metadata": {"name": "t", "namespace": "hello"},
    "spec": {"jwtRules": [{"issuer": "a"}]},
}
DENY: Object = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "a", "namespace": "hello"},
    "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["80"], "paths": ["/x"]}}]}]},
}
VS, DR, SE = kinds.VIRTUALSERVICE, kinds.DESTINATIONRULE, kinds.SERVICEENTRY


def http(*matches: list[Object] | None, names: str = "") -> list[Object]:
    """A route for each list of matches; `names` has a letter for each."""
    routes: list[Object] = [{"match": match, "route": TO_V1} if match else {"route": TO_V1} for match in matches]
    for route, name in zip(routes, names, strict=False):
        route["name"] = name
    return routes


def prefix(path: str, **more: Any) -> Object:
    return {"uri": {"prefix": path}, **more}


WARNED: list[tuple[Resource, Object, str, Any, list[str]]] = [
    (VS, VIRTUALSERVICE, "http", http(None, None), ["rule #1 not used (only the last rule can have no matches)"]),
    (
        VS,
        VIRTUALSERVICE,
        "http",
        http(None, [prefix("/a")], names="ab"),
        ['virtualService rule "b" not used (route without matches defined before)'],
    ),
    (
        VS,
        VIRTUALSERVICE,
        "http",
        http([prefix("/a", name="one")], [prefix("/a", name="two")]),
        [
            'virtualService rule #1 match "two" is not used (duplicate/overlapping match in rule #0)',
            "virtualService rule #1 not used (all matches used by prior rules)",
        ],
    ),
    (
        VS,
        VIRTUALSERVICE,
        "http",
        http([prefix("/a")], [prefix("/b"), prefix("/a/b")]),
        ["rule #1 match #1 of prefix /a/b is not used (duplicate/overlapping match in rule #0 of prefix /a on #0)"],
    ),
    (
        VS,
        VIRTUALSERVICE,
        "tls",
        [{"match": [{"sniHosts": ["10.0.0.1"]}], "route": TO_V1}],
        ['using an IP address ("10.0.0.1") goes against SNI spec and most clients do not support this'],
    ),
    (
        VS,
        VIRTUALSERVICE,
        "gateways",
        ["front.shop.svc.cluster.local", "mesh"],
        ['prefer the <namespace>/<name> format: "shop/front"'],
    ),
    (VS, VIRTUALSERVICE, "http.0.mirrorPercent", 5, ['using deprecated setting "mirrorPercent"']),
    (
        VS,
        VIRTUALSERVICE,
        "http.0.fault",
        {"abort": {"percentage": {"value": 1}}},
        ["abort configured, but error type not set"],
    ),
    (
        VS,
        VIRTUALSERVICE,
        "http.0",
        {"directResponse": {"status": 200, "body": {"string": "x" * 102_401}}},
        ["large direct_responses may impact control plane performance"],
    ),
    (
        DR,
        DESTINATIONRULE,
        "trafficPolicy",
        {"loadBalancer": FAILOVER},
        ["outlier detection policy must be provided for failover"],
    ),
    (
        DR,
        DESTINATIONRULE,
        "subsets.1.trafficPolicy",
        {"outlierDetection": {"consecutiveErrors": 3}},
        ["outlier detection consecutive errors is deprecated"],
    ),
    (
        DR,
        DESTINATIONRULE,
        "trafficPolicy",
        {"loadBalancer": {"consistentHash": {"useSourceIp": True, "minimumRingSize": 4}}},
        ["consistent hash MinimumRingSize is deprecated"],
    ),
    (SE, SERVICEENTRY, "hosts", ["*a.example.com"], ['partial wildcard "*a.example.com" not allowed']),
    (
        SE,
        spoiled(SERVICEENTRY, "metadata.labels", {"networking.istio.io/enable-autoallocate-ip": "false"}),
        "ports.0.protocol",
        "TCP",
        ["addresses are required for ports serving TCP (or unset) protocol when IP Autoallocation is not enabled"],
    ),
    (
        SE,
        SERVICEENTRY,
        "endpoints",
        [{"network": "far"}],
        ['address is unset with network "far"'],
    ),
    (
        SE,
        spoiled(SERVICEENTRY, "spec.endpoints", []),
        "workloadSelector",
        {},
        ["service entry: workload selector specified without labels, will be applied to all services in namespace"],
    ),
    (kinds.WORKLOADENTRY, WORKLOADENTRY, "", {"network": "far"}, ['address is unset with network "far"']),
    (
        kinds.REQUESTAUTHENTICATION,
        TOKENS,
        "jwtRules.0.jwks",
        json.dumps(KEYS),
        ["jwks key at index 1 contains private key material; only public keys are used for verification"],
    ),
    (
        kinds.AUTHORIZATIONPOLICY,
        DENY,
        "rules",
        [
            {"to": [{"operation": {"paths": ["/x"]}}]},
            {"from": [{"source": {"requestPrincipals": ["a"]}}]},
            {"from": [{"source": {"namespaces": ["a"]}}], "to": [{"operation": {"hosts": ["x"]}}]},
            {"to": [{"operation": {"hosts": ["x"]}}, {"operation": {"notPorts": ["80"]}}]},
            {"from": [{"source": {"notTrustDomains": ["a"], "notIpBlocks": ["10.0.0.1"]}}]},
            {"when": [{"key": "request.headers[a]", "values": ["b"]}]},
            {},
        ],
        3 * ["configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of"],
    ),
    (
        kinds.SIDECAR,
        {**DENY, "kind": "Sidecar", "spec": {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}},
        "workloadSelector",
        {},
        ["sidecar: workload selector specified without labels, will be applied to all services in namespace"],
    ),
    (kinds.REQUESTAUTHENTICATION, TOKENS, "selector", {}, ["workload selector specified without labels"]),
    (
        kinds.TELEMETRY,
        TELEMETRY,
        "tracing",
        [{"providers": [{"name": "a"}, {"name": "b"}]}, {}],
        ["multiple tracing is not currently supported", "multiple providers is not currently supported"],
    ),
]


IDS = [case[4][0][:60] for case in WARNED]


@pytest.mark.parametrize(("resource", "sample", "path", "value", "texts"), WARNED, ids=IDS)
def test_what_is_warned_of(resource: Resource, sample: Object, path: str, value: Any, texts: list[str]) -> None:
    assert webhook_warnings(resource, sample) == []
    said = webhook_warnings(resource, spoiled(sample, f"spec.{path}".rstrip("."), value))
    assert len(said) == len(texts), said
    assert all(text in one for text, one in zip(texts, said, strict=True)), said


@pytest.mark.parametrize(
    "routes",
    [
        http([prefix("/a/b")], [prefix("/a")], None),
        http([prefix("/a", port=80)], [prefix("/a/b", port=81)]),
        http([prefix("/a", headers={"x": {"exact": "1"}})], [prefix("/a/b")]),
        http([prefix("/a", method={"exact": "PUT"})], [prefix("/a/b")]),
        http([{"uri": {"regex": "/a.*"}}], [{"uri": {"exact": "/ab"}}]),
    ],
    ids=["narrow first", "other port", "other headers", "other method", "no prefixes"],
)
def test_rules_that_requests_reach_are_not_warned_of(routes: list[Object]) -> None:
    assert webhook_warnings(VS, spoiled(VIRTUALSERVICE, "spec.http", routes)) == []


def test_an_envoy_filter_is_always_warned_of() -> None:
    found = webhook_warnings(kinds.ENVOYFILTER, {"spec": {"configPatches": []}})
    advice = "Prefer other APIs if possible, and exercise extreme caution, especially around upgrades."
    assert found == [f"EnvoyFilter exposes internal implementation details that may change at any time. {advice}"]


@pytest.mark.parametrize("jwks", ["{", "[]", '{"keys": 1}', '{"keys": [1]}'])
def test_what_no_webhook_has_seen_is_passed_over(jwks: str) -> None:
    assert webhook_warnings(kinds.REQUESTAUTHENTICATION, spoiled(TOKENS, "spec.jwtRules.0.jwks", jwks)) == []
