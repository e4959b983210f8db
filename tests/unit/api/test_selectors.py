"""Label and field selectors as kubectl writes them."""

from __future__ import annotations

import pytest

from ambientlab.api import kinds, selectors
from ambientlab.api.errors import StatusError

LABELS = {"app": "hello", "version": "v1", "istio.io/use-waypoint": "w", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=hello", True),
        ("app==hello,version!=v2", True),
        ("version in (v1, v2)", True),
        ("version notin (v1)", False),
        ("other notin (v1)", True),
        ("other!=x", True),
        ("app", True),
        ("!app", False),
        ("!other", True),
        ("istio.io/use-waypoint=w", True),
        ("empty=", True),
        ("app=", False),
        ("app in (hello),!other,version", True),
    ],
)
def test_label_selectors(text, matches) -> None:
    assert selectors.parse_labels(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=x", "unable to parse requirement: found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a,", "unable to parse requirement: found '', expected: identifier after ','"),
    ],
)
def test_what_does_not_parse(text, message) -> None:
    with pytest.raises(StatusError) as caught:
        selectors.parse_labels(text)
    assert (caught.value.code, caught.value.message) == (400, message)


def test_label_values_are_checked() -> None:
    with pytest.raises(StatusError, match="a valid label must be an empty string or consist of"):
        selectors.parse_labels("a=-x")


def test_objects_as_selectors() -> None:
    expressions = [
        {"key": "version", "operator": "In", "values": ["v1", "v2"]},
        {"key": "other", "operator": "DoesNotExist"},
    ]
    selector = selectors.from_object({"matchLabels": {"app": "hello"}, "matchExpressions": expressions})
    assert selector is not None
    assert selector.matches(LABELS)
    assert not selector.matches(LABELS | {"other": ""})
    everything = selectors.from_object({})
    assert everything is not None
    assert everything.matches({})
    assert selectors.from_object(None) is None


POD = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a,metadata.namespace!=c", True),
        ("status.phase!=Running", False),
        ("spec.nodeName=", False),
        ("spec.hostNetwork=", True),
    ],
)
def test_field_selectors(text, matches) -> None:
    assert selectors.parse_fields(kinds.POD, text).matches(POD) is matches


def test_the_name_of_a_watch_is_known() -> None:
    selector = selectors.parse_fields(kinds.POD, "metadata.name=a,status.phase!=x")
    assert (selector.exact("metadata.name"), selector.exact("status.phase")) == ("a", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "spec.foo=a",
            'Unable to find "/v1, Resource=pods" that match label selector "", field selector "spec.foo=a": field '
            "label not supported: spec.foo",
        ),
        ("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
def test_fields_that_cannot_be_selected_by(text, message) -> None:
    with pytest.raises(StatusError) as caught:
        selectors.parse_fields(kinds.POD, text)
    assert (caught.value.code, caught.value.message) == (400, message)
