"""Strategic merge patch on the schema of pods and services."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.api.schema import core
from ambientlab.api.strategic import StrategicError, strategic_merge_patch

POD_SPEC = core("io.k8s.api.core.v1.PodSpec")
OBJECT_META = core("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
DEPLOYMENT_SPEC = core("io.k8s.api.apps.v1.DeploymentSpec")


def containers(*names: str, **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": name, **more} for name in names]}


CASES: list[tuple[str, Any, Any, Any]] = [
    ("items merge by name", containers("a", "b"), containers("b", image="x"),
     {"containers": [{"name": "a"}, {"name": "b", "image": "x"}]}),
    ("a new item is appended", containers("a"), containers("b"), containers("a", "b")),
    ("delete an item", containers("a", "b"), {"containers": [{"$patch": "delete", "name": "a"}]}, containers("b")),
    ("replace a list", containers("a", "b"), {"containers": [{"$patch": "replace"}, {"name": "c"}]}, containers("c")),
    ("replace a map", {"securityContext": {"runAsUser": 1}},
     {"securityContext": {"$patch": "replace", "fsGroup": 2}}, {"securityContext": {"fsGroup": 2}}),
    ("delete a map", {"securityContext": {"runAsUser": 1}}, {"securityContext": {"$patch": "delete"}},
     {"securityContext": {}}),
    ("null deletes a field", {"hostname": "x", "nodeName": "y"}, {"hostname": None}, {"nodeName": "y"}),
    ("an atomic list is replaced", containers("a", command=["x", "y"]), containers("a", command=["z"]),
     containers("a", command=["z"])),
    ("order as the patch says", containers("a", "b", "c"),
     {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "a", "image": "x"}]},
     {"containers": [{"name": "b"}, {"name": "c"}, {"name": "a", "image": "x"}]}),
    ("order alone", containers("a", "b"), {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]},
     containers("b", "a")),
]  # fmt: skip


@pytest.mark.parametrize(("target", "patch", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_pod_specs(target: Any, patch: Any, expected: Any) -> None:
    before = repr(target)
    assert strategic_merge_patch(target, patch, POD_SPEC) == expected
    assert repr(target) == before


def test_lists_of_scalars_are_sets() -> None:
    target = {"finalizers": ["a", "b"]}
    assert strategic_merge_patch(target, {"finalizers": ["b", "c"]}, OBJECT_META) == {"finalizers": ["a", "b", "c"]}
    assert strategic_merge_patch(target, {"$deleteFromPrimitiveList/finalizers": ["a"]}, OBJECT_META) == {
        "finalizers": ["b"]
    }


def test_retain_keys_clears_the_other_members_of_a_union() -> None:
    target = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert strategic_merge_patch(target, patch, DEPLOYMENT_SPEC) == {"strategy": {"type": "Recreate"}}


@pytest.mark.parametrize(
    "patch",
    [
        {"containers": [{"image": "x"}]},
        {"$patch": "nonsense"},
        {"securityContext": {"$retainKeys": ["fsGroup"], "runAsUser": 1}},
        {"$setElementOrder/containers": "a", "containers": []},
    ],
)
def test_a_patch_that_does_not_fit_is_refused(patch: Any) -> None:
    with pytest.raises(StrategicError):
        strategic_merge_patch(containers("a"), patch, POD_SPEC)


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@given(NAMES, NAMES)
def test_an_ordered_patch_keeps_every_item_once_and_its_own_order(server: list[str], order: list[str]) -> None:
    patch = {**containers(*order), "$setElementOrder/containers": [{"name": name} for name in order]}
    merged = [c["name"] for c in strategic_merge_patch(containers(*server), patch, POD_SPEC)["containers"]]
    assert sorted(merged) == sorted({*server, *order})
    assert [name for name in merged if name in order] == order
    others = [name for name in server if name not in order]
    assert [name for name in merged if name not in order] == others
