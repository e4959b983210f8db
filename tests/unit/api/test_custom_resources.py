"""Custom resources: schema, list keys, CEL rules, and Istio's webhook."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ambientlab.api import admit, crds, kinds
from ambientlab.api.errors import StatusError
from ambientlab.api.registry import Registry
from support.api_samples import (
    BACKENDTLSPOLICY,
    DROP,
    GATEWAY,
    HTTPROUTE,
    SERVICEENTRY,
    VIRTUALSERVICE,
    WORKLOADENTRY,
    spoiled,
)

B = "spec.rules.0.backendRefs.0"
UNCHECKED = (
    ", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the "
    "existing errors to complete validation]"
)
W = "spec.rules[0].backendRefs[0].weight"

SCHEMA = [
    (f"{B}.weight", -5, f"{W}: Invalid value: -5: {W} in body should be greater than or equal to 0"),
    (f"{B}.weight", 1_000_001, f"{W}: Invalid value: 1000001: {W} in body should be less than or equal to 1e+06"),
    (f"{B}.weight", "5", f'[{W}: Invalid value: "string": {W} in body must be of type integer: "string"{UNCHECKED}'),
    (f"{B}.weight", 0.5, f'[{W}: Invalid value: "number": {W} in body must be of type integer: "number"{UNCHECKED}'),
    (f"{B}.name", DROP, f"[spec.rules[0].backendRefs[0].name: Required value{UNCHECKED}"),
    (
        f"{B}.name",
        "",
        'spec.rules[0].backendRefs[0].name: Invalid value: "": spec.rules[0].backendRefs[0].name in body should be at '
        "least 1 chars long",
    ),
    (
        f"{B}.port",
        DROP,
        'spec.rules[0].backendRefs[0]: Invalid value: "object": Must have port for Service reference',
    ),
    (
        "spec.hostnames",
        ["no_host"],
        'spec.hostnames[0]: Invalid value: "no_host": spec.hostnames[0] in body should match '
        r"'^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'",
    ),
    ("spec.hostnames", ["a.example"] * 17, f"[spec.hostnames: Too many: 17: must have at most 16 items{UNCHECKED}"),
    ("spec.rules", [], "spec.rules: Invalid value: 0: spec.rules in body should have at least 1 items"),
    (
        "spec.rules.0.matches",
        [{"method": "FETCH"}],
        '[spec.rules[0].matches[0].method: Unsupported value: "FETCH": supported values: "GET", "HEAD", "POST", "PUT", '
        f'"DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"{UNCHECKED}',
    ),
    (
        "spec.rules.0.matches",
        [{"path": {"value": "x" * 1025}}],
        f"[spec.rules[0].matches[0].path.value: Too long: may not be more than 1024 bytes{UNCHECKED}",
    ),
    (
        "spec.rules.0.matches",
        [{"headers": [{"name": "a", "value": "b"}, {"name": "a", "value": "c"}]}],
        'spec.rules[0].matches[0].headers[1]: Duplicate value: {"name":"a"}',
    ),
    (
        "spec.rules.0.matches",
        [{"path": {"value": "x"}}],
        "spec.rules[0].matches[0].path: Invalid value: \"object\": value must be an absolute path and start with '/' "
        "when type one of ['Exact', 'PathPrefix']",
    ),
    (
        "spec.rules.0.filters",
        [{"type": "URLRewrite"}],
        'spec.rules[0].filters[0]: Invalid value: "object": filter.urlRewrite must be specified for URLRewrite '
        "filter.type",
    ),
    (
        "spec.rules.0.timeouts",
        {"request": "1s", "backendRequest": "2s"},
        'spec.rules[0].timeouts: Invalid value: "object": backendRequest timeout cannot be longer than request timeout',
    ),
    (
        "spec.parentRefs.1",
        {"group": "", "kind": "Service", "name": "helloworld", "port": 5000},
        'spec.parentRefs: Invalid value: "array": sectionName or port must be unique when parentRefs includes 2 or '
        "more references to the same parent",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), SCHEMA, ids=[case[2][:70] for case in SCHEMA])
def test_a_wrong_route_is_refused(refusal, path, value, message) -> None:
    error = refusal(kinds.HTTPROUTE, spoiled(HTTPROUTE, path, value))
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == f'HTTPRoute.gateway.networking.k8s.io "split" is invalid: {message}'


GRPC_METHOD = "spec.rules.0.matches.0.method"
GRPC = [
    (
        GRPC_METHOD,
        {"type": "Exact"},
        "method: Invalid value: \"object\": One or both of 'service' or 'method' must be specified",
    ),
    (
        GRPC_METHOD,
        {"service": "hello/Greeter"},
        'method: Invalid value: "object": service must only contain valid characters (matching '
        r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$)",
    ),
    (
        GRPC_METHOD,
        {"method": "Say.Hello"},
        'method: Invalid value: "object": method must only contain valid characters (matching '
        "^[A-Za-z_][A-Za-z_0-9]*$)",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), GRPC, ids=["neither", "service", "method"])
def test_a_wrong_method_is_refused(refusal, admitted, path, value, message) -> None:
    route = {"metadata": {"name": "greeter", "namespace": "hello"}, "spec": {"rules": [{"matches": [{}]}]}}
    admitted(kinds.GRPCROUTE, spoiled(route, path, {"service": "hello.Greeter", "method": "SayHello"}))
    admitted(kinds.GRPCROUTE, spoiled(route, path, {"type": "RegularExpression", "service": "hello[.].*"}))
    error = refusal(kinds.GRPCROUTE, spoiled(route, path, value))
    assert (
        error.message == f'GRPCRoute.gateway.networking.k8s.io "greeter" is invalid: spec.rules[0].matches[0].{message}'
    )


TLS_ROUTE: dict[str, Any] = {
    "metadata": {"name": "tls", "namespace": "hello"},
    "spec": {"hostnames": ["a.example", "*.b.example"], "rules": [{"backendRefs": [{"name": "v1", "port": 443}]}]},
}
CONNECTIONS = [
    (
        kinds.TLSROUTE,
        "spec.hostnames",
        ["10.0.0.1"],
        'spec.hostnames: Invalid value: "array": Hostnames cannot contain',
    ),
    (
        kinds.TLSROUTE,
        "spec.hostnames",
        [],
        "spec.hostnames: Invalid value: 0: spec.hostnames in body should have at least",
    ),
    (
        kinds.TLSROUTE,
        "spec.rules.1",
        {"backendRefs": [{"name": "a", "port": 1}]},
        "spec.rules: Too many: 2: must have at",
    ),
    (kinds.TCPROUTE, "spec.rules.0", {}, "spec.rules[0].backendRefs: Required value"),
    (kinds.TCPROUTE, "spec.rules", [], "spec.rules: Invalid value: 0: spec.rules in body should have at least 1 items"),
    (kinds.TCPROUTE, "spec.rules.0.backendRefs.0", {"name": "a"}, "Must have port for Service reference"),
]


@pytest.mark.parametrize(("resource", "path", "value", "message"), CONNECTIONS)
def test_a_wrong_route_of_connections_is_refused(refusal, admitted, resource, path, value, message) -> None:
    route = TLS_ROUTE
    if resource is kinds.TCPROUTE:
        route = {**TLS_ROUTE, "spec": {"rules": TLS_ROUTE["spec"]["rules"]}}
    admitted(resource, route)
    assert message in refusal(resource, spoiled(route, path, value)).message


OLD = [replace(kinds.TCPROUTE, version="v1alpha2"), replace(kinds.TLSROUTE, version="v1alpha2")]


@pytest.mark.parametrize("old", OLD, ids=lambda resource: resource.kind)
def test_what_an_older_version_has_taken_may_stay(registry, refusal, admitted, old) -> None:
    """Until v1 a route of connections had up to 16 rules. One that has two can be read as v1, and gets its status
    there; its rules can become one, and nothing else that v1 has no place for."""
    resource = registry.storage(old)
    assert resource.version == "v1"
    hosts = {"hostnames": ["a.example"]} if old.kind == "TLSRoute" else {}
    rules = [{"backendRefs": [{"name": name, "port": 1}]} for name in ("a", "b", "c")]
    route: dict[str, Any] = {"metadata": {"name": "several", "namespace": "hello"}}
    taken = admitted(old, {**route, "spec": {**hosts, "rules": rules[:2]}}) | {"apiVersion": resource.api_version}
    assert admitted(resource, spoiled(taken, "status.parents", []), old=taken)["status"] == {"parents": []}
    message = refusal(resource, spoiled(taken, "status.parents", [{}]), old=taken).message
    assert "status.parents[0].parentRef: Required value" in message
    assert "Too many: 3" in refusal(resource, spoiled(taken, "spec.rules", rules), old=taken).message
    assert "Too many: 2" in refusal(resource, spoiled(taken, "spec.rules.0", rules[2]), old=taken).message
    admitted(resource, spoiled(taken, "spec.rules", rules[:1]), old=taken)


def test_rules_have_names_of_their_own(refusal) -> None:
    rules = [{"name": "one"}, {"name": "two"}, {"name": "one"}]
    message = refusal(kinds.HTTPROUTE, spoiled(HTTPROUTE, "spec.rules", rules)).message
    assert message.endswith('spec.rules: Invalid value: "array": Rule name must be unique within the route')


def test_the_same_namespace_twice_is_seen_by_an_escaped_rule(refusal) -> None:
    """`__namespace__` in a rule is the field `namespace`."""
    parents = [{"name": "g", "namespace": "a"}, {"name": "g", "namespace": "a"}]
    message = refusal(kinds.HTTPROUTE, spoiled(HTTPROUTE, "spec.parentRefs", parents)).message
    assert "sectionName or port must be unique" in message


def test_parents_in_two_namespaces_are_two_parents(admitted) -> None:
    parents = [{"name": "g", "namespace": "a"}, {"name": "g", "namespace": "b"}]
    admitted(kinds.HTTPROUTE, spoiled(HTTPROUTE, "spec.parentRefs", parents))


def test_a_transition_rule_holds_on_update_only(admitted, refusal) -> None:
    gateway_class = {"metadata": {"name": "istio"}, "spec": {"controllerName": "istio.io/gateway-controller"}}
    old = admitted(kinds.GATEWAYCLASS, gateway_class)
    admitted(kinds.GATEWAYCLASS, gateway_class, old=old)
    error = refusal(kinds.GATEWAYCLASS, spoiled(gateway_class, "spec.controllerName", "istio.io/other"), old=old)
    assert error.message.endswith('spec.controllerName: Invalid value: "string": Value is immutable')


def test_addresses_are_told_apart_by_their_type(admitted, refusal) -> None:
    def gateway(kind: str, value: str):
        return spoiled(GATEWAY, "spec.addresses", [{"type": kind, "value": value}])

    admitted(kinds.GATEWAY, gateway("IPAddress", "10.96.0.3"))
    admitted(kinds.GATEWAY, gateway("IPAddress", "fd00::1"))
    admitted(kinds.GATEWAY, gateway("Hostname", "gw.example"))
    assert (
        '"spec.addresses[0]" must validate one and only one schema (oneOf). Found none valid'
        in refusal(kinds.GATEWAY, gateway("IPAddress", "here")).message
    )


DENIED = 'admission webhook "validation.istio.io" denied the request: configuration is invalid: '
R = "spec.http.0"
VIRTUALSERVICES = [
    ("spec.http", [], "http, tcp or tls must be provided in virtual service"),
    ("spec.hosts", ["*"], "wildcard host * is not allowed for virtual services bound to the mesh gateway"),
    ("spec.hosts", ["a_b"], 'domain name "a_b" invalid (label "a_b" invalid)'),
    ("spec.hosts", ["*.a.b", "x.a.b"], "duplicate hosts in virtual service: *.a.b & x.a.b"),
    (f"{R}.route.0.weight", -1, "weight -1 < 0"),
    (f"{R}.route.0.destination.host", "", "empty domain name not allowed"),
    (f"{R}.route.0.destination.host", "*", "invalid destination host *"),
    (f"{R}.route.0.destination.port", {"number": 70000}, "port number 70000 must be in the range 1..65535"),
    (f"{R}.route.0.destination.subset", "v 1", "subset name is invalid: v 1"),
    (f"{R}.route", [], "HTTP route, redirect or direct_response is required"),
    (f"{R}.fault", {}, "HTTP fault injection must have an abort and/or a delay"),
    (f"{R}.fault", {"abort": {"httpStatus": 100}}, "HTTP status 100 is not in range 200-599"),
    (
        f"{R}.fault",
        {"abort": {"httpStatus": 503, "percentage": {"value": 101}}},
        "percentage 101 is neither 0.0, nor in range [0.0001, 100.0]",
    ),
    (
        f"{R}.fault",
        {"delay": {"fixedDelay": "1s", "percentage": {"value": -0.5}}},
        "percentage -0.5 is neither 0.0, nor in range [0.0001, 100.0]",
    ),
    (f"{R}.fault", {"abort": {"http2Error": "x"}}, "HTTP/2 abort fault injection not supported yet"),
    (f"{R}.timeout", "1500us", "only durations to ms precision are supported"),
    (f"{R}.retries", {"attempts": -1}, "attempts cannot be negative"),
    (f"{R}.retries", {"attempts": 1, "retryOn": "always"}, '"always" is not a valid retryOn policy'),
    (f"{R}.match", [{"uri": {"regex": "(?=x)"}}], '"uri": error parsing regexp'),
    (f"{R}.match", [{"method": {"prefix": ""}}], '"method": prefix string match should not be empty'),
    (f"{R}.match", [{"headers": {"a b": {"exact": "x"}}}], "header name a b is not a valid header name"),
    (f"{R}.rewrite", {}, "rewrite must specify at least one of URI, UriRegexRewrite, or authority."),
    (f"{R}.redirect", {"uri": "/x"}, "HTTP route cannot contain both route and redirect"),
    (f"{R}.corsPolicy", {"allowMethods": ["FETCH"]}, '"FETCH" is not a supported HTTP method'),
    (
        f"{R}.match",
        [{"headers": {"@request.auth.claims.sub": {"exact": "x"}}}],
        "JWT claim based routing (key: @request.auth.claims.sub) is only supported for gateway, found no gateways: []",
    ),
    (
        f"{R}.directResponse",
        {"status": 200, "body": {"string": "x" * 1_048_577}},
        "large direct_responses may impact control plane performance, must be less than 1MB",
    ),
    (f"{R}.redirect", {"redirectCode": 301}, "redirect must specify URI, authority, scheme, or port"),
    (f"{R}.redirect", {"uri": "/x", "redirectCode": 200}, "200 is not a valid redirect code, must be 3xx"),
    (f"{R}.headers", {"request": {"set": {"a": "x\ny"}}}, "header value configuration x\ny is invalid"),
    (f"{R}.headers", {"request": {"set": {"a": "100%"}}}, "invalid header configuration. Un-escaped %"),
    (
        f"{R}.headers",
        {"response": {"add": {"a": "%START_TIME"}}},
        "header value configuration: invalid header configuration. Un-terminated variable expression '%START_TIME'",
    ),
    (f"{R}.headers", {"request": {"add": {"a": '%REQ(["a" b])%'}}}, "Expecting ',', ']', or whitespace"),
    (f"{R}.headers", {"request": {"add": {"a": "%REQ([a])%"}}}, "Expecting '\"'"),
    (f"{R}.headers", {"request": {"add": {"a": "%REQ(a)x"}}}, "Expecting '%' or whitespace after"),
    (f"{R}.headers", {"request": {"remove": [":path"]}}, 'invalid header ":path": header cannot have ":" prefix'),
    ("spec.gateways", ["Upper/"], "config namespace and gateway name cannot be empty"),
    ("spec.exportTo", ["*", "a"], "cannot have both public (*) and non-public exportTo values for a resource"),
]


@pytest.mark.parametrize(("path", "value", "text"), VIRTUALSERVICES, ids=[case[2][:60] for case in VIRTUALSERVICES])
def test_istio_refuses_a_virtual_service(refusal, path, value, text) -> None:
    error = refusal(kinds.VIRTUALSERVICE, spoiled(VIRTUALSERVICE, path, value))
    assert (error.code, error.reason) == (400, "")
    assert error.message.startswith(DENIED)
    assert text in error.message


def test_istio_takes_variables_in_the_values_of_headers(admitted) -> None:
    values = {
        "a": "100%% %START_TIME(%s.%3f)%",
        "b": '%DYNAMIC_METADATA(["a" , "b\\""] )%',
        "c": "",
        "d": "%REQ( x )% y",
    }
    admitted(kinds.VIRTUALSERVICE, spoiled(VIRTUALSERVICE, f"{R}.headers", {"request": {"set": values}}))


def test_several_findings_of_the_webhook_are_a_list(refusal) -> None:
    wrong = spoiled(spoiled(VIRTUALSERVICE, f"{R}.route.0.weight", -1), f"{R}.route.1.weight", -2)
    assert refusal(kinds.VIRTUALSERVICE, wrong).message == (
        DENIED + "2 errors occurred:\n\t* weight -1 < 0\n\t* weight -2 < 0\n\n"
    )


def test_the_schema_of_a_virtual_service_speaks_first(refusal) -> None:
    two = {"delay": {"fixedDelay": "1s", "exponentialDelay": "1s"}}
    error = refusal(kinds.VIRTUALSERVICE, spoiled(VIRTUALSERVICE, f"{R}.fault", two))
    assert error.message.endswith(
        '<nil>: Invalid value: "": "spec.http[0].fault.delay" must validate one and only one schema (oneOf). Found 2 '
        "valid alternatives"
    )
    short = refusal(kinds.VIRTUALSERVICE, spoiled(VIRTUALSERVICE, f"{R}.timeout", "10us"))
    assert short.message.endswith(
        'spec.http[0].timeout: Invalid value: "string": must be a valid duration greater than 1ms'
    )


GOOD_FAULTS = [
    {"delay": {"fixedDelay": "5s", "percentage": {"value": 0.1}}},
    {"abort": {"httpStatus": 503}},
    {"abort": {"httpStatus": 200, "percentage": {"value": 100}}, "delay": {"fixedDelay": "1m30s"}},
]


@pytest.mark.parametrize("fault", GOOD_FAULTS)
def test_faults_of_the_lab_are_taken(admitted, fault) -> None:
    admitted(kinds.VIRTUALSERVICE, spoiled(VIRTUALSERVICE, f"{R}.fault", fault))


SERVICEENTRIES = [
    ("spec", DROP, "spec: Required value"),
    ("spec.hosts", DROP, "spec.hosts: Required value"),
    ("spec.hosts", [], "spec.hosts in body should have at least 1 items"),
    ("spec.hosts.0", "*", "hostname cannot be wildcard"),
    ("spec.hosts.0", "a..b", 'invalid (label "" invalid)'),
    ("spec.resolution", "SRV", 'spec.resolution: Unsupported value: "SRV"'),
    ("spec.resolution", "NONE", "NONE mode cannot set endpoints"),
    ("spec.resolution", DROP, "NONE mode cannot set endpoints"),
    ("spec.workloadSelector", {"labels": {"a": "b"}}, "only one of WorkloadSelector or Endpoints can be set"),
    ("spec.workloadSelector", {"labels": {"a": "*"}}, "wildcard is not supported in selector"),
    ("spec.addresses", ["10.1.2"], "10.1.2 is not a valid IP"),
    ("spec.addresses", ["10.1.2.0/99"], "10.1.2.0/99 is not a valid CIDR block"),
    ("spec.ports.0.number", 0, "port must be between 1-65535"),
    ("spec.ports.0.targetPort", 65536, "port must be between 1-65535"),
    ("spec.ports.0.name", "a_b", "invalid port name: a_b"),
    ("spec.ports.0.protocol", "HTTP3", "unsupported protocol: HTTP3"),
    ("spec.ports.1", {"number": 80, "name": "more"}, "port number cannot be duplicated"),
    ("spec.ports.1", {"number": 81, "name": "http"}, "spec.ports[1]: Duplicate value"),
    ("spec.hosts.1", "b.example.com", None),
    ("spec.endpoints.0.ports", {"grpc": 1}, "endpoint port 1 is not defined by the service entry"),
    ("spec.endpoints.0.ports", {"http": 0}, "port must be between 1-65535"),
    ("spec.endpoints.0.ports", {"a_b": 1}, "port name must be valid"),
    ("spec.endpoints.0.address", DROP, "Address is required"),
    ("spec.endpoints.0.address", "example.com", 'endpoint address "example.com" is not a valid IP address'),
    ("spec.endpoints.0.address", "unix://here", "UDS must be an absolute path or abstract socket"),
    ("spec.endpoints.0.address", "unix:///run/x", "UDS may not include ports"),
    ("spec.endpoints.0.labels", {"a": "b c"}, 'invalid tag value: "b c"'),
    ("spec.exportTo", ["~"], None),
    ("spec.exportTo", ["~", "a"], "cannot export service entry to no one (~) and someone"),
    ("spec.exportTo", ["*", "a"], "cannot have both public (*) and non-public exportTo values for a resource"),
]


_TARGETS = "spec.targetRefs"
_SHOP = {"group": "", "kind": "Service", "name": "shop"}
_SAN = "spec.validation.subjectAltNames.0"
BACKENDTLSPOLICIES = [
    (_TARGETS, [_SHOP | {"sectionName": "a"}, _SHOP | {"sectionName": "b"}], None),
    (_TARGETS, [_SHOP, _SHOP | {"name": "other"}], None),
    (
        _TARGETS,
        [_SHOP, _SHOP | {"sectionName": "b"}],
        "sectionName must be specified when targetRefs includes",
    ),
    (_TARGETS, [_SHOP, _SHOP], "sectionName must be unique when targetRefs includes 2 or more"),
    (_TARGETS, [], "spec.targetRefs in body should have at least 1 items"),
    (_TARGETS, DROP, "spec.targetRefs: Required value"),
    (f"{_SAN}", {"type": "URI", "uri": "spiffe://cluster.local/ns/hello/sa/shop"}, None),
    (f"{_SAN}.type", "URI", "SubjectAltName element must not contain Hostname, if Type is not set to Hostname"),
    (_SAN, {"type": "URI"}, "SubjectAltName element must contain URI, if Type is set to URI"),
    (_SAN, {"type": "Hostname"}, "SubjectAltName element must contain Hostname, if Type is set to Hostname"),
    (f"{_SAN}.uri", "a:b", "SubjectAltName element must not contain URI, if Type is not set to URI"),
    ("spec.validation.wellKnownCACertificates", "System", "must not contain both CACertificateRefs and"),
    ("spec.validation.caCertificateRefs", [], "must specify either CACertificateRefs or WellKnownCACertificates"),
    ("spec.validation", {"hostname": "a", "wellKnownCACertificates": "System"}, None),
    ("spec.validation", {"hostname": "a", "wellKnownCACertificates": "example.com/own"}, None),
    ("spec.validation", {"hostname": "a", "wellKnownCACertificates": "own"}, "spec.validation.wellKnownCACertificates"),
    ("spec.validation.hostname", "*.example", "spec.validation.hostname in body should match"),
]


DNS_ENTRIES = [
    ({}, None),
    ({"endpoints": [{"address": "a.example.com"}]}, None),
    ({"addresses": ["10.1.0.0/16"]}, "CIDR addresses are allowed only for NONE/STATIC resolution types"),
    (
        {"hosts": ["*.example.com"]},
        "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution mode DNS, "
        'domain name "*.example.com" invalid',
    ),
    ({"hosts": ["*.example.com"], "endpoints": [{"address": "a.example.com"}]}, None),
    ({"endpoints": [{"address": "a_b"}]}, 'endpoint address "a_b" is not a valid FQDN or an IP address'),
    (
        {"resolution": "DNS_ROUND_ROBIN", "endpoints": [{"address": "a.example.com"}, {"address": "b.example.com"}]},
        "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
    ),
    (
        {"hosts": ["a.example.com", "b.example.com"], "ports": [{"number": 5, "name": "tcp", "protocol": "TCP"}]},
        "multiple hosts provided with non-HTTP, non-TLS ports",
    ),
    ({"resolution": "DYNAMIC_DNS", "hosts": ["*.example.com"]}, None),
    ({"resolution": "DYNAMIC_DNS"}, "host must be wildcarded for resolution mode DYNAMIC_DNS"),
    (
        {"resolution": "DYNAMIC_DNS", "hosts": ["*.example.com"], "addresses": ["192.0.2.1"]},
        "addresses cannot be set for resolution type DYNAMIC_DNS",
    ),
    (
        {"resolution": "DYNAMIC_DNS", "hosts": ["*.example.com"], "endpoints": [{"address": "a.example.com"}]},
        "endpoints cannot be set for resolution type DYNAMIC_DNS",
    ),
    (
        {"resolution": "DYNAMIC_DNS", "hosts": ["*.example.com"], "ports": [{"number": 5, "name": "t"}]},
        "only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type DYNAMIC_DNS",
    ),
]


@pytest.mark.parametrize(("more", "text"), DNS_ENTRIES)
def test_service_entries_that_dns_resolves(refusal, admitted, more, text) -> None:
    ports = [{"number": 80, "name": "http", "protocol": "http"}]
    spec = {"hosts": ["api.example.com"], "ports": ports, "resolution": "DNS"} | more
    if text is None:
        admitted(kinds.SERVICEENTRY, SERVICEENTRY | {"spec": spec})
    else:
        assert text in refusal(kinds.SERVICEENTRY, SERVICEENTRY | {"spec": spec}).message


WORKLOADENTRIES = [
    ("spec.address", "vm.example.com", None),
    ("spec.address", "unix:///run/vm", None),
    ("spec.address", "unix:///run/", "UDS may not be a dir"),
    ("spec.address", "a_b", 'endpoint address "a_b" is not a valid FQDN or an IP address'),
    ("spec.address", DROP, "Address is required"),
    ("spec", {"network": "far"}, None),
    ("spec.labels", {"": "x"}, 'invalid tag key: ""'),
    ("spec.weight", -1, "spec.weight in body should be greater than or equal to 0"),
]


REFUSALS = [
    *((kinds.BACKENDTLSPOLICY, BACKENDTLSPOLICY, *case) for case in BACKENDTLSPOLICIES),
    *((kinds.SERVICEENTRY, SERVICEENTRY, *case) for case in SERVICEENTRIES),
    *((kinds.WORKLOADENTRY, WORKLOADENTRY, *case) for case in WORKLOADENTRIES),
]


@pytest.mark.parametrize(("resource", "good", "path", "value", "text"), REFUSALS)
def test_what_is_refused_of_a_kind(refusal, admitted, resource, good, path, value, text) -> None:
    admitted(resource, good)
    spoilt = spoiled(good, path, value)
    if text is None:
        admitted(resource, spoilt)
    else:
        assert text in refusal(resource, spoilt).message


@pytest.mark.parametrize("crd", crds.shipped(), ids=lambda crd: crd["metadata"]["name"])
def test_a_shipped_crd_passes_its_own_validation(admitted, crd) -> None:
    """All its rules compile, all its patterns too, and decoding loses nothing of it."""
    assert admitted(kinds.CUSTOMRESOURCEDEFINITION, crd) == crd


def test_constants_of_kinds_are_what_the_crds_serve(registry) -> None:
    for resource in kinds.SHIPPED_CRDS:
        assert registry.find(resource.group, resource.version, resource.plural) == resource


WIDGET = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "low": {"type": "integer"},
                                    "high": {"type": "integer", "default": 9},
                                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "size": {"x-kubernetes-int-or-string": True},
                                },
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "!has(self.low) || self.low <= self.high",
                                        "messageExpression": "'low is above ' + string(self.high)",
                                        "fieldPath": ".low",
                                    }
                                ],
                            }
                        },
                    }
                },
            }
        ],
    },
}


def test_a_users_crd_comes_and_goes(admitted) -> None:
    served = Registry()
    before = served.generation
    crd = admitted(kinds.CUSTOMRESOURCEDEFINITION, WIDGET)
    (widget,) = served.put_crd(crd)
    assert (widget.singular, widget.list_kind, widget.namespaced) == ("widget", "WidgetList", True)
    assert served.generation > before
    obj, _ = admit.conform(
        served,
        widget,
        {"metadata": {"name": "w", "namespace": "n"}, "spec": {"low": 10, "any": {"x": 1}, "z": 1}},
        "Warn",
    )
    assert obj["spec"] == {"low": 10, "any": {"x": 1}}
    admit.default(served, widget, obj)
    with pytest.raises(StatusError) as caught:
        admit.validate_create(served, widget, obj)
    assert caught.value.message == (
        'Widget.example.org "w" is invalid: spec.low: Invalid value: "object": low is above 9'
    )
    served.remove_crd("widgets.example.org")
    assert served.find("example.org", "v1", "widgets") is None


def test_what_an_update_leaves_as_it_was_breaks_no_rule() -> None:
    """As of objects that are older than a rule (kubernetes.io, "Validation ratcheting")."""
    served = Registry()
    (widget,) = served.put_crd(WIDGET)

    def update(old: dict[str, int], new: dict[str, int]) -> None:
        before, after = ({"metadata": {"name": "w", "namespace": "n"}, "spec": spec} for spec in (old, new))
        admit.validate_update(served, widget, {**after, "status": {}}, before)

    update({"low": 10, "high": 9}, {"low": 10, "high": 9})
    with pytest.raises(StatusError, match="low is above 9"):
        update({"low": 11, "high": 9}, {"low": 10, "high": 9})


V = "spec.versions.0"
CRDS = [
    (
        "metadata.name",
        "gadgets.example.org",
        'metadata.name: Invalid value: "gadgets.example.org": must be spec.names.',
    ),
    (f"{V}.schema", DROP, "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"),
    (f"{V}.storage", False, "must have exactly one version marked as storage version"),
    ("spec.scope", "Galaxy", 'spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"'),
    (f"{V}.schema.openAPIV3Schema.properties.spec.properties.low", {}, "must not be empty for specified object fields"),
    (
        f"{V}.schema.openAPIV3Schema.properties.spec.properties.low",
        {"type": "string", "pattern": "("},
        "must be a valid regular expression, but isn't",
    ),
    (
        f"{V}.schema.openAPIV3Schema.properties.spec.x-kubernetes-validations",
        [{"rule": "self.low <"}],
        "compilation failed",
    ),
    (
        f"{V}.additionalPrinterColumns",
        [{"name": "A", "type": "string", "jsonPath": "..a"}],
        "additionalPrinterColumns[0].jsonPath: Invalid value: \"..a\": invalid JSONPath '..a'",
    ),
    (
        f"{V}.additionalPrinterColumns",
        [{"name": "A", "type": "text", "jsonPath": ".a"}],
        'Unsupported value: "text": supported values: "boolean", "date", "integer", "number", "string"',
    ),
    ("spec.conversion", {"strategy": "Webhook"}, 'Unsupported value: "Webhook": supported values: "None"'),
]


@pytest.mark.parametrize(("path", "value", "text"), CRDS, ids=[case[2][:60] for case in CRDS])
def test_a_crd_that_could_not_be_served_is_refused(refusal, path, value, text) -> None:
    assert text in refusal(kinds.CUSTOMRESOURCEDEFINITION, spoiled(WIDGET, path, value)).message
