"""Server-side apply and field ownership, on the schemas of core kinds and of a custom resource."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.api.objects import Object, copy
from ambientlab.api.schema import core, structural
from ambientlab.apiserver.patch import fields, managed
from ambientlab.apiserver.patch.apply import LAST_APPLIED, Conflicts, apply, settle
from ambientlab.apiserver.patch.managed import Manager, Owned

DEPLOYMENT = core("io.k8s.api.apps.v1.Deployment")
WIDGET = structural(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": True},
                    "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "plain": {"type": "array", "items": {"type": "string"}},
                    "rules": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}},
                        },
                    },
                },
            }
        },
    }
)


class Cluster:
    """One object and those who apply to it."""

    def __init__(self) -> None:
        self.object: dict[str, Any] = {"metadata": {}}
        self.managers: dict[Manager, Owned] = {}

    def apply(self, name: str, spec: Any, *, force: bool = False) -> Any:
        manager = Manager("Apply", name, "v1")
        applied = apply(self.object, {"spec": spec}, WIDGET, self.managers, manager)
        self.managers = settle(
            self.object, applied.object, applied.claimed, WIDGET, self.managers, manager, "now", force=force
        )
        self.object = applied.object
        return self.object.get("spec")

    def update(self, name: str, spec: Any) -> None:
        new = {"metadata": {}, "spec": spec}
        manager = Manager("Update", name, "v1")
        self.managers = managed.update(self.object, new, WIDGET, self.managers, manager, "now")
        self.object = new


def test_maps_sets_and_keyed_lists_merge_and_the_rest_is_replaced() -> None:
    cluster = Cluster()
    cluster.apply("a", {"labels": {"x": "1"}, "tags": ["p"], "rules": [{"name": "one", "weight": 1}]})
    found = cluster.apply("b", {"labels": {"y": "2"}, "tags": ["q"], "rules": [{"name": "two"}], "plain": ["z"]})
    assert found == {
        "labels": {"x": "1", "y": "2"},
        "tags": ["p", "q"],
        "rules": [{"name": "one", "weight": 1}, {"name": "two"}],
        "plain": ["z"],
    }


def test_what_a_manager_no_longer_names_goes_unless_another_owns_it() -> None:
    cluster = Cluster()
    cluster.apply("a", {"size": 1, "labels": {"x": "1", "y": "1"}, "rules": [{"name": "one", "weight": 1}]})
    cluster.apply("b", {"labels": {"y": "1"}, "rules": [{"name": "one"}]})
    assert cluster.apply("a", {"size": 1}) == {"size": 1, "labels": {"y": "1"}, "rules": [{"name": "one"}]}
    assert cluster.apply("b", {}) == {"size": 1}


def test_a_conflict_names_manager_and_field_and_force_takes_over() -> None:
    cluster = Cluster()
    cluster.update("kubectl", {"size": 1, "rules": [{"name": "one", "weight": 1}]})
    with pytest.raises(Conflicts) as one:
        cluster.apply("a", {"size": 2})
    assert str(one.value) == 'Apply failed with 1 conflict: conflict with "kubectl" using v1: .spec.size'
    with pytest.raises(Conflicts) as two:
        cluster.apply("a", {"size": 2, "rules": [{"name": "one", "weight": 2}]})
    assert str(two.value) == (
        'Apply failed with 2 conflicts: conflicts with "kubectl" using v1:\n'
        '- .spec.rules[name="one"].weight\n- .spec.size'
    )
    cluster.apply("a", {"size": 2}, force=True)
    kubectl = cluster.managers[Manager("Update", "kubectl", "v1")]
    assert ("f:spec", "f:size") not in kubectl.fields


def test_kubectl_takes_over_what_client_side_apply_has_set_and_nobody_changed() -> None:
    last = json.dumps({"apiVersion": "v1", "spec": {"size": 1, "labels": {"a": "x"}}})
    cluster = Cluster()
    cluster.object["metadata"]["annotations"] = {LAST_APPLIED: last}
    cluster.object["spec"] = {"size": 1, "labels": {"a": "y"}}
    writer = Manager("Update", "kubectl-client-side-apply", "v1")
    cluster.managers[writer] = Owned(fields.every(cluster.object, WIDGET), "before")
    with pytest.raises(Conflicts, match="size"):
        cluster.apply("somebody", {"size": 2})
    with pytest.raises(Conflicts, match=r"1 conflict: .*labels\.a"):
        cluster.apply("kubectl", {"size": 2, "labels": {"a": "z"}})
    assert cluster.apply("kubectl", {"size": 2}) == {"size": 2, "labels": {"a": "y"}}


def test_clients_may_write_who_manages_what() -> None:
    old: dict[str, Any] = {"metadata": {}, "spec": {"size": 1}}
    writer, other = Manager("Update", "a", "v1"), Manager("Apply", "b", "v1")
    managed.write(old, {writer: Owned(fields.every(old, WIDGET), "then")})
    new = copy(old)
    managed.write(new, {other: Owned(fields.every(old, WIDGET), "then")})
    assert list(managed.given(new, old)) == [other]
    for entries, known in (([{}], []), ([], [writer]), ([{"manager": "x"}], [writer])):
        new["metadata"]["managedFields"] = entries
        assert list(managed.given(new, old)) == known
    del new["metadata"]["managedFields"]
    assert list(managed.given(new, old)) == [writer]


def test_the_same_value_is_shared_without_conflict() -> None:
    cluster = Cluster()
    cluster.update("kubectl", {"size": 1})
    cluster.apply("a", {"size": 1})
    owners = [m.name for m, owned in cluster.managers.items() if ("f:spec", "f:size") in owned.fields]
    assert sorted(owners) == ["a", "kubectl"]


def test_an_update_takes_what_it_changes_and_nobody_keeps_what_it_removes() -> None:
    cluster = Cluster()
    cluster.apply("a", {"size": 1, "labels": {"x": "1"}})
    cluster.update("kubectl", {"size": 2})
    assert Manager("Apply", "a", "v1") not in cluster.managers
    assert cluster.managers[Manager("Update", "kubectl", "v1")].fields == {("f:spec", "f:size")}


def test_atomic_maps_have_one_owner() -> None:
    cluster = Cluster()
    cluster.apply("a", {"whole": {"x": 1}})
    with pytest.raises(Conflicts):
        cluster.apply("b", {"whole": {"y": 1}})
    assert cluster.apply("b", {"whole": {"y": 1}}, force=True) == {"whole": {"y": 1}}


def test_fields_of_a_deployment_as_kube_apiserver_writes_them() -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "labels": {"app": "d"}},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
            },
        },
    }
    port: Object = {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}
    container: Object = {".": {}, "f:image": {}, "f:name": {}}
    assert fields.encode(fields.applied(deployment, DEPLOYMENT)) == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {'k:{"name":"c"}': {**container, "f:ports": port}}},
            },
        },
    }
    assert fields.encode(fields.every(deployment, DEPLOYMENT)) == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {'k:{"name":"c"}': {**container, "f:ports": {".": {}, **port}}}},
            },
        },
    }


NAME = st.sampled_from("abc")
SPEC = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(0, 2),
        "labels": st.dictionaries(NAME, NAME, max_size=3),
        "whole": st.dictionaries(NAME, st.integers(0, 2), max_size=2),
        "tags": st.lists(NAME, unique=True, max_size=3),
        "plain": st.lists(NAME, max_size=3),
        "rules": st.lists(
            st.fixed_dictionaries({"name": NAME}, optional={"weight": st.integers(0, 2)}),
            unique_by=lambda rule: rule["name"],
            max_size=3,
        ),
    },
)


@given(SPEC, SPEC)
def test_applying_twice_changes_nothing_more(first: Any, second: Any) -> None:
    cluster = Cluster()
    cluster.apply("a", first)
    cluster.apply("b", second, force=True)
    found, managers = copy(cluster.object), dict(cluster.managers)
    cluster.apply("b", second)
    assert cluster.object == found
    assert cluster.managers == managers


@given(SPEC, SPEC)
def test_the_last_configuration_is_all_that_is_left_of_its_manager(first: Any, second: Any) -> None:
    """Applied alone, an object is what the configuration says: nothing of the one before is left."""
    cluster, fresh = Cluster(), Cluster()
    cluster.apply("a", first)
    assert _paths(cluster.apply("a", second)) == _paths(fresh.apply("a", second))


@given(SPEC, SPEC)
def test_a_manager_that_leaves_takes_only_its_own(first: Any, second: Any) -> None:
    cluster = Cluster()
    cluster.apply("a", first)
    cluster.apply("b", second, force=True)
    cluster.apply("a", {})
    claimed = fields.applied({"spec": second}, WIDGET)
    assert claimed <= fields.every(cluster.object, WIDGET) | {("f:spec",)}


@given(SPEC)
def test_fields_survive_their_encoding(spec: Any) -> None:
    owned = fields.every({"spec": spec}, WIDGET)
    assert fields.decode(fields.encode(owned)) == owned


@given(SPEC, SPEC)
def test_compare_finds_nothing_between_equals_and_everything_between_others(first: Any, second: Any) -> None:
    changed, removed = fields.compare({"spec": first}, {"spec": copy(first)}, WIDGET)
    assert not changed
    assert not removed
    changed, removed = fields.compare({"spec": first}, {"spec": second}, WIDGET)
    order = [name for name in ("tags", "rules") if name in first and name in second]
    if not order:
        assert bool(changed or removed) == (first != second)


def _paths(spec: Any) -> fields.Fields:
    return fields.every({"spec": spec or {}}, WIDGET)
