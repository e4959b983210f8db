"""Semantic validation of the built-in kinds: field, reason and words of a kube-apiserver."""

from __future__ import annotations

import pytest

from ambientlab.api import kinds
from support.api_samples import CONFIGMAP, DEPLOYMENT, DROP, ENDPOINTSLICE, POD, SERVICE, spoiled

C = "spec.containers.0"
LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
OF_IPV6 = {**ENDPOINTSLICE, "addressType": "IPv6", "endpoints": [{"addresses": ["2001:db8::1"]}]}

CREATE = [
    (kinds.POD, POD, "spec.containers", [], "spec.containers: Required value"),
    (kinds.POD, POD, f"{C}.name", DROP, "spec.containers[0].name: Required value"),
    (kinds.POD, POD, f"{C}.name", "A_b", f'spec.containers[0].name: Invalid value: "A_b": {LABEL_TEXT}'),
    (kinds.POD, POD, f"{C}.image", DROP, "spec.containers[0].image: Required value"),
    (
        kinds.POD,
        POD,
        f"{C}.securityContext",
        {"privileged": True},
        "spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy",
    ),
    (kinds.POD, POD, "spec.hostPID", True, "spec.hostPID: Forbidden: disallowed by cluster policy"),
    (kinds.POD, POD, "spec.hostIPC", True, "spec.hostIPC: Forbidden: disallowed by cluster policy"),
    (
        kinds.POD,
        POD,
        f"{C}.image",
        " x",
        'spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace',
    ),
    (
        kinds.POD,
        POD,
        "spec.containers.1",
        {"name": "curl", "image": "x"},
        'spec.containers[1].name: Duplicate value: "curl"',
    ),
    (
        kinds.POD,
        POD,
        f"{C}.ports",
        [{"containerPort": 70000}],
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        kinds.POD,
        POD,
        f"{C}.ports",
        [{"containerPort": 80, "protocol": "HTTP"}],
        'spec.containers[0].ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"',
    ),
    (
        kinds.POD,
        POD,
        f"{C}.ports",
        [{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}],
        'spec.containers[0].ports[1].name: Duplicate value: "a"',
    ),
    (
        kinds.POD,
        POD,
        f"{C}.ports",
        [{"containerPort": 80, "name": "80"}],
        'spec.containers[0].ports[0].name: Invalid value: "80": must contain at least one letter (a-z)',
    ),
    (kinds.POD, POD, f"{C}.env", [{"value": "x"}], "spec.containers[0].env[0].name: Required value"),
    (
        kinds.POD,
        POD,
        f"{C}.volumeMounts",
        [{"name": "v", "mountPath": "/v"}],
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ),
    (
        kinds.POD,
        POD,
        f"{C}.readinessProbe",
        {},
        "spec.containers[0].readinessProbe: Required value: must specify a handler type",
    ),
    (
        kinds.POD,
        POD,
        f"{C}.livenessProbe",
        {"tcpSocket": {"port": 80}, "successThreshold": 2},
        "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (
        kinds.POD,
        POD,
        f"{C}.resources",
        {"limits": {"cpu": "1"}, "requests": {"cpu": "1500m"}},
        'spec.containers[0].resources.requests: Invalid value: "1500m": must be less than or equal to cpu limit of 1',
    ),
    (
        kinds.POD,
        POD,
        f"{C}.imagePullPolicy",
        "Sometimes",
        'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", '
        '"IfNotPresent", "Never"',
    ),
    (
        kinds.POD,
        POD,
        "spec.restartPolicy",
        "Maybe",
        'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"',
    ),
    (kinds.POD, POD, "metadata.name", DROP, "metadata.name: Required value: name or generateName is required"),
    (kinds.POD, POD, "metadata.namespace", DROP, "metadata.namespace: Required value"),
    (
        kinds.POD,
        POD,
        "metadata.labels",
        {"app": "a b"},
        'metadata.labels: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric '
        "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
        "'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    ),
    (kinds.SERVICE, SERVICE, "spec.ports", [], "spec.ports: Required value"),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.ports.1",
        {"port": 81},
        "spec.ports[1].name: Required value",
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.ports.1",
        {"name": "http", "port": 81},
        'spec.ports[1].name: Duplicate value: "http"',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.ports.1",
        {"name": "other", "port": 5000},
        'spec.ports[1]: Duplicate value: {"port":5000,"protocol":"TCP"}',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.ports.0.nodePort",
        30000,
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.type",
        "Ingress",
        'spec.type: Unsupported value: "Ingress": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
        '"NodePort"',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.clusterIP",
        "here",
        'spec.clusterIPs[0]: Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.clusterIP",
        "fd00:10:96::1%eth0",
        'spec.clusterIPs[0]: Invalid value: "fd00:10:96::1%eth0": must be a valid IP address, (e.g. 10.9.8.7 or '
        "2001:db8::ffff)",
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.externalIPs",
        ["192.0.2.1", "127.0.0.1"],
        'spec.externalIPs[1]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    ),
    *(
        (
            kinds.ENDPOINTSLICE,
            OF_IPV6 if ":" in address else ENDPOINTSLICE,
            "endpoints.0.addresses.0",
            address,
            f'endpoints[0].addresses[0]: Invalid value: "{address}": {words}',
        )
        for address, words in (
            ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
            ("::", "may not be unspecified (::)"),
            ("127.8.8.8", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("::1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("169.254.7.127", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            ("fe80::1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            ("224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
            ("ff02::1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
            ("10.244.0", "must be a valid IPv4 address"),
        )
    ),
    (
        kinds.ENDPOINTSLICE,
        OF_IPV6,
        "endpoints.0.addresses.0",
        "::ffff:10.244.0.5",
        'endpoints[0].addresses[0]: Invalid value: "::ffff:10.244.0.5": must be a valid IPv6 address',
    ),
    (
        kinds.ENDPOINTSLICE,
        ENDPOINTSLICE,
        "endpoints.0.addresses",
        [],
        "endpoints[0].addresses: Required value: must contain at least 1 address",
    ),
    (
        kinds.ENDPOINTSLICE,
        ENDPOINTSLICE,
        "endpoints.0.hostname",
        "a.b",
        f'endpoints[0].hostname: Invalid value: "a.b": {LABEL_TEXT}',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.ipFamilies",
        ["IPv4", "IPv5"],
        'spec.ipFamilies[1]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.ipFamilies",
        ["IPv4", "IPv4"],
        'spec.ipFamilies[1]: Duplicate value: "IPv4"',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.clusterIPs",
        ["10.96.0.7"],
        'spec.clusterIPs: Invalid value: ["10.96.0.7"]: must be empty when `clusterIP` is not specified',
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "spec.clusterIP", "10.96.0.7"),
        "spec.clusterIPs",
        ["10.96.0.7", "10.96.0.8"],
        'spec.clusterIPs: Invalid value: ["10.96.0.7","10.96.0.8"]: may specify no more than one IP for each IP family',
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "spec.clusterIP", "10.96.0.7"),
        "spec.ipFamilies",
        ["IPv6"],
        'spec.clusterIPs[0]: Invalid value: "10.96.0.7": expected an IPv6 value as indicated by `ipFamilies[0]`',
    ),
    (
        kinds.SERVICE,
        SERVICE,
        "spec.trafficDistribution",
        "Nearby",
        'spec.trafficDistribution: Unsupported value: "Nearby": supported values: "PreferClose", "PreferSameNode", '
        '"PreferSameZone"',
    ),
    (kinds.DEPLOYMENT, DEPLOYMENT, "spec.selector", DROP, "spec.selector: Required value"),
    (
        kinds.DEPLOYMENT,
        DEPLOYMENT,
        "spec.replicas",
        -1,
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        kinds.DEPLOYMENT,
        DEPLOYMENT,
        "spec.template.metadata.labels",
        {"app": "other"},
        'spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`',
    ),
    (
        kinds.DEPLOYMENT,
        DEPLOYMENT,
        "spec.selector",
        {},
        "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
    ),
    (
        kinds.DEPLOYMENT,
        DEPLOYMENT,
        "spec.strategy",
        {"type": "Recreate", "rollingUpdate": {}},
        "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
    ),
    (
        kinds.DEPLOYMENT,
        DEPLOYMENT,
        "spec.strategy",
        {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}},
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
    ),
    (
        kinds.DEPLOYMENT,
        DEPLOYMENT,
        "spec.template.spec.restartPolicy",
        "Never",
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
    ),
    (
        kinds.CONFIGMAP,
        CONFIGMAP,
        "data",
        {"a/b": "x"},
        "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or "
        "'.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    ),
    (
        kinds.SECRET,
        {"metadata": {"name": "s", "namespace": "n"}, "data": {"tls.crt": ""}},
        "type",
        "kubernetes.io/tls",
        "data[tls.key]: Required value",
    ),
    (
        kinds.NAMESPACE,
        {"metadata": {"name": "ok"}},
        "metadata.name",
        "a.b",
        f'metadata.name: Invalid value: "a.b": {LABEL_TEXT}',
    ),
]


@pytest.mark.parametrize(("resource", "obj", "path", "value", "message"), CREATE, ids=[case[4][:60] for case in CREATE])
def test_a_wrong_field_is_named(refusal, admitted, resource, obj, path, value, message) -> None:
    if "type" not in path or resource is not kinds.SECRET:
        admitted(resource, obj)
    error = refusal(resource, spoiled(obj, path, value))
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    name = spoiled(obj, path, value)["metadata"].get("name", "")
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == f'{kind} "{name}" is invalid: {message}'
    field, _, body = message.partition(": ")
    assert [(cause.field, cause.message) for cause in error.causes] == [(field, body)]


def test_several_problems_come_together(refusal) -> None:
    wrong = spoiled(spoiled(POD, f"{C}.image", DROP), f"{C}.name", DROP)
    error = refusal(kinds.POD, wrong)
    assert error.message == (
        'Pod "curl" is invalid: [spec.containers[0].name: Required value, spec.containers[0].image: Required value]'
    )
    assert [cause.reason for cause in error.causes] == ["FieldValueRequired"] * 2


UPDATE = [
    (
        kinds.DEPLOYMENT,
        DEPLOYMENT,
        "spec.selector.matchLabels.app",
        "b",
        'spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable',
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "spec.clusterIP", "10.96.0.7"),
        "spec.clusterIP",
        "10.96.0.8",
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set',
    ),
    (
        kinds.CONFIGMAP,
        spoiled(CONFIGMAP, "immutable", True),
        "data.key",
        "other",
        "data: Forbidden: field is immutable when `immutable` is set",
    ),
    (
        kinds.SECRET,
        {"metadata": {"name": "s", "namespace": "n"}, "type": "a/b"},
        "type",
        "c/d",
        'type: Invalid value: "c/d": field is immutable',
    ),
    (
        kinds.POD,
        POD,
        "metadata.name",
        "other",
        'metadata.name: Invalid value: "other": field is immutable',
    ),
]


@pytest.mark.parametrize(("resource", "obj", "path", "value", "message"), UPDATE, ids=[case[4][:60] for case in UPDATE])
def test_an_immutable_field_stays(refusal, admitted, resource, obj, path, value, message) -> None:
    old = admitted(resource, obj)
    admitted(resource, obj, old=old)
    assert message in refusal(resource, spoiled(obj, path, value), old=old).message


def test_a_pod_takes_a_new_image_and_nothing_else(refusal, admitted) -> None:
    old = admitted(kinds.POD, POD)
    admitted(kinds.POD, spoiled(old, f"{C}.image", "other"), old=old)
    error = refusal(kinds.POD, spoiled(old, f"{C}.command", ["true"]), old=old)
    assert error.message.startswith('Pod "curl" is invalid: spec: Forbidden: pod updates may not change fields other')
