"""Deployments, told as `kubectl` users meet them."""

import re

import pytest

from ambientlab.api.kinds import DEPLOYMENT, REPLICASET, SERVICEACCOUNT
from ambientlab.api.objects import annotations_of, labels_of, name
from support.cluster_world import account, deployment, replicaset

REVISION = "deployment.kubernetes.io/revision"


async def test_a_deployment_becomes_a_replicaset_and_its_pods(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=3))
    (rs,) = cluster.client.list(REPLICASET, "hello")
    assert re.fullmatch(r"web-[bcdfghjklmnpqrstvwxz2456789]{8,10}", name(rs))
    hash_ = labels_of(rs)["pod-template-hash"]
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": hash_}
    assert annotations_of(rs)[REVISION] == annotations_of(cluster.deployment())[REVISION] == "1"
    assert len(cluster.pods()) == 3
    for pod in cluster.pods():
        assert re.fullmatch(rf"{name(rs)}-[bcdfghjklmnpqrstvwxz2456789]{{5}}", name(pod))
        assert labels_of(pod) == {"app": "web", "version": "v1", "pod-template-hash": hash_}
        assert pod["spec"]["nodeName"] == "ambientlab"
    said = await cluster.events("web")
    assert ("Normal", "ScalingReplicaSet", f"Scaled up replica set {name(rs)} from 0 to 3") in said


async def test_its_status_follows_its_pods(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=2))
    status = cluster.deployment()["status"]
    assert (status["replicas"], status["updatedReplicas"], status["unavailableReplicas"]) == (2, 2, 2)
    assert cluster.condition(cluster.deployment(), "Available")["reason"] == "MinimumReplicasUnavailable"
    assert cluster.condition(cluster.deployment(), "Progressing")["reason"] == "ReplicaSetUpdated"
    await cluster.run_pods()
    status = cluster.deployment()["status"]
    assert (status["readyReplicas"], status["availableReplicas"]) == (2, 2)
    assert "unavailableReplicas" not in status
    assert cluster.condition(cluster.deployment(), "Available")["status"] == "True"
    assert cluster.condition(cluster.deployment(), "Progressing")["reason"] == "NewReplicaSetAvailable"
    assert status["observedGeneration"] == cluster.deployment()["metadata"]["generation"]


async def test_nothing_is_written_when_nothing_changes(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=2))
    await cluster.run_pods()
    before = cluster.deployment()["metadata"]["resourceVersion"]
    await cluster.change(DEPLOYMENT, "web", {"metadata": {"labels": {"team": "a"}}})
    after = cluster.deployment()["metadata"]["resourceVersion"]
    await cluster.change(DEPLOYMENT, "web", {"metadata": {"labels": {"team": "a"}}})
    assert cluster.deployment()["metadata"]["resourceVersion"] == after != before


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "most", "fewest"),
    [
        (4, 1, 0, 5, 4),
        (4, 0, 1, 4, 3),
        (4, "25%", "25%", 5, 3),
        (3, "100%", 0, 6, 3),
        (10, 3, 2, 13, 8),
        (1, "25%", "25%", 2, 1),
        (2, 0, "10%", 2, 1),  # rounded, both are nothing: one at a time after all
    ],
)
async def test_a_rolling_update_keeps_within_surge_and_unavailable(replicas, surge, unavailable, most, fewest, cluster):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    await cluster.create(DEPLOYMENT, deployment(replicas=replicas, strategy=strategy))
    await cluster.roll_out(3)
    await cluster.client.patch(DEPLOYMENT, "web", "hello", new_version("v2"))
    seen_most, seen_fewest = await cluster.roll_out(30)
    assert len(cluster.ready_pods("v2")) == len(cluster.pods()) == replicas
    assert (seen_most, seen_fewest) == (most, fewest)
    assert sorted(cluster.sets().values()) == [0, replicas]
    assert annotations_of(cluster.deployment())[REVISION] == "2"
    assert cluster.condition(cluster.deployment(), "Progressing")["reason"] == "NewReplicaSetAvailable"


def new_version(version):
    containers = [{"name": "app", "image": f"example.org/web:{version}"}]
    return {"spec": {"template": {"metadata": {"labels": {"version": version}}, "spec": {"containers": containers}}}}


