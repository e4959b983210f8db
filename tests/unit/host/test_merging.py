"""The patches that `kubectl apply` sends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ambientlab.api.kinds import DEPLOYMENT, SERVICE
from ambientlab.api.objects import Object
from ambientlab.api.registry import Registry
from ambientlab.apiserver.patch.apply import LAST_APPLIED
from ambientlab.host.merging import three_way

REGISTRY = Registry()


def obj(spec: Any, last: Any = None, **metadata: Any) -> Object:
    applied = {"spec": last, "metadata": {"name": "a", "annotations": {}}}
    annotations = {} if last is None else {"annotations": {LAST_APPLIED: json.dumps(applied)}}
    return {"metadata": {"name": "a", **annotations, **metadata}, "spec": spec}


@pytest.mark.parametrize(
    ("live", "wanted", "patch"),
    [
        (obj({"a": 1, "b": 2}, {"a": 1}), obj({"a": 1}), {}),
        (obj({"a": 1, "b": 2}, {"a": 1}), obj({"a": 3}), {"spec": {"a": 3}}),
        (obj({"a": 1, "b": 2}, {"a": 1, "b": 2}), obj({"a": 1}), {"spec": {"b": None}}),
        (obj({"a": 1}, {"a": 1, "b": 2}), obj({"a": 1}), {}),
        (obj({"a": 1}), obj({"a": 1}, labels={"x": "y"}), {"metadata": {"labels": {"x": "y"}}}),
        (obj({"l": [1, 2]}, {"l": [1]}), obj({"l": [1]}), {"spec": {"l": [1]}}),
    ],
)
def test_of_custom_resources(live: Object, wanted: Object, patch: Object) -> None:
    assert three_way(live, wanted, None) == patch


def test_labels_of_others_stay_and_own_ones_go() -> None:
    last = json.dumps({"metadata": {"labels": {"mine": "1", "old": "1"}}})
    labels = {"mine": "1", "old": "1", "theirs": "1"}
    live = {"metadata": {"name": "a", "labels": labels, "annotations": {LAST_APPLIED: last}}}
    assert three_way(live, {"metadata": {"name": "a", "labels": {"mine": "2"}}}, None) == {
        "metadata": {"labels": {"mine": "2", "old": None}}
    }


def test_lists_of_kubernetes_merge_item_by_item() -> None:
    def ports(*numbers: int) -> list[Object]:
        return [{"port": number, "name": f"p{number}"} for number in numbers]

    live = obj({"ports": [{**port, "nodePort": 30000} for port in ports(80, 81, 82)]}, {"ports": ports(80, 81)})
    patch = three_way(live, obj({"ports": ports(80, 83)}), REGISTRY.schema(SERVICE))
    assert patch == {"spec": {"ports": [{"port": 83, "name": "p83"}, {"port": 81, "$patch": "delete"}]}}


def test_what_the_server_fills_in_is_no_difference() -> None:
    def template(**more: Any) -> Object:
        return {"template": {"spec": {"containers": [{"name": "c", "image": "i", **more}], "dnsPolicy": "Default"}}}

    live = obj(template(imagePullPolicy="Always"), template())
    schema = REGISTRY.schema(DEPLOYMENT)
    assert three_way(live, obj(template()), schema) == {}
    changed = three_way(live, obj(template(image="j")), schema)
    assert changed == {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}}
