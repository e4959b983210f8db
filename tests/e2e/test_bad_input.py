"""What no API server takes: told with its field and reason in a real one's words, and not stored."""

from __future__ import annotations

import json

import pytest

from support.mesh import Mesh

NAMESPACE = "bad"
KINDS = (
    "configmaps,secrets,services,pods,deployments,httproutes,gateways,referencegrants,virtualservices,destinationrules"
)
WEBHOOK = 'admission webhook "validation.istio.io" denied the request: configuration is invalid: '
RULE = "spec.rules[0].backendRefs[0]"


def core(kind: str, rest: str, metadata: str = "", api: str = "v1") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x, namespace: {NAMESPACE}{metadata}}}\n{rest}"


def route(rules: str) -> str:
    parent = 'parentRefs: [{group: "", kind: Service, name: s, port: 80}]'
    return core("HTTPRoute", f"spec: {{{parent}, rules: [{rules}]}}", api="gateway.networking.k8s.io/v1")


def gateway(listeners: str) -> str:
    rest = f"spec: {{gatewayClassName: istio-waypoint, listeners: [{listeners}]}}"
    return core("Gateway", rest, api="gateway.networking.k8s.io/v1")


def virtual(http: str) -> str:
    return core("VirtualService", f"spec: {{hosts: [s], http: [{http}]}}", api="networking.istio.io/v1")


def destination(rest: str) -> str:
    return core("DestinationRule", f"spec: {{host: s, {rest}}}", api="networking.istio.io/v1")


def service(spec: str) -> str:
    return core("Service", f"spec: {{{spec}}}")


def deployment(replicas: str = "1", labels: str = "{a: b}", container: str = "image: busybox") -> str:
    template = f"{{metadata: {{labels: {labels}}}, spec: {{containers: [{{name: c, {container}}}]}}}}"
    spec = f"spec: {{replicas: {replicas}, selector: {{matchLabels: {{a: b}}}}, template: {template}}}"
    return core("Deployment", spec, api="apps/v1")


