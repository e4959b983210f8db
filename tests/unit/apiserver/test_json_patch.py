"""RFC 6902, with the cases of its appendix A, and RFC 7386."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.apiserver.patch.json_patch import MalformedPatch, PatchError, json_patch
from ambientlab.apiserver.patch.merge import merge_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)

CASES = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
    ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
    ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": ["b"]}], {"foo": ["a", ["b"]]}),
    ({"baz": 1, "foo": 2}, [{"op": "remove", "path": "/baz"}], {"foo": 2}),
    ({"foo": [1, 2, 3]}, [{"op": "remove", "path": "/foo/1"}], {"foo": [1, 3]}),
    ({"baz": 1}, [{"op": "replace", "path": "/baz", "value": None}], {"baz": None}),
    ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
    ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
    ({"foo": [1, 2, 3, 4]}, [{"op": "move", "from": "/foo/1", "path": "/foo/3"}], {"foo": [1, 3, 4, 2]}),
    ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
    ({"a/b": 1, "m~n": 2}, [{"op": "test", "path": "/a~1b", "value": 1}], {"a/b": 1, "m~n": 2}),
    ({"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
]


@pytest.mark.parametrize(("document", "patch", "expected"), CASES)
def test_operations(document: Any, patch: Any, expected: Any) -> None:
    before = repr(document)
    assert json_patch(document, patch) == expected
    assert repr(document) == before


@pytest.mark.parametrize(
    ("document", "operation", "message"),
    [
        ({"a": 1}, {"op": "remove", "path": "/b"}, "missing path: /b"),
        ({"a": 1}, {"op": "replace", "path": "/b", "value": 1}, "missing path: /b"),
        ({"a": 1}, {"op": "add", "path": "/b/c", "value": 1}, "missing path: /b/c"),
        ({"a": 1}, {"op": "add", "path": "/a/c", "value": 1}, "missing path: /a/c"),
        ({"a": [1]}, {"op": "add", "path": "/a/2", "value": 1}, "out of bounds"),
        ({"a": [1]}, {"op": "add", "path": "/a/01", "value": 1}, "is not an index"),
        ({"a": [1]}, {"op": "remove", "path": "/a/-", "value": 1}, "is not an index"),
        ({"a": 1}, {"op": "test", "path": "/a", "value": True}, "test failed"),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a/b"}, "inside of what it moves"),
    ],
)
def test_what_cannot_be_applied_says_where(document: Any, operation: Any, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        json_patch(document, [operation])


@pytest.mark.parametrize(
    "patch",
    [{}, None, ["x"], [{}], [{"op": "add", "path": "/a"}], [{"op": "x", "path": "/a"}], [{"op": "copy", "path": "/a"}],
     [{"op": "remove", "path": "a"}], [{"op": "remove", "path": 1}]],
)  # fmt: skip
def test_what_is_no_patch_is_refused(patch: Any) -> None:
    with pytest.raises(MalformedPatch):
        json_patch({"a": 1}, patch)


@given(JSON, JSON)
def test_replacing_the_whole_document_gives_the_value(document: Any, value: Any) -> None:
    assert json_patch(document, [{"op": "replace", "path": "", "value": value}]) == value


@given(st.dictionaries(st.text(max_size=2), JSON, max_size=4), st.text(max_size=3), JSON)
def test_what_was_added_can_be_tested_and_removed(document: Any, key: str, value: Any) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = json_patch(
        document, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    )
    assert added[key] == value
    removed = json_patch(added, [{"op": "remove", "path": path}])
    assert removed == {k: v for k, v in document.items() if k != key}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_as_in_appendix_a_of_rfc_7386(target: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(target, patch) == expected


@given(JSON, JSON)
def test_a_merge_patch_applied_twice_is_applied_once(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


def test_a_document_copied_into_itself_does_not_grow_without_end() -> None:
    with pytest.raises(PatchError, match="exceeding the limit 3145728"):
        json_patch({"a": "x" * 100}, [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(60)])


def test_a_value_too_deep_to_be_copied_is_told_as_such() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = {"a": deep}
    with pytest.raises(RecursionError):
        json_patch({}, [{"op": "add", "path": "/b", "value": deep}])
