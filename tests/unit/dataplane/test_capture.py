"""When pods are captured, in which order of steps, and what happens when a step fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import NAMESPACE, POD
from ambientlab.api.objects import Object, annotations_of
from ambientlab.dataplane.capture import BYPASS, REDIRECTION, Capture
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.enrolment import should_capture
from ambientlab.node.runtime import Sandbox, SandboxSpec
from support.memory_client import MemoryClient
from support.waiting import until

AMBIENT = {"istio.io/dataplane-mode": "ambient"}
NONE = {"istio.io/dataplane-mode": "none"}


def namespace(**labels: str) -> Object:
    return {"metadata": {"name": "ns", "labels": labels}}


def a_pod(labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = {"name": "pod", "namespace": "ns", "uid": "u1", "labels": labels or {}}
    return {"metadata": metadata, "spec": {"serviceAccountName": "sa", **spec}, "status": {"podIP": "10.244.0.5"}}


@pytest.mark.parametrize(
    ("namespace_labels", "pod", "expected"),
    [
        ({}, a_pod(), False),
        (AMBIENT, a_pod(), True),
        ({}, a_pod(AMBIENT), True),
        (NONE, a_pod(AMBIENT), True),
        (AMBIENT, a_pod(NONE), False),
        (AMBIENT, a_pod({"istio.io/dataplane-mode": "something"}), True),
        (AMBIENT, a_pod(hostNetwork=True), False),
    ],
)
def test_who_is_captured(namespace_labels: dict[str, str], pod: Object, expected: bool) -> None:
    assert should_capture(pod, namespace(**namespace_labels)) is expected


def test_a_pod_with_a_sidecar_is_left_to_it() -> None:
    for labels in ({}, AMBIENT):
        pod = a_pod(labels)
        pod["metadata"]["annotations"] = {"sidecar.istio.io/status": "{}"}
        assert not should_capture(pod, namespace(**AMBIENT))


def test_kube_system_is_excluded_whatever_its_labels_say() -> None:
    pod = a_pod(AMBIENT)
    pod["metadata"]["namespace"] = "kube-system"
    assert not should_capture(pod, {"metadata": {"name": "kube-system", "labels": AMBIENT}})


class Story:
    """What was done, in order: the sink, the rules and the API write into one list."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fail: dict[str, Exception] = {}
        """Each once."""
        self.refuse: Exception | None = None
        """What becomes of every pod that the proxy is given."""
        self.hold: dict[str, asyncio.Event] = {}

    async def step(self, name: str) -> None:
        if name in self.hold:
            await self.hold[name].wait()
        if name in self.fail:
            raise self.fail.pop(name)
        self.steps.append(name)


class Sink:
    def __init__(self, story: Story) -> None:
        self.story = story
        self.pods: list[Captured] = []
        self.tell: Callable[[int], None] = lambda number: None
        self.tell_refused: Callable[[str], None] = lambda uid: None

    def follow(self, told: Callable[[int], None], refused: Callable[[str], None]) -> None:
        self.tell, self.tell_refused = told, refused

    async def present(self) -> None:
        """It is."""

    async def add(self, pod: Captured) -> None:
        if self.story.refuse is not None:
            raise self.story.refuse
        await self.story.step("proxy listens")
        self.pods.append(pod)

    async def remove(self, uid: str) -> None:
        await self.story.step("proxy lets go")


class Rules:
    def __init__(self, story: Story) -> None:
        self.story = story

    async def install(self, netns: str, *, inbound: bool = True, closed: bool = False) -> None:
        told = f"rules into {netns}" if inbound else f"rules for what {netns} sends"
        await self.story.step(f"{told}, closed" if closed else told)

    async def remove(self, netns: str) -> None:
        await self.story.step(f"rules out of {netns}")

    async def disconnect(self, netns: str) -> None:
        await self.story.step(f"connections in {netns} end")


class World:
    def __init__(self) -> None:
        self.client = MemoryClient()
        self.story = Story()
        self.sink = Sink(self.story)
        self.capture = Capture(self.client, self.sink, Rules(self.story))
        self.sandbox = Sandbox(SandboxSpec("u1", "pod", "10.244.0.5"), 42, "/netns/42")

    def pod(self) -> Object:
        found = self.client.get(POD, "pod", "ns")
        assert found is not None
        return found

    @property
    def annotation(self) -> str | None:
        return annotations_of(self.pod()).get(REDIRECTION)

    def label(self, labels: dict[str, str]) -> None:
        self.client.put(NAMESPACE, namespace(**labels))

    async def ready(self) -> None:
        await self.capture.sandbox_ready(self.pod(), self.sandbox)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.label({})
    world.client.put(POD, a_pod())
    world.capture.start()
    yield world
    await world.capture.stop()


