"""Bodies: what parses, what is dropped, and how a kube-apiserver words what it cannot take."""

from __future__ import annotations

import orjson
import pytest

from ambientlab.api import admit, kinds
from ambientlab.api.errors import StatusError
from support.api_samples import DEPLOYMENT, HTTPROUTE, POD, SERVICE, spoiled

CASES = [
    (
        kinds.DEPLOYMENT,
        spoiled(DEPLOYMENT, "spec.foo", 1),
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.foo"',
    ),
    (
        kinds.POD,
        spoiled(POD, "spec.containers.0.prots", []),
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
        'unknown field "spec.containers[0].prots"',
    ),
    (
        kinds.HTTPROUTE,
        spoiled(HTTPROUTE, "spec.rules.0.backends", []),
        'HTTPRoute in version "v1" cannot be handled as a HTTPRoute: strict decoding error: '
        'unknown field "spec.rules[0].backends"',
    ),
    (
        kinds.HTTPROUTE,
        spoiled(HTTPROUTE, "metadata.lables", {}),
        'HTTPRoute in version "v1" cannot be handled as a HTTPRoute: strict decoding error: '
        'unknown field "metadata.lables"',
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "spec.ports.0.port", "http"),
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal string into Go '
        "struct field ServicePort.spec.ports.port of type int32",
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "spec.ports.0.port", 1.5),
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal number 1.5 into Go '
        "struct field ServicePort.spec.ports.port of type int32",
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "spec.ports", {}),
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal object into Go struct field '
        "ServiceSpec.spec.ports of type []v1.ServicePort",
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "spec.type", 5),
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal number into Go struct field '
        "ServiceSpec.spec.type of type v1.ServiceType",
    ),
    (
        kinds.SERVICE,
        spoiled(SERVICE, "metadata.labels", {"a": 1}),
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal number into Go struct field '
        "ObjectMeta.metadata.labels of type string",
    ),
    (
        kinds.POD,
        spoiled(POD, "spec.containers.0.resources", {"limits": {"cpu": "much"}}),
        'Pod in version "v1" cannot be handled as a Pod: quantities must match the regular expression '
        "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    (
        kinds.DEPLOYMENT,
        spoiled(DEPLOYMENT, "apiVersion", "v1"),
        "the API version in the data (v1) does not match the expected API version (apps/v1)",
    ),
    (
        kinds.DEPLOYMENT,
        spoiled(DEPLOYMENT, "kind", "ReplicaSet"),
        'ReplicaSet in version "v1" cannot be handled as a Deployment: '
        "converting (v1.ReplicaSet) to (apps.Deployment): unknown conversion",
    ),
    (
        kinds.DEPLOYMENT,
        spoiled(DEPLOYMENT, "kind", "Deploy"),
        'Deploy in version "v1" cannot be handled as a Deployment: '
        'no kind "Deploy" is registered for version "apps/v1"',
    ),
]


@pytest.mark.parametrize(("resource", "obj", "message"), CASES, ids=lambda value: getattr(value, "kind", ""))
def test_a_wrong_body_is_refused_in_kubernetes_words(refusal, resource, obj, message) -> None:
    error = refusal(resource, obj)
    assert (error.code, error.reason, error.message) == (400, "BadRequest", message)


def test_duplicate_fields_are_found_with_their_path(refusal) -> None:
    body = b'{"spec":{"replicas":1,"replicas":2,"template":{"spec":{"containers":[{"name":"a","name":"b"}]}}}}'
    assert refusal(kinds.DEPLOYMENT, body).message.endswith(
        'strict decoding error: duplicate field "spec.replicas", '
        'duplicate field "spec.template.spec.containers[0].name"'
    )


def test_warn_drops_unknown_fields_and_says_so(registry) -> None:
    body = orjson.dumps(spoiled(POD, "spec.foo", 1))
    obj, warnings = admit.decode(registry, kinds.POD, body, "application/json", "Warn")
    assert "foo" not in obj["spec"]
    assert warnings == ['unknown field "spec.foo"']
    assert admit.decode(registry, kinds.POD, body, "application/json", "Ignore")[1] == []


@pytest.mark.parametrize("resource", [kinds.POD, kinds.HTTPROUTE])
def test_nulls_are_absent_fields(registry, resource) -> None:
    body = b'{"metadata":{"name":"x","creationTimestamp":null,"labels":{"a":null}},"spec":null}'
    obj, _ = admit.decode(registry, resource, body, "application/json")
    assert obj == {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": "x", "labels": {"a": ""}},
    }


YAML_BODIES = [
    ("data: {a: yes, b: 2020-01-01, 3: x, c: ~}\n", {"a": True, "b": "2020-01-01", "3": "x", "c": None}),
    ("data: {a: &x [1, 0x10, 1.5], b: *x}\n", {"a": [1, 16, 1.5], "b": [1, 16, 1.5]}),
    ("base: &b {x: 1, y: 2}\ndata: {<<: *b, y: 3}\n", {"x": 1, "y": 3}),
]


@pytest.mark.parametrize(("text", "data"), YAML_BODIES)
def test_yaml_means_what_kubernetes_reads(text, data) -> None:
    from ambientlab.api.parse import parse

    assert parse(text.encode(), "application/yaml").value["data"] == data


@pytest.mark.parametrize(
    ("body", "content_type", "code", "text"),
    [
        (b"", "application/json", 400, "must be of type Pod): couldn't get version/kind; json parse error"),
        (b"{", "application/json", 400, "({)"),
        (b"\x00\x01", "application/json", 400, "(0001)"),
        (b"[1]", "application/json", 400, "cannot unmarshal array"),
        (b"a: [", "application/yaml", 400, "error converting YAML to JSON"),
        (b"a: 1\na: 2", "application/yaml", 400, 'line 2: key "a" already set in map'),
        (b"&a [*a]", "application/yaml", 400, "anchor contains itself"),
        (b"a: .nan", "application/yaml", 400, "not a finite number"),
        (b"a: !!python/object:os.system {}", "application/yaml", 400, "unknown field"),
        (b"{}", "text/plain", 415, "unknown format"),
        (b"k8s\x00\xff", "application/vnd.kubernetes.protobuf", 400, "protobuf body cannot be read"),
        (b"no", "application/vnd.kubernetes.protobuf", 400, "expected prefix"),
    ],
)
def test_a_broken_body_is_a_clear_error(registry, body, content_type, code, text) -> None:
    with pytest.raises(StatusError) as caught:
        admit.decode(registry, kinds.POD, body, content_type)
    assert caught.value.code == code
    assert text in caught.value.message


def test_aliases_cannot_blow_up_a_small_body(registry) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(StatusError, match="excessive aliasing"):
        admit.decode(registry, kinds.POD, "\n".join(lines).encode(), "application/yaml")


def test_deep_nesting_is_refused(registry) -> None:
    for body in (b'{"spec":' * 900 + b"1" + b"}" * 900, b'{"a":' * 100_000):
        with pytest.raises(StatusError) as caught:
            admit.decode(registry, kinds.HTTPROUTE, body, "application/json")
        assert caught.value.code == 400