async def test_recreate_waits_until_the_last_old_pod_is_gone(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=2, strategy={"type": "Recreate"}))
    await cluster.run_pods()
    await cluster.change(DEPLOYMENT, "web", new_version("v2"))
    assert [labels_of(pod)["version"] for pod in cluster.pods()] == ["v1", "v1"]
    assert cluster.live_pods() == []
    first = name(cluster.pods()[0])
    await cluster.run_pods(only=lambda pod: name(pod) == first)
    assert len(cluster.pods()) == 1
    await cluster.run_pods()
    assert [labels_of(pod)["version"] for pod in cluster.pods()] == ["v2", "v2"]


async def test_undo_brings_the_old_replicaset_back_under_a_new_revision(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=1))
    await cluster.roll_out(3)
    (first,) = cluster.sets()
    await cluster.change(DEPLOYMENT, "web", new_version("v2"))
    await cluster.roll_out(5)
    old = cluster.client.get(REPLICASET, first, "hello")["spec"]["template"]
    labels = {key: value for key, value in old["metadata"]["labels"].items() if key != "pod-template-hash"}
    undo = {"spec": {"template": {**old, "metadata": {**old["metadata"], "labels": labels}}}}
    await cluster.change(DEPLOYMENT, "web", undo)
    await cluster.roll_out(5)
    back = cluster.client.get(REPLICASET, first, "hello")
    assert cluster.sets()[first] == 1
    assert len(cluster.sets()) == 2
    assert annotations_of(back)[REVISION] == annotations_of(cluster.deployment())[REVISION] == "3"
    assert annotations_of(back)["deployment.kubernetes.io/revision-history"] == "1"


async def test_the_change_cause_goes_with_its_revision(cluster):
    draft = deployment()
    draft["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first", "deployment.kubernetes.io/revision": "9"}
    await cluster.create(DEPLOYMENT, draft)
    (rs,) = cluster.client.list(REPLICASET, "hello")
    assert annotations_of(rs)["kubernetes.io/change-cause"] == "first"
    assert annotations_of(rs)[REVISION] == "1"


async def test_paused_nothing_rolls_and_resumed_it_does(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=1))
    await cluster.roll_out(3)
    await cluster.change(DEPLOYMENT, "web", {"spec": {"paused": True}})
    await cluster.change(DEPLOYMENT, "web", new_version("v2"))
    assert len(cluster.sets()) == 1
    assert cluster.condition(cluster.deployment(), "Progressing")["reason"] == "DeploymentPaused"
    await cluster.change(DEPLOYMENT, "web", {"spec": {"replicas": 2}})
    assert list(cluster.sets().values()) == [2]
    await cluster.change(DEPLOYMENT, "web", {"spec": {"paused": False}})
    await cluster.roll_out(8)
    assert len(cluster.ready_pods("v2")) == 2


@pytest.mark.parametrize(("start", "end"), [(1, 4), (4, 1), (2, 0), (0, 2)])
async def test_scaling(start, end, cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=start))
    await cluster.run_pods()
    await cluster.change(DEPLOYMENT, "web", {"spec": {"replicas": end}})
    await cluster.roll_out(3)
    assert list(cluster.sets().values()) == [end]
    assert len(cluster.pods()) == end
    assert cluster.deployment()["status"].get("replicas", 0) == end
    assert cluster.condition(cluster.deployment(), "Available")["status"] == "True"


async def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion(cluster):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    await cluster.create(DEPLOYMENT, deployment(replicas=10, strategy=strategy))
    await cluster.run_pods()
    await cluster.change(DEPLOYMENT, "web", new_version("v2"))
    assert sorted(cluster.sets().values()) == [5, 8]  # kubernetes.io/docs: proportional scaling
    await cluster.change(DEPLOYMENT, "web", {"spec": {"replicas": 15}})
    assert sorted(cluster.sets().values()) == [7, 11]