UNENROLLED = ["rules out of /netns/42", "proxy lets go", "connections in /netns/42 end"]
ENROLLED = ["proxy listens", "rules into /netns/42"]
CUT_OFF = ["rules into /netns/42, closed", "proxy lets go"]


async def test_a_new_pod_is_enrolled_before_its_containers(world: World) -> None:
    world.label(AMBIENT)
    await world.ready()
    assert world.story.steps == ENROLLED
    assert world.annotation == "enabled"
    [captured] = world.sink.pods
    assert captured == Captured(
        "u1", "ns", "pod", "10.244.0.5", "/netns/42", "spiffe://cluster.local/ns/ns/sa/sa", "pod", "pod", "latest"
    )


async def test_plain_connections_to_a_pod_are_left_alone_where_it_says_so(world: World) -> None:
    world.label(AMBIENT)
    pod = world.pod()
    world.client.put(POD, {**pod, "metadata": {**pod["metadata"], "annotations": {BYPASS: "true"}}})
    await world.ready()
    assert world.story.steps == [ENROLLED[0], "rules for what /netns/42 sends", *ENROLLED[2:]]


async def test_labels_enrol_and_unenrol_a_running_pod(world: World) -> None:
    await world.ready()
    assert world.story.steps == []
    world.label(AMBIENT)
    await until(lambda: world.annotation == "enabled", "enrolled")
    assert world.story.steps == ENROLLED
    world.story.steps.clear()
    world.client.put(POD, {**world.pod(), "metadata": {**world.pod()["metadata"], "labels": NONE}})
    await until(lambda: len(world.story.steps) == len(UNENROLLED), "un-enrolled")
    assert world.story.steps == UNENROLLED
    assert world.annotation is None


async def test_a_pod_that_should_be_captured_and_cannot_be_fails_to_start(world: World) -> None:
    world.label(AMBIENT)
    world.story.fail["proxy listens"] = ConnectionError("no ztunnel is connected")
    with pytest.raises(ConnectionError, match="no ztunnel"):
        await world.ready()
    await world.capture.sandbox_removing(world.pod(), world.sandbox)
    assert world.annotation == "pending"
    await world.ready()
    assert world.annotation == "enabled"


async def test_a_pod_without_rules_is_none_of_the_proxys(world: World) -> None:
    world.label(AMBIENT)
    world.story.fail["rules into /netns/42"] = OSError("netlink says no")
    with pytest.raises(OSError, match="netlink"):
        await world.ready()
    assert world.story.steps == ["proxy listens", "proxy lets go"]


@pytest.mark.parametrize("failure", [TimeoutError("no answer"), OSError("ztunnel refuses: Address already in use")])
async def test_a_running_pod_that_no_proxy_takes_is_cut_off_and_tried_again(world: World, failure: Exception) -> None:
    await world.ready()
    world.story.fail["proxy listens"] = failure
    seen: list[str | None] = []
    world.client.watch(POD, lambda event: seen.append(annotations_of(event.object).get(REDIRECTION)))
    world.label(AMBIENT)
    await until(lambda: world.annotation == "enabled", "enrolled at the second try")
    assert seen == [None, "pending", "enabled"]
    assert world.story.steps == [*CUT_OFF, *ENROLLED]


async def test_a_captured_pod_in_which_the_next_proxy_cannot_listen_is_cut_off_and_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.label(AMBIENT)
    await world.ready()
    world.story.steps.clear()
    world.story.fail["proxy listens"] = OSError("ztunnel refuses: Address already in use")
    seen: list[str | None] = []
    world.client.watch(POD, lambda event: seen.append(annotations_of(event.object).get(REDIRECTION)))
    for uid in ("u1", "of no pod"):
        world.sink.tell_refused(uid)
    await until(lambda: len(seen) == 3, "enrolled at the second try")
    assert seen == ["enabled", "pending", "enabled"]
    assert world.story.steps == [*CUT_OFF, *ENROLLED]
    assert "ztunnel refuses: Address already in use\tns=ns name=pod" in caplog.text


