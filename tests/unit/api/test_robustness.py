"""Whatever a client sends, the answer is an object or a StatusError."""

from __future__ import annotations

import contextlib
import string
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambientlab.api import admit, crds, kinds, openapi, protobuf, selectors, tables
from ambientlab.api.errors import StatusError
from ambientlab.api.registry import Registry
from ambientlab.api.resources import Resource
from support.api_samples import (
    BACKENDTLSPOLICY,
    CONFIGMAP,
    DEPLOYMENT,
    DESTINATIONRULE,
    GATEWAY,
    HTTPROUTE,
    POD,
    SERVICE,
    SERVICEENTRY,
    VIRTUALSERVICE,
    WORKLOADENTRY,
)

REGISTRY = Registry()
for _crd in crds.shipped():
    REGISTRY.put_crd(_crd)
SAMPLES = [
    (kinds.POD, POD),
    (kinds.DEPLOYMENT, DEPLOYMENT),
    (kinds.SERVICE, SERVICE),
    (kinds.CONFIGMAP, CONFIGMAP),
    (kinds.HTTPROUTE, HTTPROUTE),
    (kinds.GATEWAY, GATEWAY),
    (kinds.VIRTUALSERVICE, VIRTUALSERVICE),
    (kinds.DESTINATIONRULE, DESTINATIONRULE),
    (kinds.SERVICEENTRY, SERVICEENTRY),
    (kinds.BACKENDTLSPOLICY, BACKENDTLSPOLICY),
    (kinds.WORKLOADENTRY, WORKLOADENTRY),
    (kinds.CUSTOMRESOURCEDEFINITION, crds.shipped()[3]),
]
TYPES = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", ""]

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters, max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@st.composite
def broken_objects(draw):
    """A valid object with junk in one or two places: it gets further in than junk alone."""
    resource, obj = draw(st.sampled_from(SAMPLES))
    result = orjson.loads(orjson.dumps(obj))
    for _ in range(draw(st.integers(1, 2))):
        *parents, last = draw(st.sampled_from(list(_places(result))[1:]))
        place = result
        for part in parents:
            place = place[part]
        place[last] = draw(junk)
    return resource, result


def _admit(resource, body, content_type, field_validation="Ignore"):
    with contextlib.suppress(StatusError):
        obj, _ = admit.decode(REGISTRY, resource, body, content_type, field_validation)
        admit.default(REGISTRY, resource, obj)
        admit.validate_create(REGISTRY, resource, obj)
        admit.validate_update(REGISTRY, resource, obj, obj)
        if resource == kinds.CUSTOMRESOURCEDEFINITION:
            served = Registry()
            for widget in served.put_crd(obj):
                tables.table(served, widget, [obj], datetime.now(UTC))
                openapi.document(served, widget.group, widget.version)
                admit.default(served, widget, admit.conform(served, widget, {}, "Ignore")[0])
        tables.table(REGISTRY, resource, [obj], datetime.now(UTC))


def _encode(value) -> bytes:
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return repr(value).encode("utf-8", "replace")


@settings(max_examples=300, deadline=None)
@given(broken_objects())
def test_broken_objects(case) -> None:
    resource, obj = case
    _admit(resource, _encode(obj), "application/json")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SAMPLES), st.binary(max_size=200), st.sampled_from(TYPES))
def test_garbage_bodies(sample, body, content_type) -> None:
    _admit(sample[0], body, content_type, "Strict")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SAMPLES), st.text("{}[]&*!|>-:,#'\"% \n\tabc01.~<", max_size=60))
def test_garbage_yaml(sample, text) -> None:
    _admit(sample[0], text.encode(), "application/yaml", "Warn")


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"", b"\x0a\x09\x0a\x02v1\x12\x03Pod", b"\x0a\x0d\x0a\x02v1\x12\x07Service\x12"]),
    st.binary(max_size=80),
)
def test_garbage_protobuf(head, tail) -> None:
    with contextlib.suppress(StatusError):
        protobuf.decode(b"k8s\x00" + head + tail)


@pytest.mark.parametrize("depth", [300, 900, 1100, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ("- ", ""), ("? ", "")])
@pytest.mark.parametrize("content_type", TYPES[:3])
def test_deep_nesting(depth: int, opening: str, closing: str, content_type: str) -> None:
    """In C, recursion without a limit ends the process."""
    inner = opening * depth + "1" + closing * depth
    for body in (inner, f'{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "c"}}, "data": {inner}}}'):
        with pytest.raises(StatusError):
            admit.decode(REGISTRY, kinds.CONFIGMAP, body.encode(), content_type, "Strict")


def _free_form(**schema: object) -> tuple[Registry, Resource]:
    """A kind that keeps unknown fields."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **schema}},
    }
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [version],
    }
    registry = Registry()
    [resource] = registry.put_crd({"metadata": {"name": "things.example.com"}, "spec": spec})
    return registry, resource


def _deep(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("depth", [100, 200])
def test_what_is_taken_can_be_written_again(depth: int) -> None:
    registry, resource = _free_form()
    obj, _ = admit.decode(registry, resource, _deep(depth), "application/json", "Strict")
    assert orjson.dumps({"items": [{"object": obj}]})


@pytest.mark.parametrize("depth", [230, 260, 500, 900])
def test_what_could_not_be_written_again_is_not_taken(depth: int) -> None:
    registry, resource = _free_form()
    with pytest.raises(StatusError, match="Thing is nested too deeply"):
        admit.decode(registry, resource, _deep(depth), "application/json", "Strict")


def test_a_rule_of_too_many_steps_is_refused() -> None:
    rule = "self.l.all(x, self.l.all(y, self.l.all(z, x + y + z >= 0)))"
    registry, resource = _free_form(
        properties={"l": {"type": "array", "items": {"type": "integer"}}},
        **{"x-kubernetes-validations": [{"rule": rule}]},
    )
    obj, _ = admit.conform(
        registry, resource, {"metadata": {"name": "a", "namespace": "b"}, "l": list(range(300))}, "Ignore"
    )
    with pytest.raises(StatusError, match="evaluating rule"):
        admit.validate_create(registry, resource, obj)


@settings(max_examples=100, deadline=None)
@given(st.text("abin()notexis,=!<>. /\\-", max_size=30))
def test_garbage_selectors(text) -> None:
    with contextlib.suppress(StatusError):
        selectors.parse_labels(text).matches({"a": "b"})
    with contextlib.suppress(StatusError):
        selectors.parse_fields(kinds.POD, text).matches(POD)
