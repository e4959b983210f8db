"""Namespaces: what they start with, and how they end."""

import pytest

from ambientlab.api.kinds import (
    CONFIGMAP,
    DEPLOYMENT,
    EVENT,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE,
    SERVICEACCOUNT,
    VIRTUALSERVICE,
)
from ambientlab.api.objects import name
from support.cluster_world import deployment, service


def configmaps(cluster, home):
    return {name(one): one["data"] for one in cluster.client.list(CONFIGMAP, home)}


async def test_a_new_namespace_has_an_account_and_the_roots_of_trust(cluster):
    await cluster.namespace("fresh")
    assert [name(one) for one in cluster.client.list(SERVICEACCOUNT, "fresh")] == ["default"]
    assert configmaps(cluster, "fresh") == {
        "kube-root-ca.crt": {"ca.crt": "CLUSTER PEM"},
        "istio-ca-root-cert": {"root-cert.pem": "MESH PEM"},
    }


@pytest.mark.parametrize("home", ["kube-public", "kube-node-lease", "local-path-storage"])
async def test_the_mesh_stays_out_of_the_systems_namespaces(cluster, home):
    await cluster.namespace(home)
    assert list(configmaps(cluster, home)) == ["kube-root-ca.crt"]


async def test_every_namespace_follows_the_roots_of_the_mesh(cluster):
    await cluster.namespace("kube-system")
    cluster.roots.become(b"OTHER PEM")
    await cluster.settle()
    for home in ("hello", "kube-system"):
        assert configmaps(cluster, home)["istio-ca-root-cert"] == {"root-cert.pem": "OTHER PEM"}


async def test_what_is_deleted_or_changed_of_it_comes_back(cluster):
    await cluster.delete(SERVICEACCOUNT, "default")
    await cluster.delete(CONFIGMAP, "istio-ca-root-cert")
    await cluster.change(CONFIGMAP, "kube-root-ca.crt", {"data": {"ca.crt": "forged", "more": "x"}})
    assert cluster.client.get(SERVICEACCOUNT, "default", "hello") is not None
    assert configmaps(cluster, "hello") == {
        "kube-root-ca.crt": {"ca.crt": "CLUSTER PEM"},
        "istio-ca-root-cert": {"root-cert.pem": "MESH PEM"},
    }


async def test_a_deleted_namespace_goes_with_all_that_is_in_it(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=2))
    await cluster.create(SERVICE, service(selector={"app": "web"}))
    rule = {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}]}]}
    head = {"apiVersion": VIRTUALSERVICE.api_version, "kind": "VirtualService"}
    await cluster.create(VIRTUALSERVICE, {**head, "metadata": {"name": "rule", "namespace": "hello"}, "spec": rule})
    await cluster.run_pods()
    await cluster.delete(NAMESPACE, "hello", home="")
    home = cluster.client.get(NAMESPACE, "hello")
    assert home["status"]["phase"] == "Terminating"
    remaining = cluster.condition(home, "NamespaceContentRemaining")
    assert remaining["message"] == "Some resources are remaining: pods has 2 resource instances"
    await cluster.run_pods()
    assert cluster.client.get(NAMESPACE, "hello") is None
    for resource in (POD, SERVICE, VIRTUALSERVICE, CONFIGMAP, SERVICEACCOUNT, EVENT):
        assert list(cluster.client.list(resource, "hello")) == []


async def test_an_empty_namespace_goes_at_once(cluster):
    await cluster.namespace("brief")
    await cluster.delete(NAMESPACE, "brief", home="")
    assert cluster.client.get(NAMESPACE, "brief") is None


async def test_what_holds_a_namespace_up_is_named(cluster):
    secret = {"apiVersion": "v1", "kind": "Secret"}
    await cluster.create(
        SECRET, {**secret, "metadata": {"name": "held", "namespace": "hello", "finalizers": ["example.org/wait"]}}
    )
    await cluster.delete(NAMESPACE, "hello", home="")
    home = cluster.client.get(NAMESPACE, "hello")
    assert cluster.condition(home, "NamespaceFinalizersRemaining")["message"] == (
        "Some content in the namespace has finalizers remaining: example.org/wait in 1 resource instances"
    )
    await cluster.change(SECRET, "held", {"metadata": {"finalizers": None}})
    assert cluster.client.get(NAMESPACE, "hello") is None


async def test_another_namespace_is_not_touched(cluster):
    await cluster.namespace("other")
    await cluster.delete(NAMESPACE, "hello", home="")
    assert len(cluster.client.list(CONFIGMAP, "other")) == 2
    assert cluster.client.get(NAMESPACE, "other")["status"]["phase"] == "Active"
