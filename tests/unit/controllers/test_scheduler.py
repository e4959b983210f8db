"""Binding: every pod that fits gets the node, the others say why not."""

import asyncio
from datetime import timedelta

import pytest

from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import EVENT, NODE, POD
from ambientlab.controllers.base import Key, key_of
from ambientlab.controllers.events import WRITE_DELAY, Recorder
from ambientlab.controllers.scheduler import Scheduler
from ambientlab.flow.queue import WorkQueue
from support.cluster_world import node, pod
from support.memory_client import MemoryClient


async def test_a_pod_is_bound_and_says_so(cluster):
    await cluster.create(POD, pod("one"))
    bound = cluster.client.get(POD, "one", "hello")
    assert bound["spec"]["nodeName"] == "ambientlab"
    assert cluster.condition(bound, "PodScheduled")["status"] == "True"
    assert await cluster.events("one") == [("Normal", "Scheduled", "Successfully assigned hello/one to ambientlab")]


async def test_a_pod_is_scheduled_before_anything_else_happens_to_it(cluster):
    """Events of one second are ordered by their names, and the kubelet may be faster than the scheduler's own words."""
    say = next(one._reconciler for one in cluster.controllers if isinstance(one._reconciler, Recorder))
    created = await cluster.create(POD, pod("one"))
    later = cluster.clock.now() + timedelta(microseconds=1)
    say.record("kubelet", POD, created, "Normal", "Pulled", "there", at=later)
    say.record("kubelet", POD, created, "Normal", "Created", "made", at=later)
    await cluster.advance(WRITE_DELAY)
    written = sorted(cluster.client.list(EVENT, "hello"), key=lambda event: event["metadata"]["name"])
    assert [event["reason"] for event in written] == ["Scheduled", "Pulled", "Created"]


async def test_a_pod_that_fits_nowhere_waits_until_a_node_does(cluster):
    await cluster.create(POD, pod("picky", nodeSelector={"disk": "ssd"}))
    waiting = cluster.client.get(POD, "picky", "hello")
    assert "nodeName" not in waiting["spec"]
    refused = cluster.condition(waiting, "PodScheduled")
    why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    assert (refused["status"], refused["reason"], refused["message"]) == ("False", "Unschedulable", why)
    assert await cluster.events("picky") == [("Warning", "FailedScheduling", why)]
    await cluster.change(NODE, "ambientlab", {"metadata": {"labels": {"disk": "ssd"}}}, home="")
    bound = cluster.client.get(POD, "picky", "hello")
    assert bound["spec"]["nodeName"] == "ambientlab"
    assert cluster.condition(bound, "PodScheduled")["status"] == "True"


async def test_the_reasons_of_several_nodes_are_counted(cluster):
    await cluster.create(NODE, node("second", unschedulable=True))
    await cluster.create(POD, pod("picky", nodeSelector={"disk": "ssd"}))
    refused = cluster.condition(cluster.client.get(POD, "picky", "hello"), "PodScheduled")
    assert refused["message"] == (
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable."
    )


async def test_a_full_node_takes_the_next_pod_when_one_has_gone(cluster):
    await cluster.change(NODE, "ambientlab", {"status": {"allocatable": {"pods": "2"}}}, home="", subresource="status")
    for name in ("one", "two", "three", "four"):
        await cluster.create(POD, pod(name))

    def placed():
        return {found["metadata"]["name"] for found in cluster.client.list(POD) if "nodeName" in found["spec"]}

    assert placed() == {"one", "two"}
    why = "0/1 nodes are available: 1 Too many pods."
    assert await cluster.events("three") == [("Warning", "FailedScheduling", why)]
    await cluster.change(POD, "one", {"status": {"phase": "Succeeded"}}, subresource="status")
    assert len(placed()) == 3, "one that has done its work takes no place"
    await cluster.client.delete(POD, "two", "hello", grace_seconds=0)
    await cluster.settle()
    assert placed() == {"one", "three", "four"}


async def test_a_place_that_is_not_taken_after_all_is_offered_to_who_was_left_out(clock):
    class Failing(MemoryClient):
        """Does not let "one" be bound, and says so when `gate` is open."""

        def __init__(self):
            super().__init__()
            self.gate = asyncio.Event()

        async def patch(self, resource, name, namespace, patch, *, subresource=""):
            if name == "one":
                await self.gate.wait()
                raise StatusError(500, "InternalError", "no")
            return await super().patch(resource, name, namespace, patch, subresource=subresource)

    client = Failing()
    client.put(NODE, {**node("ambientlab"), "status": {"allocatable": {"pods": "1"}}})
    queue: WorkQueue[Key] = WorkQueue(clock=clock)
    scheduler = Scheduler(client, Recorder(client, clock), clock)
    scheduler.watch(queue)
    one, two = (key_of(client.put(POD, pod(name))) for name in ("one", "two"))
    binding = asyncio.create_task(scheduler.reconcile(one))
    await asyncio.sleep(0)
    await scheduler.reconcile(two)
    while len(queue):
        key = await queue.get()
        assert key is not None
        queue.done(key)
    client.gate.set()
    with pytest.raises(StatusError, match="no"):
        await binding
    assert len(queue) == 1
    assert await queue.get() == two


async def test_a_scheduler_that_does_not_exist_is_named(cluster):
    await cluster.create(POD, pod("special", schedulerName="gpu-scheduler"))
    ((type_, reason, message),) = await cluster.events("special")
    assert (type_, reason) == ("Warning", "FailedScheduling")
    assert 'no scheduler named "gpu-scheduler"' in message
    assert "nodeName" not in cluster.client.get(POD, "special", "hello")["spec"]


async def test_without_nodes_pods_wait(cluster):
    await cluster.delete(NODE, "ambientlab", home="")
    await cluster.create(POD, pod("one"))
    refused = cluster.condition(cluster.client.get(POD, "one", "hello"), "PodScheduled")
    assert refused["message"] == "no nodes available to schedule pods"
    await cluster.create(NODE, node("ambientlab"))
    assert cluster.client.get(POD, "one", "hello")["spec"]["nodeName"] == "ambientlab"


async def test_a_heartbeat_does_not_wake_the_scheduler(cluster):
    await cluster.create(POD, pod("picky", nodeSelector={"disk": "ssd"}))
    before = cluster.client.get(POD, "picky", "hello")["metadata"]["resourceVersion"]
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    await cluster.change(NODE, "ambientlab", ready, home="", subresource="status")
    assert cluster.client.get(POD, "picky", "hello")["metadata"]["resourceVersion"] == before
    assert len(await cluster.events("picky")) == 1
