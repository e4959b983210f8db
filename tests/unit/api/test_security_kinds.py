"""AuthorizationPolicy, RequestAuthentication and PeerAuthentication at the API: what is refused, in whose words."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from support.api_samples import DROP, spoiled

POLICY: Object = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "viewer", "namespace": "hello"},
    "spec": {
        "targetRefs": [{"kind": "Service", "group": "", "name": "helloworld"}],
        "action": "ALLOW",
        "rules": [
            {
                "from": [{"source": {"principals": ["cluster.local/ns/test/sa/curl"]}}],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/hello", "/users/{*}"]}}],
                "when": [{"key": "request.headers[x]", "values": ["1"]}],
            }
        ],
    },
}
TOKENS: Object = {
    "apiVersion": "security.istio.io/v1",
    "kind": "RequestAuthentication",
    "metadata": {"name": "tokens", "namespace": "hello"},
    "spec": {
        "targetRefs": [{"kind": "Service", "group": "", "name": "helloworld"}],
        "jwtRules": [{"issuer": "me", "jwksUri": "https://example.com/keys"}],
    },
}
PEERS: Object = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "strict", "namespace": "hello"},
    "spec": {
        "selector": {"matchLabels": {"app": "x"}},
        "mtls": {"mode": "STRICT"},
        "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}},
    },
}
RULE = "spec.rules.0"
SOURCE, OPERATION, WHEN = f"{RULE}.from.0.source", f"{RULE}.to.0.operation", f"{RULE}.when.0"
WEBHOOK = 'admission webhook "validation.istio.io" denied the request: configuration is invalid: '

LONG = "9" * 5000
"""More digits than int() takes."""

POLICIES: list[tuple[str, Any, str]] = [
    ("spec.selector", {"matchLabels": {"a": "b"}}, "only one of targetRefs or selector can be set"),
    ("spec.targetRefs.0.namespace", "other", "cross namespace referencing is not currently supported"),
    (
        "spec.targetRefs.0.kind",
        "Pod",
        f"{WEBHOOK}invalid policy viewer.hello: targetRef must be to one of [core/v1/Service "
        "networking.istio.io/v1/ServiceEntry gateway.networking.k8s.io/v1/Gateway "
        "gateway.networking.k8s.io/v1/GatewayClass] but was /Pod",
    ),
    ("spec.action", "PERMIT", 'supported values: "ALLOW", "DENY", "AUDIT", "CUSTOM"'),
    ("spec.action", "CUSTOM", "invalid policy viewer.hello: `provider.name` must not be empty"),
    ("spec.provider", {"name": "p"}, "`provider` must not be with non CUSTOM action, found ALLOW"),
    ("spec", {"action": "DENY"}, "DENY action without `rules` is meaningless as it will never be triggered"),
    (f"{SOURCE}", DROP, "`from.source` must not be nil, found at rule 0"),
    (f"{SOURCE}", {}, "`from.source` must not be empty, found at rule 0"),
    (f"{SOURCE}.serviceAccounts", ["a"], "Cannot set serviceAccounts with namespaces or principals"),
    (f"{SOURCE}", {"serviceAccounts": ["a/b/c"]}, "expected format 'serviceAccount' or 'namespace/serviceAccount'"),
    (f"{SOURCE}", {"serviceAccounts": ["*"]}, "wildcard not allowed, found in ServiceAccounts"),
    (f"{SOURCE}.trustDomains", [""], "empty value not allowed, found in TrustDomains"),
    (f"{SOURCE}.trustDomains", ["*.a.*"], 'at most one wildcard is allowed, found in TrustDomains: "*.a.*"'),
    (f"{SOURCE}.trustDomains", ["a*b"], 'wildcard is only allowed at the start or end, found in TrustDomains: "a*b"'),
    (f"{SOURCE}.notTrustDomains", ["a/ns"], "trust domain must not contain '/', found in NotTrustDomains: \"a/ns\""),
    *(
        (f"{SOURCE}.ipBlocks", [value], f'bad CIDR range ({value}): netip.ParsePrefix("{value}"): {problem}')
        for value, problem in (
            ("10.0.0.0/33", "prefix length out of range"),
            ("10.0.0.0/08", 'bad bits after slash: "08"'),
            ("10.0.0.0/255.0.0.0", 'bad bits after slash: "255.0.0.0"'),
            ("10.0.0.256/8", 'ParseAddr("10.0.0.256"): IPv4 field has value >255'),
            ("1.2.3/8", 'ParseAddr("1.2.3"): IPv4 address too short'),
            (f"1.2.3.{LONG}/8", f'ParseAddr("1.2.3.{LONG}"): IPv4 field has value >255'),
            ("01.2.3.4/8", 'ParseAddr("01.2.3.4"): IPv4 field has octet with leading zero'),
            ("1.2.x.4/8", 'ParseAddr("1.2.x.4"): unexpected character (at "x.4")'),
            ("fe80::1%eth0/64", "IPv6 zones cannot be present in a prefix"),
            ("fd00::/129", "prefix length out of range"),
        )
    ),
    (f"{SOURCE}.remoteIpBlocks", ["nowhere"], "bad IP address (nowhere)"),
    (f"{SOURCE}.namespaces", [""], "empty value not allowed, found in Namespaces"),
    (f"{OPERATION}", DROP, "`to.operation` must not be nil, found at rule 0"),
    (f"{OPERATION}", {}, "`to.operation` must not be empty, found at rule 0"),
    (f"{OPERATION}.ports", ["http"], 'bad port (http): strconv.ParseUint: parsing "http": invalid syntax'),
    (f"{OPERATION}.ports", ["70000"], "bad port (70000)"),
    (f"{OPERATION}.ports", ["²"], "bad port (²)"),
    (f"{OPERATION}.ports", [LONG], f"bad port ({LONG})"),
    (f"{OPERATION}.paths", ["/{**}/a/{*}"], "found in Paths. {**} is not the last operator"),
    (f"{OPERATION}.paths", ["/{id}"], "Contains '{' or '}' beyond a supported path template"),
    (f"{OPERATION}.notPaths", ["/{*}/a*"], "Contains segment a* with invalid string literal"),
    (f"{WHEN}.key", "", "`key` must not be empty"),
    (f"{WHEN}.values", DROP, "at least one of `values` or `notValues` must be set for key request.headers[x]"),
    (f"{WHEN}.key", "request.headers", "bad key (request.headers): should have format a[b]"),
    (f"{WHEN}.key", "moon.phase", "invalid `value` for `key` moon.phase: unknown attribute: moon.phase"),
    (f"{WHEN}.key", "destination.labels[a]", "is replaced by the workload selector"),
    (f"{WHEN}.key", "destination.namespace", "is replaced by the metadata.namespace"),
    (f"{WHEN}.key", "destination.user", "deprecated attribute destination.user: only supported in v1alpha1"),
    (f"{WHEN}.key", "source.ip", "bad IP address (1)"),
]
AUTHENTICATIONS: list[tuple[str, Any, str]] = [
    ("spec.jwtRules.0.jwks", "{}", "only one of jwks or jwksUri can be set"),
    ("spec.jwtRules.0.jwksUri", "ftp://example.com", "url must have scheme http:// or https://"),
    ("spec.jwtRules.0.jwksUri", "nonsense", "spec.jwtRules[0].jwksUri: Invalid value"),
    ("spec.jwtRules.0", {"issuer": "me", "jwks": "{"}, "jwks parse error: failed to unmarshal JWK set"),
    ("spec.jwtRules.0", {"issuer": "me", "jwks": '{"keys": [{}]}'}, "jwks parse error"),
    ("spec.jwtRules.0", {"issuer": "me", "jwks": "[" * 50_000}, "jwks parse error"),
    ("spec.jwtRules.0", {"issuer": "me", "jwks": LONG}, "jwks parse error"),
    ("spec.jwtRules.0", {"audiences": ["a"]}, "issuer or jwksUri must be non-empty string"),
    ("spec.jwtRules.0.timeout", "1us", "must be a valid duration greater than 1ms"),
    ("spec.jwtRules.0.outputClaimToHeaders", [{"claim": "a", "header": "b c"}], "should match '^[-_A-Za-z0-9]+$'"),
    ("spec.jwtRules.0.fromCookies", [""], "should be at least 1 chars long"),
]
PEER: list[tuple[str, Any, str]] = [
    ("spec.selector", DROP, "portLevelMtls requires selector"),
    ("spec.portLevelMtls", {"99999": {}}, "port must be between 1-65535"),
    ("spec.portLevelMtls", {"0" * 5000 + "80": {}}, "port must be in range 1..65535"),
    ("spec.mtls.mode", "ON", 'supported values: "UNSET", "DISABLE", "PERMISSIVE", "STRICT"'),
    ("spec.selector.matchLabels", {"a": "b*"}, "wildcard not allowed in label value match"),
]


@pytest.mark.parametrize(("path", "value", "text"), POLICIES, ids=[case[2][:60] for case in POLICIES])
def test_a_policy_is_refused(refusal, admitted, path, value, text) -> None:
    admitted(kinds.AUTHORIZATIONPOLICY, POLICY)
    assert text in refusal(kinds.AUTHORIZATIONPOLICY, spoiled(POLICY, path, value)).message


@pytest.mark.parametrize("name", ["namespaces", "principals", "requestPrincipals", "serviceAccounts"])
def test_a_provider_is_not_asked_about_who_the_client_is(refusal, name) -> None:
    custom = spoiled(POLICY, "spec", {"action": "CUSTOM", "provider": {"name": "p"}})
    custom["spec"]["rules"] = [{"from": [{"source": {name: ["x"]}}]}]
    title = name[0].upper() + name[1:]
    assert refusal(kinds.AUTHORIZATIONPOLICY, custom).message == (
        f"{WEBHOOK}invalid policy viewer.hello: From.{title} is currently not supported with CUSTOM action"
    )


@pytest.mark.parametrize(("path", "value", "text"), AUTHENTICATIONS, ids=[case[2][:60] for case in AUTHENTICATIONS])
def test_a_request_authentication_is_refused(refusal, admitted, path, value, text) -> None:
    admitted(kinds.REQUESTAUTHENTICATION, TOKENS)
    assert text in refusal(kinds.REQUESTAUTHENTICATION, spoiled(TOKENS, path, value)).message


@pytest.mark.parametrize(("path", "value", "text"), PEER, ids=[case[2][:60] for case in PEER])
def test_a_peer_authentication_is_refused(refusal, admitted, path, value, text) -> None:
    admitted(kinds.PEERAUTHENTICATION, PEERS)
    assert text in refusal(kinds.PEERAUTHENTICATION, spoiled(PEERS, path, value)).message
