"""DestinationRules at the API: what the schema and Istio's webhook refuse, level by level, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from support.api_samples import DESTINATIONRULE, spoiled

POOL = "connectionPool"
CERTIFICATES = {"clientCertificate": "/etc/c.pem", "privateKey": "/etc/k.pem"}
SKIP = {"insecureSkipVerify": True}
NOT_BOTH = "cannot specify client certificates or CA certificate or CA CRL If credentialName is set"

RULES = [
    ("host", "a..b", 'invalid (label "" invalid)'),
    ("trafficPolicy", {}, "traffic policy must have at least one field"),
    ("subsets.1.name", "v1", "duplicate subset names: v1"),
    ("subsets.0.name", "", "subset name cannot be empty"),
    ("subsets.0.name", "v 1", "subset name is invalid: v 1"),
    ("subsets.0.labels", {"a": "b c"}, 'invalid tag value: "b c"'),
    ("subsets.0.trafficPolicy", {}, "traffic policy must have at least one field"),
    ("exportTo", ["hello", "."], "duplicate entries in exportTo: . and current namespace hello"),
    ("exportTo", ["a", "a"], "duplicate entries in exportTo for entry a"),
    ("exportTo", ["*", "a"], "cannot have both public (*) and non-public exportTo values for a resource"),
    ("workloadSelector", {"matchLabels": {"": "a"}}, "key must not be empty"),
]


@pytest.mark.parametrize(("path", "value", "text"), RULES, ids=[case[2][:60] for case in RULES])
def test_what_is_refused_of_a_rule(refusal, admitted, path: str, value: object, text: str) -> None:
    admitted(kinds.DESTINATIONRULE, DESTINATIONRULE)
    assert text in refusal(kinds.DESTINATIONRULE, spoiled(DESTINATIONRULE, f"spec.{path}", value)).message


@pytest.mark.parametrize(
    ("exported", "text"),
    [
        (["other"], "destination rule with workload selector cannot have exportTo beyond current namespace"),
        ([".", "other"], "destination rule with workload selector cannot have multiple entries in exportTo"),
        (["."], None),
    ],
)
def test_a_rule_for_some_workloads_stays_in_its_namespace(refusal, admitted, exported, text: str | None) -> None:
    rule = spoiled(DESTINATIONRULE, "spec.workloadSelector", {"matchLabels": {"a": "b"}})
    rule = spoiled(rule, "spec.exportTo", exported)
    if text is None:
        admitted(kinds.DESTINATIONRULE, rule)
    else:
        assert text in refusal(kinds.DESTINATIONRULE, rule).message


def _http(**settings: Any) -> Object:
    return {POOL: {"http": settings}}


def _tcp(**settings: Any) -> Object:
    return {POOL: {"tcp": settings}}


def _outliers(**settings: Any) -> Object:
    return {"outlierDetection": settings}


def _hash(**settings: Any) -> Object:
    return {"loadBalancer": {"consistentHash": settings}}


def _cookie(*attributes: str, name: str = "c") -> Object:
    return _hash(httpCookie={"name": name, "ttl": "0s", "attributes": [{"name": one} for one in attributes]})


def _localities(**settings: Any) -> Object:
    return {"loadBalancer": {"localityLbSetting": settings}}


def _zones(**settings: Any) -> Object:
    return {"loadBalancer": {"zoneAwareLbSetting": settings}}


def _shares(*shares: Object) -> Object:
    return _localities(distribute=[{"from": f"from{index}", "to": to} for index, to in enumerate(shares)])


def _tls(mode: str, **settings: Any) -> Object:
    return {"tls": {"mode": mode} | settings}


LEVELS = [
    (_outliers(maxEjectionPercent=101), "percentage 101 is not in range 0..100"),
    (_outliers(minHealthPercent=-1), "percentage -1 is not in range 0..100"),
    (_outliers(consecutiveLocalOriginFailures=1), "split external local origin errors is set to false"),
    (_outliers(interval="1.5ms"), "only durations to ms precision are supported"),
    ({POOL: {}}, "connection pool must have at least one field"),
    (_http(http1MaxPendingRequests=-1), "http1 max pending requests must be non-negative"),
    (_http(http2MaxRequests=-1), "http2 max requests must be non-negative"),
    (_http(maxRequestsPerConnection=-1), "max requests per connection must be non-negative"),
    (_http(maxRetries=-1), "max retries must be non-negative"),
    (_http(maxConcurrentStreams=-1), "max concurrent streams must be non-negative"),
    (_http(idleTimeout="1.5ms"), "only durations to ms precision are supported"),
    (
        _http(h2UpgradePolicy="UPGRADE", useClientProtocol=True),
        "use client protocol must not be true when H2UpgradePolicy is UPGRADE",
    ),
    (_http(http2KeepAlive={"interval": "1s"}), "http2 keepalive timeout is required"),
    (_http(http2KeepAlive={"timeout": "1s"}), "http2 keepalive interval is required"),
    (_tcp(maxConnections=-1), "max connections must be non-negative"),
    (_tcp(connectTimeout="1.5ms"), "only durations to ms precision are supported"),
    (_tcp(maxConnectionDuration="1.5ms"), "only durations to ms precision are supported"),
    (_tcp(tcpKeepalive={"time": "1.5ms"}), "only durations to ms precision are supported"),
    (_cookie(name=""), "name required for HttpCookie"),
    (_hash(httpCookie={"name": "c", "ttl": "soon"}), 'bad Duration: time: invalid duration "soon"'),
    (_cookie(""), "cookie attribute name cannot be empty"),
    (_cookie("Secure", "Secure"), "duplicate cookie attribute name: Secure"),
    (
        _hash(useSourceIp=True, minimumRingSize=8, ringHash={}),
        "only one of MinimumRingSize or Maglev/Ringhash can be specified",
    ),
    (_hash(useSourceIp=True, maglev={"tableSize": 0}), "tableSize must be set for maglev"),
    (_hash(useSourceIp=True, maglev={"tableSize": 4}), "tableSize must be a prime number for maglev"),
    (_hash(useSourceIp=True, maglev={"tableSize": 5000011}), "tableSize must be less than 5000011 for maglev"),
    (
        {"loadBalancer": {"localityLbSetting": {}, "zoneAwareLbSetting": {}}},
        "only one of localityLbSetting and zoneAwareLbSetting can be set",
    ),
    ({"loadBalancer": {"warmup": {"duration": "9s", "aggression": 0}}}, "aggression should be greater than 0"),
    (
        _localities(distribute=[{"from": "a", "to": {"a": 100}}], failover=[{"from": "a", "to": "b"}]),
        "can not simultaneously specify 'distribute' and 'failover'",
    ),
    (
        _localities(failover=[{"from": "a", "to": "b"}], failoverPriority=["topology.istio.io/subzone"]),
        "can not simultaneously set 'failover' and topology label 'topology.istio.io/subzone' in 'failover_priority'",
    ),
    (_localities(failover=[{"from": "a", "to": "a"}]), "locality lb failover settings must specify different regions"),
    (_localities(failover=[{"from": "a/b", "to": "c"}]), "locality lb failover only specify region"),
    (_localities(failover=[{"from": "a", "to": "*"}]), "locality lb failover region should not contain '*' wildcard"),
    (_shares({"a": 101}), "locality weight must be in range [1, 100]"),
    (_shares({"a": 40, "b": 40}), "total locality weight 80 != 100"),
    (_shares({"a*b": 100}), "locality a*b wildcard '*' number can not exceed 1 and must be in the end"),
    (_shares({"a//b": 100}), "locality a//b must not contain empty region/zone/subzone info"),
    (_shares({"*": 50, "a": 50}), "locality a overlap with previous specified ones"),
    (_shares({"a": 50, "a/b": 50}), "locality a/b overlap with previous specified ones"),
    (_shares({"a/b/c": 50, "a/b": 50}), "locality a/b overlap with previous specified ones"),
    (_shares({"a/b": 50, "a/b/c": 50}), "locality a/b/c overlap with previous specified ones"),
    (_shares({"a/*": 50, "a/b/c": 50}), "locality a/b/c overlap with previous specified ones"),
    (
        _localities(distribute=[{"from": one, "to": {"a": 100}} for one in ("a/b", "a")]),
        "locality a overlap with previous specified ones",
    ),
    (
        _zones(failoverPriority=["topology.kubernetes.io/zone"]),
        "must not use topology label 'topology.kubernetes.io/zone'; region- and zone-level routing are handled",
    ),
    (_zones(failover=[{"from": "a", "to": "a"}]), "zone aware lb failover settings must specify different regions"),
    (_zones(failover=[{"from": "a", "to": "b/c"}]), "zone aware lb failover only specifies region; zone and subzone"),
    (_zones(failover=[{"from": "*", "to": "b"}]), "zone aware lb failover region should not contain '*' wildcard"),
    (_tls("MUTUAL", privateKey="/etc/k.pem"), "client certificate required for mutual tls"),
    (_tls("MUTUAL", clientCertificate="/etc/c.pem"), "private key required for mutual tls"),
    (_tls("MUTUAL", credentialName="c", **CERTIFICATES), NOT_BOTH),
    (_tls("SIMPLE", credentialName="c", caCrl="/etc/crl.pem"), NOT_BOTH),
    (
        _tls("SIMPLE", credentialName="c", **SKIP),
        "cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true",
    ),
    (
        _tls("MUTUAL", subjectAltNames=["a"], **CERTIFICATES, **SKIP),
        "cannot specify CaCertificates or SubjectAltNames when InsecureSkipVerify is set true",
    ),
    (
        _tls("SIMPLE", credentialName="configmap://ca"),
        'invalid configmap:// credentialName: invalid resource name "configmap://ca". Expected namespace and name',
    ),
    (
        _tls("SIMPLE", credentialName="configmap:///ca"),
        'invalid configmap:// credentialName: invalid resource name "configmap:///ca". Expected namespace',
    ),
    (
        _tls("SIMPLE", credentialName="configmap://other/ca"),
        'invalid configmap:// credentialName: namespace must match the configuration namespace "hello"',
    ),
]


@pytest.mark.parametrize("level", ["trafficPolicy", "portLevelSettings", "subsets"])
@pytest.mark.parametrize(("policy", "text"), LEVELS, ids=[case[1][:60] for case in LEVELS])
def test_what_is_refused_of_a_policy_at_any_level(refusal, level: str, policy: Object, text: str) -> None:
    specs: dict[str, Object] = {
        "trafficPolicy": {"host": "a", "trafficPolicy": policy},
        "portLevelSettings": {
            "host": "a",
            "trafficPolicy": {"portLevelSettings": [policy | {"port": {"number": 80}}]},
        },
        "subsets": {"host": "a", "subsets": [{"name": "v1", "trafficPolicy": policy}]},
    }
    assert text in refusal(kinds.DESTINATIONRULE, DESTINATIONRULE | {"spec": specs[level]}).message


TOPS = [
    ({"portLevelSettings": [{"tls": {}}]}, "portTrafficPolicy must have valid port"),
    ({"portLevelSettings": [{"port": {"number": 80}}]}, "port traffic policy must have at least one field"),
    (
        {"tunnel": {"targetHost": "a.b", "targetPort": 1}, "proxyProtocol": {}},
        "tunnel and proxyProtocol must not be set together",
    ),
    ({"tunnel": {"targetHost": "a.b", "targetPort": 1, "protocol": "GET"}}, 'protocol must be "CONNECT" or "POST"'),
    ({"tunnel": {"targetHost": "a b", "targetPort": 1}}, "tunnel target host must be valid FQDN or IP address: "),
    (
        {"tunnel": {"targetHost": "a.b", "targetPort": 0}},
        "tunnel target port is invalid: port number 0 must be in the range 1..65535",
    ),
]


@pytest.mark.parametrize(("policy", "text"), TOPS, ids=[case[1][:60] for case in TOPS])
def test_what_is_refused_of_the_rest_of_a_policy(refusal, policy: Object, text: str) -> None:
    wrong = spoiled(DESTINATIONRULE, "spec.trafficPolicy", policy)
    assert text in refusal(kinds.DESTINATIONRULE, wrong).message


GOOD = [
    _hash(useSourceIp=True, maglev={"tableSize": 65537}),
    _cookie("Secure", "SameSite"),
    _tcp(idleTimeout="0s"),
    _shares({"a/b/c": 50, "a/b/d": 25, "a/c/*": 25}, {"*": 100}),
    _localities(failover=[{"from": "a", "to": "b"}], failoverPriority=["rack"]),
    _zones(failover=[{"from": "a", "to": "b"}], failoverPriority=["rack"], minClusterSize=2),
    _tls("SIMPLE", credentialName="configmap://hello/ca"),
    _tls("MUTUAL", credentialName="client"),
    _tls("MUTUAL", **CERTIFICATES, **SKIP),
    {"retryBudget": {"percent": 20}},
    {"proxyProtocol": {"version": "V2"}},
]


@pytest.mark.parametrize("policy", GOOD)
def test_what_is_taken(admitted, policy: Object) -> None:
    admitted(kinds.DESTINATIONRULE, spoiled(DESTINATIONRULE, "spec.trafficPolicy", policy))