TO = "route: [{destination: {host: a}}]"
GRANT = (
    "spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: A_B}], to: [{kind: x, group: ''}]}"
)
CASES = {
    "weight below 0": (route("{backendRefs: [{name: a, port: 80, weight: -1}]}"), f"{RULE}.weight: Invalid value: -1"),
    "weight too large": (
        route("{backendRefs: [{name: a, port: 80, weight: 1000001}]}"),
        f"{RULE}.weight in body should be less than or equal to 1e+06",
    ),
    "weight that is text": (
        route("{backendRefs: [{name: a, port: 80, weight: big}]}"),
        f'{RULE}.weight in body must be of type integer: "string"',
    ),
    "port of a backend": (route("{backendRefs: [{name: a, port: 65536}]}"), f"{RULE}.port: Invalid value: 65536"),
    "no port of a backend": (route("{backendRefs: [{name: a}]}"), "Must have port for Service reference"),
    "unknown field of a route": (route("{backendRef: []}"), 'unknown field "spec.rules[0].backendRef"'),
    "header name": (
        route(r'{matches: [{headers: [{name: "a\nb", value: x}]}]}'),
        "spec.rules[0].matches[0].headers[0].name in body should match",
    ),
    "same header twice": (
        route("{matches: [{headers: [{name: a, value: one}, {name: a, value: two}]}]}"),
        'spec.rules[0].matches[0].headers[1]: Duplicate value: {"name":"a"}',
    ),
    "ten thousand rules": (route(",".join(["{}"] * 10_000)), "spec.rules: Too many: 10000: must have at most 16 items"),
    "same listener twice": (
        gateway("{name: a, port: 80, protocol: HBONE}, {name: a, port: 81, protocol: HBONE}"),
        'spec.listeners[1]: Duplicate value: {"name":"a"}',
    ),
    "port of a listener": (gateway("{name: a, port: 0, protocol: HBONE}"), "spec.listeners[0].port: Invalid value: 0"),
    "namespace of a grant": (
        core("ReferenceGrant", GRANT, api="gateway.networking.k8s.io/v1beta1"),
        'spec.from[0].namespace: Invalid value: "A_B"',
    ),
    "weight of a destination": (
        virtual("{route: [{destination: {host: a}, weight: -5}, {destination: {host: b}, weight: 105}]}"),
        f"{WEBHOOK}weight -5 < 0",
    ),
    "status of an abort": (
        virtual(f"{{fault: {{abort: {{httpStatus: 999, percentage: {{value: 5}}}}}}, {TO}}}"),
        f"{WEBHOOK}HTTP status 999 is not in range 200-599",
    ),
    "share of a fault": (
        virtual(f"{{fault: {{abort: {{httpStatus: 500, percentage: {{value: 150}}}}}}, {TO}}}"),
        f"{WEBHOOK}percentage 150 is neither 0.0, nor in range [0.0001, 100.0]",
    ),
    "duration": (virtual(f"{{fault: {{delay: {{fixedDelay: soon}}}}, {TO}}}"), "spec.http[0].fault.delay.fixedDelay"),
    "regular expression": (
        virtual(f'{{match: [{{uri: {{regex: "(("}}}}], {TO}}}'),
        f'{WEBHOOK}"uri": error parsing regexp: missing closing ): `((`',
    ),
    "expression too large to run": (
        virtual(f'{{match: [{{uri: {{regex: "((a{{1,1000}}){{1,1000}})"}}}}], {TO}}}'),
        f'{WEBHOOK}"uri": error parsing regexp: invalid repeat count',
    ),
    "two matches where one can be": (
        virtual(f"{{match: [{{uri: {{exact: /, prefix: /}}}}], {TO}}}"),
        '"spec.http[0].match[0].uri" must validate one and only one schema (oneOf)',
    ),
    "same subset twice": (destination("subsets: [{name: a}, {name: a}]"), f"{WEBHOOK}duplicate subset names: a"),
    "unknown balancer": (
        destination("trafficPolicy: {loadBalancer: {simple: FOO}}"),
        'spec.trafficPolicy.loadBalancer.simple: Unsupported value: "FOO": supported values: ',
    ),
    "ports without names": (service("ports: [{port: 80}, {port: 81}]"), "spec.ports[1].name: Required value"),
    "address": (service("clusterIP: 10.96.0.999, ports: [{port: 80}]"), "must be a valid IP address"),
    "node port": (
        service("type: NodePort, ports: [{port: 80, nodePort: 80}]"),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range",
    ),
    "replicas": (deployment("-1"), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    "replicas past 32 bits": (deployment("99999999999"), "of type int32"),
    "selector": (deployment(labels="{a: c}"), "`selector` does not match template `labels`"),
    "privileges": (
        deployment(container="image: busybox, securityContext: {privileged: true}"),
        "spec.template.spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy",
    ),
    "label": (core("ConfigMap", "", ', labels: {"a b": c}'), 'metadata.labels: Invalid value: "a b": name part must'),
    "value of a label": (core("ConfigMap", "", ', labels: {a: "x y"}'), "a valid label must be an empty string or"),
    "annotation": (core("ConfigMap", "", ', annotations: {"a b": c}'), 'metadata.annotations: Invalid value: "a b"'),
    "annotations too large": (
        core("ConfigMap", "", f", annotations: {{a: {'x' * 262_144}}}"),
        "metadata.annotations: Too long: may not be more than 262144 bytes",
    ),
    "key with NUL": (core("ConfigMap", 'data: {"a\\0b": x}'), "a valid config key must consist of"),
    "key with a path": (core("ConfigMap", "data: {../x: x}"), 'data[../x]: Invalid value: "../x"'),
    "base64": (core("Secret", "data: {a: '***'}"), "illegal base64 data at input byte 0"),
    "too large": (core("ConfigMap", f"data: {{a: {'x' * 1_100_000}}}"), "Too long: may not be more than 1048576 bytes"),
    "far too large": (core("ConfigMap", f"data: {{a: {'x' * 3_500_000}}}"), "Request entity too large: limit is"),
    "too deep": (core("ConfigMap", f"data: {'[' * 9000}{']' * 9000}"), "exceeded"),
    "wrong type": (core("ConfigMap", "data: {a: [x]}"), "cannot unmarshal array into Go struct field ConfigMap.data"),
}


@pytest.fixture(scope="module")
def bad(mesh: Mesh) -> Mesh:
    mesh.kubectl("create", "namespace", NAMESPACE)
    return mesh


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_and_not_stored(bad: Mesh, name: str) -> None:
    text, expected = CASES[name]
    said = bad.kubectl("create", "-f", "-", stdin=text, check=False)
    assert expected in said, said[:2000]
    assert "Traceback" not in said
    stored = bad.kubectl("get", KINDS, "-n", NAMESPACE, "-o", "name").split()
    assert not [one for one in stored if one.endswith("/x")]


@pytest.mark.parametrize("verb", ["apply", "create"])
def test_the_first_mistake_of_a_file_leaves_the_rest_as_kubectl_does(bad: Mesh, verb: str) -> None:
    wrong, _ = CASES["replicas"]
    right = core("ConfigMap", "data: {a: b}").replace("name: x", f"name: right-{verb}")
    said = bad.kubectl(verb, "-f", "-", stdin=f"{wrong}\n---\n{right}", check=False)
    assert "spec.replicas: Invalid value: -1" in said
    assert f"configmap/right-{verb} created" in said


def test_a_pattern_without_end_takes_no_time(bad: Mesh) -> None:
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "traps.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "traps", "kind": "Trap"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}},
                        }
                    },
                }
            ],
        },
    }
    bad.apply(json.dumps(crd))
    bad.kubectl("wait", "--for=condition=Established", "crd/traps.example.com", "--timeout=30s")
    said = bad.kubectl(
        "create", "-f", "-", stdin=core("Trap", f"a: {'a' * 5000}!", api="example.com/v1"), check=False, timeout=30
    )
    assert "a in body should match '^(a+)+$'" in said[-2000:]


def test_an_image_that_is_not_there_says_which_are(bad: Mesh) -> None:
    bad.kubectl("run", "stranger", "-n", NAMESPACE, "--image=nginx:1.25")
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
        bad.kubectl("wait", "-n", NAMESPACE, "pod/stranger", f"--for={waiting}={reason}", "--timeout=60s")
    described = bad.kubectl("describe", "pod", "stranger", "-n", NAMESPACE)
    assert 'Failed to pull image "nginx:1.25"' in described
    assert "available: docker.io/istio/examples-helloworld-v1, " in described
    assert 'Back-off pulling image "nginx:1.25"' in described
    bad.kubectl("delete", "pod", "stranger", "-n", NAMESPACE, "--now")
