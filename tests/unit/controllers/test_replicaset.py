"""ReplicaSets: as many pods as wanted, whoever made them."""

import pytest

from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import POD, REPLICASET
from ambientlab.api.objects import labels_of, name
from ambientlab.controllers.pods import deletion_rank
from support.cluster_world import pod, replicaset


async def test_a_pod_that_vanishes_is_replaced(cluster):
    await cluster.create(REPLICASET, replicaset(replicas=2))
    await cluster.run_pods()
    victim = name(cluster.pods()[0])
    await cluster.delete(POD, victim)
    assert len(cluster.live_pods()) == 2
    await cluster.run_pods()
    assert victim not in [name(pod) for pod in cluster.pods()]
    assert len(cluster.pods()) == 2


async def test_a_pod_that_has_failed_does_not_count(cluster):
    await cluster.create(REPLICASET, replicaset())
    first = name(cluster.pods()[0])
    await cluster.change(POD, first, {"status": {"phase": "Failed"}}, subresource="status")
    assert len(cluster.pods()) == 2
    assert cluster.client.get(REPLICASET, "web", "hello")["status"]["replicas"] == 1


async def test_orphans_that_match_are_adopted_and_the_surplus_goes(cluster):
    for number in range(3):
        await cluster.create(POD, pod(f"stray-{number}", {"app": "web", "version": "v1"}))
    await cluster.create(POD, pod("other", {"app": "other"}))
    await cluster.create(REPLICASET, replicaset(replicas=2))
    rs = cluster.client.get(REPLICASET, "web", "hello")
    mine = [one for one in cluster.live_pods() if name(one) != "other"]
    assert len(mine) == 2
    assert {one["metadata"]["ownerReferences"][0]["uid"] for one in mine} == {rs["metadata"]["uid"]}
    assert not cluster.client.get(POD, "other", "hello")["metadata"].get("ownerReferences")


async def test_a_pod_created_later_with_matching_labels_is_one_too_many(cluster):
    await cluster.create(REPLICASET, replicaset(replicas=1))
    await cluster.run_pods()
    await cluster.create(POD, pod("stray", {"app": "web"}))
    assert cluster.client.get(POD, "stray", "hello")["metadata"].get("deletionTimestamp")
    assert len(cluster.live_pods()) == 1


async def test_a_pod_relabelled_is_released_and_replaced(cluster):
    await cluster.create(REPLICASET, replicaset(replicas=1))
    await cluster.run_pods()
    first = name(cluster.pods()[0])
    await cluster.change(POD, first, {"metadata": {"labels": {"app": "debug"}}})
    assert not cluster.client.get(POD, first, "hello")["metadata"].get("ownerReferences")
    assert [labels_of(one)["app"] for one in cluster.pods() if name(one) != first] == ["web"]


async def test_scaled_down_the_pods_that_do_not_work_go_first(cluster):
    await cluster.create(REPLICASET, replicaset(replicas=3))
    good = name(cluster.pods()[1])
    await cluster.run_pods(only=lambda pod: name(pod) == good)
    await cluster.run_pods(ready=False, only=lambda pod: name(pod) != good)
    await cluster.change(REPLICASET, "web", {"spec": {"replicas": 1}})
    assert [name(one) for one in cluster.live_pods()] == [good]


async def test_what_it_reports(cluster):
    await cluster.create(REPLICASET, replicaset(replicas=2))
    first = name(cluster.pods()[0])
    await cluster.run_pods(only=lambda pod: name(pod) == first)
    status = cluster.client.get(REPLICASET, "web", "hello")["status"]
    assert {key: status[key] for key in ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")} == {
        "replicas": 2,
        "fullyLabeledReplicas": 2,
        "readyReplicas": 1,
        "availableReplicas": 1,
    }
    assert ("Normal", "SuccessfulCreate", f"Created pod: {first}") in await cluster.events("web")


def ranked(called, *, node="n", phase="Running", ready=None, restarts=0, created="2026-01-01T00:00:00Z", cost=None):
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}] if ready else []
    annotations = {"controller.kubernetes.io/pod-deletion-cost": cost} if cost else {}
    return {
        "metadata": {"name": called, "creationTimestamp": created, "annotations": annotations},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": [{"restartCount": restarts}]},
    }


EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"node": ""}, {"ready": EARLY}),
        ({"phase": "Pending"}, {"phase": "Running"}),
        ({"phase": "Unknown"}, {"phase": "Running"}),
        ({}, {"ready": EARLY}),
        ({"ready": EARLY, "cost": "-5"}, {"ready": LATE}),
        ({"ready": EARLY, "cost": "1"}, {"ready": EARLY, "cost": "20"}),
        ({"ready": EARLY, "cost": "cheap"}, {"ready": EARLY, "cost": "1"}),
        ({"ready": LATE}, {"ready": EARLY}),
        ({"ready": EARLY, "restarts": 3}, {"ready": EARLY}),
        ({"created": LATE}, {"created": EARLY}),
    ],
)
def test_which_of_two_pods_goes_first(first, second):
    one, two = ranked("one", **first), ranked("two", **second)
    assert [name(pod) for pod in sorted([two, one], key=deletion_rank)] == ["one", "two"]
    assert [name(pod) for pod in sorted([one, two], key=deletion_rank)] == ["one", "two"]


async def test_a_pod_on_its_way_out_is_not_adopted(cluster):
    """It would be counted as one of those that are wanted."""
    await cluster.create(POD, pod("stray", {"app": "web", "version": "v1"}))
    await cluster.run_pods()
    await cluster.delete(POD, "stray")
    await cluster.create(REPLICASET, replicaset())
    leaving = cluster.client.get(POD, "stray", "hello")
    assert leaving["metadata"]["deletionTimestamp"]
    assert not leaving["metadata"].get("ownerReferences")
    assert len(cluster.live_pods()) == 1


async def test_who_comes_too_late_reports_no_failure(cluster, monkeypatch):
    """The next pass sees what others did, and there is nothing to tell a user of."""
    create, told = cluster.client.create, list[object]()

    async def raced(resource, obj):
        if resource == POD and not told:
            told.append(obj)
            raise StatusError(409, "AlreadyExists", "somebody was faster")
        return await create(resource, obj)

    seen = []
    stop = cluster.client.watch(REPLICASET, lambda event: seen.append(event.object.get("status") or {}))
    monkeypatch.setattr(cluster.client, "create", raced)
    await cluster.create(REPLICASET, replicaset())
    await cluster.advance(60)
    stop()
    assert len(told) == len(cluster.live_pods()) == 1
    assert not any(status.get("conditions") for status in seen)