async def test_a_rollout_without_progress_misses_its_deadline_and_may_still_recover(cluster):
    await cluster.create(DEPLOYMENT, deployment(progressDeadlineSeconds=60))
    await cluster.run_pods(ready=False)
    await cluster.advance(59)
    assert cluster.condition(cluster.deployment(), "Progressing")["status"] == "True"
    await cluster.advance(3)
    progressing = cluster.condition(cluster.deployment(), "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert "has timed out progressing" in progressing["message"]
    await cluster.run_pods()
    assert cluster.condition(cluster.deployment(), "Progressing")["reason"] == "NewReplicaSetAvailable"


async def test_broken_pods_of_the_old_revision_go_first(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=4))
    await cluster.run_pods(ready=False)
    await cluster.change(DEPLOYMENT, "web", new_version("v2"))
    await cluster.roll_out(10)
    assert len(cluster.ready_pods("v2")) == 4


async def test_old_replicasets_are_kept_up_to_the_history_limit(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=1, revisionHistoryLimit=2))
    for version in ("v2", "v3", "v4", "v5"):
        cluster.clock.advance(1)
        await cluster.change(DEPLOYMENT, "web", new_version(version))
        await cluster.roll_out(5)
    versions = [rs["spec"]["template"]["metadata"]["labels"]["version"] for rs in cluster.client.list(REPLICASET)]
    assert sorted(versions) == ["v3", "v4", "v5"]


async def test_minimum_ready_seconds_hold_availability_back(cluster):
    await cluster.create(DEPLOYMENT, deployment(minReadySeconds=10))
    await cluster.run_pods()
    assert cluster.deployment()["status"]["readyReplicas"] == 1
    assert "availableReplicas" not in cluster.deployment()["status"]
    await cluster.advance(11)
    assert cluster.deployment()["status"]["availableReplicas"] == 1


async def test_a_name_taken_by_another_template_gets_another_hash(cluster):
    await cluster.create(DEPLOYMENT, deployment())
    (taken,) = cluster.sets()
    await cluster.delete(DEPLOYMENT, "web")
    await cluster.run_pods()
    stranger = replicaset(taken)
    stranger["metadata"]["name"] = taken
    await cluster.create(REPLICASET, stranger)
    await cluster.create(DEPLOYMENT, deployment())
    await cluster.run_pods()
    assert cluster.deployment()["status"]["collisionCount"] == 1
    assert len(cluster.sets()) == 2
    assert cluster.deployment()["status"]["availableReplicas"] == 1


async def test_an_orphaned_replicaset_is_adopted(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=2))
    await cluster.run_pods()
    await cluster.delete(DEPLOYMENT, "web", propagation="Orphan")
    pods = sorted(map(name, cluster.pods()))
    (rs,) = cluster.client.list(REPLICASET, "hello")
    assert not rs["metadata"].get("ownerReferences")
    await cluster.create(DEPLOYMENT, deployment(replicas=2))
    (rs,) = cluster.client.list(REPLICASET, "hello")
    assert rs["metadata"]["ownerReferences"][0]["uid"] == cluster.deployment()["metadata"]["uid"]
    assert sorted(map(name, cluster.pods())) == pods


async def test_pods_that_cannot_be_created_are_reported_and_tried_again(cluster):
    draft = deployment()
    draft["spec"]["template"]["spec"]["serviceAccountName"] = "missing"
    await cluster.create(DEPLOYMENT, draft)
    failure = cluster.condition(cluster.deployment(), "ReplicaFailure")
    assert (failure["status"], failure["reason"]) == ("True", "FailedCreate")
    assert 'serviceaccount "missing" not found' in failure["message"]
    (rs,) = cluster.sets()
    assert ("Warning", "FailedCreate", f"Error creating: {failure['message']}") in await cluster.events(rs)
    await cluster.create(SERVICEACCOUNT, account("missing"))
    await cluster.advance(60)
    await cluster.run_pods()
    assert cluster.condition(cluster.deployment(), "ReplicaFailure") is None
    assert cluster.deployment()["status"]["availableReplicas"] == 1


async def test_deleting_it_in_the_background_takes_everything_with_it(cluster):
    await cluster.create(DEPLOYMENT, deployment(replicas=2))
    await cluster.run_pods()
    await cluster.delete(DEPLOYMENT, "web")
    assert cluster.deployment() is None
    assert cluster.sets() == {}
    await cluster.run_pods()
    assert cluster.pods() == []
