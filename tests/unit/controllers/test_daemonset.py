"""DaemonSets: a pod on every node that fits, and one after the other on updates."""

import pytest

from ambientlab.api.kinds import CONTROLLERREVISION, DAEMONSET, NODE, POD, SERVICEACCOUNT
from ambientlab.api.objects import labels_of, name
from ambientlab.controllers.fit import misfit
from support.cluster_world import account, daemonset, node


def status(cluster):
    return cluster.client.get(DAEMONSET, "agent", "hello")["status"]


def rolled_out(cluster):
    """What `kubectl rollout status ds/agent` waits for."""
    ds = cluster.client.get(DAEMONSET, "agent", "hello")
    now = ds["status"]
    return (
        now["observedGeneration"] == ds["metadata"]["generation"]
        and now.get("updatedNumberScheduled", 0) == now["desiredNumberScheduled"]
        and now.get("numberAvailable", 0) == now["desiredNumberScheduled"]
    )


def new_version(version):
    containers = [{"name": "app", "image": f"example.org/agent:{version}"}]
    return {"spec": {"template": {"metadata": {"labels": {"version": version}}, "spec": {"containers": containers}}}}


async def test_one_pod_on_the_node(cluster):
    await cluster.create(DAEMONSET, daemonset())
    (pod,) = cluster.pods()
    assert name(pod).startswith("agent-")
    assert pod["spec"]["nodeName"] == "ambientlab"
    assert status(cluster)["desiredNumberScheduled"] == status(cluster)["currentNumberScheduled"] == 1
    assert not rolled_out(cluster)
    await cluster.run_pods()
    assert status(cluster)["numberReady"] == status(cluster)["numberAvailable"] == 1
    assert rolled_out(cluster)


async def test_an_update_replaces_the_old_pod(cluster):
    await cluster.create(DAEMONSET, daemonset())
    await cluster.run_pods()
    await cluster.change(DAEMONSET, "agent", new_version("v2"))
    assert not rolled_out(cluster)
    assert cluster.live_pods() == []
    for _ in range(3):
        await cluster.run_pods()
    assert [labels_of(pod)["version"] for pod in cluster.pods()] == ["v2"]
    assert rolled_out(cluster)


async def test_with_surge_the_new_pod_is_ready_before_the_old_one_goes(cluster):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await cluster.create(DAEMONSET, daemonset(updateStrategy=strategy))
    await cluster.run_pods()
    await cluster.change(DAEMONSET, "agent", new_version("v2"))
    assert sorted(labels_of(pod)["version"] for pod in cluster.live_pods()) == ["v1", "v2"]
    await cluster.run_pods()
    assert [labels_of(pod)["version"] for pod in cluster.live_pods()] == ["v2"]


async def test_on_delete_only_a_deletion_updates(cluster):
    await cluster.create(DAEMONSET, daemonset(updateStrategy={"type": "OnDelete"}))
    await cluster.run_pods()
    await cluster.change(DAEMONSET, "agent", new_version("v2"))
    (pod,) = cluster.live_pods()
    assert labels_of(pod)["version"] == "v1"
    await cluster.delete(POD, name(pod))
    await cluster.run_pods()
    assert [labels_of(pod)["version"] for pod in cluster.live_pods()] == ["v2"]


async def test_a_pod_that_does_not_work_is_replaced_by_the_next_version(cluster):
    await cluster.create(DAEMONSET, daemonset())
    await cluster.run_pods(ready=False)
    await cluster.change(DAEMONSET, "agent", new_version("v2"))
    for _ in range(3):
        await cluster.run_pods()
    assert [labels_of(pod)["version"] for pod in cluster.pods()] == ["v2"]


async def test_a_pod_that_cannot_be_created_is_reported_and_tried_again(cluster):
    draft = daemonset()
    draft["spec"]["template"]["spec"]["serviceAccountName"] = "missing"
    await cluster.create(DAEMONSET, draft)
    ((type_, reason, message),) = await cluster.events("agent")
    assert (type_, reason) == ("Warning", "FailedCreate")
    assert 'serviceaccount "missing" not found' in message
    await cluster.create(SERVICEACCOUNT, account("missing"))
    await cluster.advance(60)
    assert len(cluster.pods()) == 1


