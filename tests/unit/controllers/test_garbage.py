"""Garbage collection: what goes, when, and what must not."""

import pytest

from ambientlab.api.kinds import (
    CONFIGMAP,
    CUSTOMRESOURCEDEFINITION,
    DEPLOYMENT,
    GATEWAY,
    HTTPROUTE,
    NAMESPACE,
    REPLICASET,
    SECRET,
)
from ambientlab.api.objects import name
from ambientlab.api.resources import Resource
from support.cluster_world import custom_resource, deployment


def thing(called, *owners, kind="ConfigMap", home="hello", finalizers=(), block=True):
    references = [reference(owner, block) for owner in owners]
    metadata = {"name": called, "namespace": home, "ownerReferences": references, "finalizers": list(finalizers)}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def reference(owner, block=True):
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": block,
    }


def there(cluster, called, resource=CONFIGMAP):
    return cluster.client.get(resource, called, "hello") is not None


async def test_a_dependent_goes_when_its_owner_is_gone(cluster):
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    await cluster.create(CONFIGMAP, thing("child", owner))
    grandchild = thing("grandchild", cluster.client.get(CONFIGMAP, "child", "hello"))
    await cluster.create(CONFIGMAP, grandchild)
    await cluster.delete(SECRET, "owner")
    assert not there(cluster, "child")
    assert not there(cluster, "grandchild")


async def test_with_two_owners_it_stays_until_both_are_gone(cluster):
    one = await cluster.create(SECRET, thing("one", kind="Secret"))
    two = await cluster.create(SECRET, thing("two", kind="Secret"))
    await cluster.create(CONFIGMAP, thing("child", one, two))
    await cluster.delete(SECRET, "one")
    left = cluster.client.get(CONFIGMAP, "child", "hello")["metadata"]["ownerReferences"]
    assert [ref["name"] for ref in left] == ["two"]
    await cluster.delete(SECRET, "two")
    assert not there(cluster, "child")


@pytest.mark.parametrize("wrong", ["uid", "name"])
async def test_an_owner_that_never_was_does_not_keep_anything(wrong, cluster):
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    child = thing("child", owner)
    child["metadata"]["ownerReferences"][0][wrong] = "another"
    await cluster.create(CONFIGMAP, child)
    assert not there(cluster, "child")
    assert there(cluster, "owner", SECRET)


async def test_an_owner_recreated_under_its_name_is_another(cluster):
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    await cluster.create(CONFIGMAP, thing("child", owner))
    await cluster.client.delete(SECRET, "owner", "hello")
    await cluster.create(SECRET, thing("owner", kind="Secret"))
    assert not there(cluster, "child")


async def test_owners_are_in_the_same_namespace_or_in_none(cluster):
    await cluster.namespace("other")
    owner = await cluster.create(SECRET, thing("owner", kind="Secret", home="other"))
    await cluster.create(CONFIGMAP, thing("child", owner))
    assert not there(cluster, "child")


async def test_an_owner_of_an_unknown_kind_proves_nothing(cluster):
    unknown = {"apiVersion": "example.org/v1", "kind": "Mystery", "metadata": {"name": "x", "uid": "u"}}
    await cluster.create(CONFIGMAP, thing("child", unknown))
    assert there(cluster, "child")


async def test_in_the_foreground_the_owner_goes_last(cluster):
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    await cluster.create(CONFIGMAP, thing("slow", owner, finalizers=["example.org/wait"]))
    await cluster.create(CONFIGMAP, thing("quick", owner))
    await cluster.delete(SECRET, "owner", propagation="Foreground")
    assert not there(cluster, "quick")
    assert there(cluster, "owner", SECRET)
    await cluster.change(CONFIGMAP, "slow", {"metadata": {"finalizers": None}})
    assert not there(cluster, "slow")
    assert not there(cluster, "owner", SECRET)