async def test_a_proxy_may_turn_out_not_to_listen_while_rules_are_made(world: World) -> None:
    world.story.hold["rules into /netns/42"] = asyncio.Event()
    await world.ready()
    seen: list[str | None] = []
    world.client.watch(POD, lambda event: seen.append(annotations_of(event.object).get(REDIRECTION)))
    world.label(AMBIENT)
    await until(lambda: world.story.steps, "it listens")
    world.sink.tell_refused("u1")
    world.story.fail["proxy listens"] = OSError("ztunnel refuses: cannot listen()")
    world.story.hold["rules into /netns/42"].set()
    await until(lambda: len(seen) == 4, "enrolled at the second try")
    assert seen == [None, "enabled", "pending", "enabled"]
    assert world.story.steps == [*ENROLLED, *CUT_OFF, *ENROLLED]


async def test_a_pod_that_waits_for_a_proxy_can_leave_again(world: World) -> None:
    await world.ready()
    world.story.refuse = ConnectionError("no ztunnel is connected")
    world.label(AMBIENT)
    await until(lambda: world.annotation == "pending", "cut off")
    world.label({})
    await until(lambda: world.annotation is None, "out of the mesh")
    assert world.story.steps[:2] == CUT_OFF
    await until(lambda: world.story.steps[-3:] == UNENROLLED, "let go")


async def test_a_pod_that_has_done_its_work_is_not_in_the_mesh(world: World) -> None:
    world.label(AMBIENT)
    await world.ready()
    await world.capture.sandbox_removing(world.pod(), world.sandbox)
    assert world.annotation is None


async def test_the_log_is_worded_as_istio_cnis(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ambientlab.cni-agent")
    await world.ready()
    world.story.fail["proxy listens"] = ConnectionError("no ztunnel is connected")
    world.label(AMBIENT)
    await until(lambda: world.annotation == "enabled", "enrolled")
    world.label({})
    await until(lambda: world.annotation is None, "out of the mesh")
    world.client.put(NAMESPACE, {"metadata": {"name": "kube-system", "labels": AMBIENT}})
    for number in (1, 2, 1):
        world.sink.tell(number)
    assert [record.getMessage() for record in caplog.records] == [
        "Namespace ns is enabled in ambient mesh",
        "adding pod to the mesh\tns=ns name=pod",
        "Unable to send pod to ztunnel. Will retry. AddPodToMesh returned: no ztunnel is connected\tns=ns name=pod",
        "failed to add pod to ztunnel: pod partially added, annotating with pending status\tns=ns name=pod",
        "Namespace ns is disabled from ambient mesh",
        "removing pod from mesh\tns=ns name=pod deleted=false",
        "Namespace kube-system is labeled for ambient mesh but is excluded by excludeNamespaces configuration; "
        "pods will not be enrolled",
        "new ztunnel connected, total connected: 1",
        "new ztunnel connected, total connected: 2",
        "ztunnel disconnected, total connected 1",
    ]


async def test_an_annotation_that_could_not_be_written_is_written_later(world: World) -> None:
    await world.ready()
    world.client.failures.append(StatusError(409, "Conflict", "modified"))
    world.label(AMBIENT)
    await until(lambda: world.annotation == "enabled", "annotated")
    assert world.story.steps == ENROLLED


async def test_changes_of_mind_do_not_overlap(world: World) -> None:
    await world.ready()
    gate = world.story.hold["rules into /netns/42"] = asyncio.Event()
    world.label(AMBIENT)
    await until(lambda: "proxy listens" in world.story.steps, "enrolling")
    world.label({})
    gate.set()
    await until(lambda: UNENROLLED[-1] in world.story.steps, "un-enrolled again")
    assert world.story.steps == [*ENROLLED, *UNENROLLED]
    assert world.annotation is None


async def test_the_proxy_lets_go_of_a_pod_before_its_namespaces_go(world: World) -> None:
    world.label(AMBIENT)
    await world.ready()
    await world.capture.sandbox_removing(world.pod(), world.sandbox)
    assert world.story.steps == [*ENROLLED, *UNENROLLED[1:]]
    world.label({})
    await world.capture.sandbox_removing(world.pod(), world.sandbox)
    assert world.story.steps == [*ENROLLED, *UNENROLLED[1:]]


async def test_a_pod_on_its_way_out_keeps_its_path(world: World) -> None:
    world.label(AMBIENT)
    await world.ready()
    world.client.put(POD, {**world.pod(), "metadata": {**world.pod()["metadata"], "deletionTimestamp": "now"}})
    world.label({})
    await world.capture.reconcile("u1")
    assert world.story.steps == ENROLLED


async def test_the_nodes_own_network_is_never_touched(world: World) -> None:
    world.label(AMBIENT)
    await world.capture.sandbox_ready(world.pod(), Sandbox(SandboxSpec("u1", "pod", None), 42, "/netns/node"))
    assert world.story.steps == []