async def test_nodes_come_and_go_and_may_not_fit(cluster):
    draft = daemonset()
    draft["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "second"}
    await cluster.create(DAEMONSET, draft)
    assert cluster.pods() == []
    assert status(cluster)["desiredNumberScheduled"] == 0
    await cluster.create(NODE, node("second"))
    assert [pod["spec"]["nodeName"] for pod in cluster.pods()] == ["second"]
    await cluster.delete(NODE, "second", home="")
    assert cluster.live_pods() == []


async def test_a_cordoned_node_keeps_its_daemons(cluster):
    await cluster.client.patch(NODE, "ambientlab", "", {"spec": {"unschedulable": True}})
    await cluster.create(DAEMONSET, daemonset())
    assert [pod["spec"]["nodeName"] for pod in cluster.pods()] == ["ambientlab"]


async def test_revisions_are_what_rollout_history_and_undo_read(cluster):
    await cluster.create(DAEMONSET, daemonset())
    await cluster.change(DAEMONSET, "agent", new_version("v2"))
    first, second = sorted(cluster.client.list(CONTROLLERREVISION, "hello"), key=lambda one: one["revision"])
    assert (first["revision"], second["revision"]) == (1, 2)
    assert first["data"]["spec"]["template"]["$patch"] == "replace"
    await cluster.change(DAEMONSET, "agent", new_version("v1"))
    numbers = {name(one): one["revision"] for one in cluster.client.list(CONTROLLERREVISION, "hello")}
    assert numbers == {name(first): 3, name(second): 2}


async def test_deleting_it_takes_pods_and_revisions_with_it(cluster):
    await cluster.create(DAEMONSET, daemonset())
    await cluster.run_pods()
    await cluster.delete(DAEMONSET, "agent")
    await cluster.run_pods()
    assert cluster.pods() == []
    assert cluster.client.list(CONTROLLERREVISION, "hello") == []


def affinity(*terms):
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def expression(operator, *values, key="size"):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
SELECTOR = "node(s) didn't match Pod's node affinity/selector"
TAINTED = "node(s) had untolerated taint {dedicated: db}"


@pytest.mark.parametrize(
    ("spec", "place", "verdict"),
    [
        ({}, {}, None),
        ({"nodeSelector": {"size": "8"}}, {}, None),
        ({"nodeSelector": {"size": "9"}}, {}, SELECTOR),
        (affinity(expression("In", "8", "9")), {}, None),
        (affinity(expression("NotIn", "8")), {}, SELECTOR),
        (affinity(expression("NotIn", "x", key="absent")), {}, None),
        (affinity(expression("Exists")), {}, None),
        (affinity(expression("DoesNotExist")), {}, SELECTOR),
        (affinity(expression("Gt", "7")), {}, None),
        (affinity(expression("Gt", "-7")), {}, None),
        (affinity(expression("Lt", "8")), {}, SELECTOR),
        (affinity(expression("Lt", "²")), {}, SELECTOR),
        (affinity(expression("Lt", "9" * 5000)), {}, SELECTOR),
        (affinity(expression("In", "9"), expression("Exists")), {}, None),
        (affinity({}), {}, SELECTOR),
        (affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}), {}, None),
        ({}, {"unschedulable": True}, "node(s) were unschedulable"),
        ({}, {"taints": [TAINT]}, TAINTED),
        ({}, {"taints": [{**TAINT, "effect": "PreferNoSchedule"}]}, None),
        ({"tolerations": [{"operator": "Exists"}]}, {"taints": [TAINT]}, None),
        ({"tolerations": [{"key": "dedicated", "value": "db"}]}, {"taints": [TAINT]}, None),
        ({"tolerations": [{"key": "dedicated", "value": "web"}]}, {"taints": [TAINT]}, TAINTED),
        (
            {"tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}]},
            {"taints": [TAINT]},
            TAINTED,
        ),
    ],
)
def test_which_pod_fits_which_node(spec, place, verdict):
    there = {**node("n", **place), "metadata": {"name": "n", "labels": {"size": "8"}}}
    assert misfit(spec, there) == verdict
