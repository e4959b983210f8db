"""Events: said once, counted after that, and forgotten in an hour."""

import pytest

from ambientlab.api.kinds import EVENT, NAMESPACE, POD
from ambientlab.controllers.events import WRITE_DELAY, Recorder
from support.cluster_world import pod


def recorder(cluster):
    return next(one._reconciler for one in cluster.controllers if isinstance(one._reconciler, Recorder))


async def test_the_same_words_are_counted(cluster):
    created = await cluster.create(POD, pod("one"))
    say = recorder(cluster)
    for _ in range(3):
        say.record("tester", POD, created, "Warning", "Odd", "something is odd")
    await cluster.advance(WRITE_DELAY)
    cluster.clock.advance(60)
    say.record("tester", POD, created, "Warning", "Odd", "something is odd")
    await cluster.advance(WRITE_DELAY)
    (event,) = [one for one in cluster.client.list(EVENT, "hello") if one["reason"] == "Odd"]
    assert event["count"] == 4
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    assert event["involvedObject"]["uid"] == created["metadata"]["uid"]
    assert event["source"] == {"component": "tester"}


async def test_an_event_goes_an_hour_after_it_was_last_seen(cluster):
    created = await cluster.create(POD, pod("one"))
    say = recorder(cluster)
    say.record("tester", POD, created, "Normal", "Fine", "fine")
    await cluster.advance(WRITE_DELAY)
    await cluster.advance(1800)
    say.record("tester", POD, created, "Normal", "Fine", "fine")
    await cluster.advance(WRITE_DELAY)
    await cluster.advance(1801)
    assert [event[1] for event in await cluster.events("one")] == ["Fine"]
    await cluster.advance(1800)
    assert await cluster.events("one") == []
    say.record("tester", POD, created, "Normal", "Fine", "fine")
    await cluster.advance(WRITE_DELAY)
    assert [event[1] for event in await cluster.events("one")] == ["Fine"]


@pytest.mark.parametrize("said", ["2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
async def test_an_event_goes_an_hour_after_it_was_written_whatever_it_says(cluster, said):
    about = {"involvedObject": {"kind": "Pod", "name": "one", "namespace": "hello"}, "lastTimestamp": said}
    await cluster.create(EVENT, {"metadata": {"name": "told", "namespace": "hello"}, **about})
    await cluster.advance(3599)
    assert cluster.client.get(EVENT, "told", "hello")
    await cluster.advance(2)
    assert cluster.client.get(EVENT, "told", "hello") is None


async def test_events_of_what_has_no_namespace_are_in_default(cluster):
    await cluster.namespace("default")
    home = cluster.client.get(NAMESPACE, "hello")
    recorder(cluster).record("tester", NAMESPACE, home, "Normal", "Fine", "fine")
    await cluster.advance(WRITE_DELAY)
    assert await cluster.events("hello", home="default") == [("Normal", "Fine", "fine")]


async def test_nobody_minds_an_event_in_a_namespace_that_is_gone(cluster, caplog):
    created = await cluster.create(POD, pod("one"))
    await cluster.delete(POD, "one")
    await cluster.run_pods()
    await cluster.delete(NAMESPACE, "hello", home="")
    recorder(cluster).record("tester", POD, created, "Normal", "Late", "late")
    await cluster.advance(WRITE_DELAY)
    assert cluster.client.list(EVENT, "hello") == []
    assert caplog.records == []