async def test_a_dependent_that_does_not_block_is_not_waited_for(cluster):
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    await cluster.create(CONFIGMAP, thing("slow", owner, finalizers=["example.org/wait"], block=False))
    await cluster.delete(SECRET, "owner", propagation="Foreground")
    assert not there(cluster, "owner", SECRET)
    assert there(cluster, "slow")


async def test_a_blocking_dependent_that_finds_another_owner_lets_go(cluster):
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    other = await cluster.create(SECRET, thing("other", kind="Secret"))
    await cluster.create(CONFIGMAP, thing("child", owner, other))
    await cluster.delete(SECRET, "owner", propagation="Foreground")
    assert not there(cluster, "owner", SECRET)
    left = cluster.client.get(CONFIGMAP, "child", "hello")["metadata"]["ownerReferences"]
    assert [ref["name"] for ref in left] == ["other"]


async def test_orphans_stay_and_forget_their_owner(cluster):
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    await cluster.create(CONFIGMAP, thing("child", owner))
    await cluster.delete(SECRET, "owner", propagation="Orphan")
    assert not there(cluster, "owner", SECRET)
    assert not cluster.client.get(CONFIGMAP, "child", "hello")["metadata"].get("ownerReferences")


async def test_a_deployment_in_the_foreground_goes_after_its_pods(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=2))
    await cluster.run_pods()
    await cluster.delete(DEPLOYMENT, "web", propagation="Foreground")
    assert cluster.live_pods() == []
    assert cluster.deployment() is not None
    assert len(cluster.client.list(REPLICASET, "hello")) == 1
    await cluster.run_pods()
    assert cluster.pods() == []
    assert cluster.client.list(REPLICASET, "hello") == []
    assert cluster.deployment() is None


async def test_custom_resources_own_and_are_owned(cluster):
    head = {"apiVersion": GATEWAY.api_version, "kind": "Gateway", "metadata": {"name": "gw", "namespace": "hello"}}
    listener = {"name": "web", "port": 80, "protocol": "HTTP"}
    owner = await cluster.create(GATEWAY, {**head, "spec": {"gatewayClassName": "none", "listeners": [listener]}})
    route = {**thing("route", owner), "apiVersion": HTTPROUTE.api_version, "kind": "HTTPRoute", "spec": {}}
    await cluster.create(HTTPROUTE, route)
    await cluster.create(CONFIGMAP, thing("child", cluster.client.get(HTTPROUTE, "route", "hello")))
    await cluster.delete(GATEWAY, "gw")
    assert not there(cluster, "route", HTTPROUTE)
    assert not there(cluster, "child")


async def test_a_kind_that_is_served_later_begins_to_prove_something(cluster):
    widget = Resource("example.org", "v1", "widgets", "Widget")
    absent = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w", "uid": "u"}}
    await cluster.create(CONFIGMAP, thing("child", absent))
    assert there(cluster, "child")
    cluster.serve(widget)
    await cluster.create(CUSTOMRESOURCEDEFINITION, custom_resource(widget))
    assert not there(cluster, "child")
    owner = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "hello"}}
    created = await cluster.create(widget, owner)
    await cluster.create(CONFIGMAP, thing("child", created))
    assert there(cluster, "child")
    await cluster.delete(widget, "w")
    assert not there(cluster, "child")


async def test_what_belongs_to_no_namespace_is_kept_by_an_owner_that_has_one(cluster):
    """Which namespace it would be looked for in is not said, so it is not taken to be gone (kubernetes.io, "Owners and
    Dependents": treated as having an owner that cannot be resolved)."""
    owner = await cluster.create(SECRET, thing("owner", kind="Secret"))
    metadata = {"name": "dependent", "ownerReferences": [reference(owner)]}
    await cluster.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    await cluster.delete(SECRET, "owner")
    kept = cluster.client.get(NAMESPACE, "dependent")
    assert not kept["metadata"].get("deletionTimestamp")
    assert kept["metadata"]["ownerReferences"] == [reference(owner)]
