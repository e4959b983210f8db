"""Which open connections a change of policies ends: ztunnel's own answer, which goes by when each was opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ambientlab.api import kinds
from ambientlab.dataplane.policywatcher import Carried, PolicyWatcher
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex
from support.waiting import until

POD = Captured("1", "hello", "server", "10.244.0.11", "/run/netns/server", "spiffe://cluster.local/ns/hello/sa/server")
OTHER = replace(POD, uid="2", name="broken", netns="/run/netns/broken")
ANYBODY = [{"from": [{"source": {"notPrincipals": ["nobody"]}}]}]


class World:
    """`open` are the inodes of connections: from 10.244.0.10 by a tunnel, from 10.244.0.20 without one."""

    def __init__(self) -> None:
        self.index = MeshIndex()
        self.open: dict[int, Carried] = {}
        self.lines: list[str] = []
        self.gone = False
        self.captured = [POD]
        self.failing: list[OSError] = []
        """What becomes of the next looks."""
        self.late: dict[int, Carried] = {}
        """Those that the proxy opens after it has acknowledged, until it has caught up."""
        self.meanwhile: list[Callable[[], None]] = []
        """What happens while it is waited for, one thing each time."""
        for name, namespace, ip in (
            ("server", "hello", POD.ip),
            ("client", "test", "10.244.0.10"),
            ("broken", "hello", "10.244.0.12"),
        ):
            metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
            self.index.put(kinds.POD, {"metadata": metadata, "spec": {}, "status": {"podIP": ip}})
        self.index.settle()
        self.looks = self.closed = 0
        self.watcher = PolicyWatcher(self.index, lambda: self.captured, self._in_step, self, self.lines.append)
        self.watcher.start()

    async def caught_up(self) -> None:
        self.open |= self.late
        if self.meanwhile:
            self.meanwhile.pop(0)()

    async def opened(self) -> World:
        self.looks += 1
        if self.failing:
            raise self.failing.pop()
        return self

    def close(self) -> None:
        self.closed += 1

    async def into(self, netns: str, ips: Sequence[str]) -> list[Carried]:
        if netns == OTHER.netns:
            raise ValueError("a line of the kernel's that nobody understands")
        if self.gone:
            raise FileNotFoundError(netns)
        return [one for one in self.open.values() if one.target in ips]

    def cut(self, inode: int, say: Callable[[], None]) -> None:
        assert self.looks > self.closed
        if inode in self.open:
            say()
            del self.open[inode]

    async def _in_step(self) -> None:
        await asyncio.sleep(0)

    def connect(self, inode: int, *, tunnelled: bool = True, client: str = "10.244.0.10", port: int = 5000) -> None:
        self.open[inode] = Carried(client, 40000 + inode, POD.ip, port, inode, tunnelled)

    async def policy(self, name: str, namespace: str = "hello", kind: str = "AuthorizationPolicy", **spec: Any) -> None:
        self.put(name, namespace, kind, **spec)
        await self.settle()

    def put(self, name: str, namespace: str = "hello", kind: str = "AuthorizationPolicy", **spec: Any) -> None:
        resource = next(r for r in (kinds.AUTHORIZATIONPOLICY, kinds.PEERAUTHENTICATION) if r.kind == kind)
        self.index.put(resource, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})
        self.index.settle()

    async def settle(self) -> None:
        await until(lambda: not self.watcher.busy, "the watcher has looked")


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_look_that_fails_is_taken_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambientlab.dataplane.policywatcher._AGAIN", 0.0)
    world.connect(1)
    world.failing = [OSError(24, "Too many open files")]
    await world.policy("p", action="DENY", rules=[{"to": [{"operation": {"ports": ["5000"]}}]}])
    assert (set(world.open), world.looks) == (set(), 2)


SELECTED = {"matchLabels": {"app": "server"}}


async def test_a_policy_of_the_namespace_ends_what_it_denies(world: World) -> None:
    world.connect(1)
    world.connect(2, tunnelled=False, client="10.244.0.20")
    world.connect(3, port=5001)
    world.open[4] = replace(world.open[2], inode=4, incoming=True)
    await world.policy("p", action="DENY", rules=[{"to": [{"operation": {"ports": ["5000"]}}]}])
    assert set(world.open) == {3}
    (tunnelled, plain) = filter(None, world.lines)
    assert (
        "\tinfo\tproxy::connection_manager\tconnection 10.244.0.10:40001(spiffe://cluster.local/ns/test/sa/"
        in tunnelled
    )
    assert tunnelled.endswith("closed because it's no longer allowed after a policy update\n")
    assert "connection 10.244.0.20:40002(None)->10.244.0.11:5000 (Kubernetes//Pod/hello/server) closed" in plain


async def test_what_the_proxy_opens_before_it_has_caught_up_ends_as_well(world: World) -> None:
    world.late = {1: Carried("10.244.0.10", 40001, POD.ip, 5000, 1, True)}
    await world.policy("p", action="DENY", rules=ANYBODY)
    assert not world.open
    assert world.lines


async def test_a_change_that_comes_while_another_is_waited_for_is_waited_for_itself(world: World) -> None:
    world.meanwhile = [
        lambda: world.put("p", action="DENY", rules=ANYBODY),
        lambda: world.connect(1),  # the proxy has not heard of it
    ]
    await world.policy("p", action="DENY", rules=[{"to": [{"operation": {"ports": ["1"]}}]}])
    assert not world.meanwhile
    assert not world.open


async def test_a_policy_that_comes_back_meanwhile_still_counts_for_what_was_opened_under_it(world: World) -> None:
    selecting: dict[str, Any] = {"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["x"]}}]}]}
    await world.policy("p", selector=SELECTED, **selecting)
    world.connect(1)
    world.meanwhile = [lambda: world.put("p", selector=SELECTED, **selecting)]
    await world.policy("p", selector={"matchLabels": {"app": "x"}}, **selecting)
    assert set(world.open) == {1}
    await world.policy("p", selector=SELECTED, action="DENY", rules=ANYBODY)
    assert not world.open


async def test_one_that_selects_the_pod_ends_what_was_opened_under_it(world: World) -> None:
    world.connect(1)
    await world.policy("p", selector=SELECTED, action="DENY", rules=[{"from": [{"source": {"namespaces": ["x"]}}]}])
    world.connect(2)
    await world.policy("p", selector=SELECTED, action="DENY", rules=ANYBODY)
    assert set(world.open) == {1}
    await world.policy("q", "istio-system", action="DENY", rules=ANYBODY)
    assert not world.open


async def test_one_that_selects_the_pod_no_more_still_counts_for_what_was_opened_under_it(world: World) -> None:
    await world.policy("p", selector=SELECTED, action="DENY", rules=[{"from": [{"source": {"namespaces": ["x"]}}]}])
    world.connect(1)
    await world.policy("p", selector={"matchLabels": {"app": "x"}}, action="DENY", rules=ANYBODY)
    assert not world.open


async def test_what_fails_for_one_pod_does_not_for_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.captured = [OTHER, POD]
    world.connect(1)
    await world.policy("p", action="DENY", rules=ANYBODY)
    assert not world.open
    assert "connections into pod hello/broken stay as they are" in caplog.text


async def test_one_look_at_the_proxy_is_enough_for_all_pods(world: World) -> None:
    for number in range(2, 12):
        other = replace(POD, uid=f"{number}", name=f"server-{number}", ip=f"10.244.1.{number}")
        metadata = {"name": other.name, "namespace": "hello", "labels": {}}
        world.index.put(kinds.POD, {"metadata": metadata, "spec": {}, "status": {"podIP": other.ip}})
        world.captured.append(other)
        world.open[number] = Carried("10.244.0.10", 40000 + number, other.ip, 5000, number, True)
    world.index.settle()
    await world.settle()
    world.looks = world.closed = 0
    await world.policy("p", action="DENY", rules=ANYBODY)
    assert not world.open
    assert (world.looks, world.closed) == (1, 1)


async def test_strict_is_for_new_connections(world: World) -> None:
    world.connect(1, tunnelled=False, client="10.244.0.20")
    await world.policy("p", kind="PeerAuthentication", mtls={"mode": "STRICT"})
    await world.policy("p", "istio-system", rules=ANYBODY)
    assert set(world.open) == {1}


async def test_a_client_whose_identity_is_unknown_is_left_alone(world: World) -> None:
    world.connect(1, client="10.244.0.99")
    await world.policy("p", action="DENY", rules=ANYBODY)
    assert set(world.open) == {1}


async def test_a_pod_that_goes_meanwhile_is_no_trouble(world: World) -> None:
    world.gone = True
    await world.policy("p", action="DENY", rules=ANYBODY)
    world.gone = False
    world.connect(1)
    await world.policy("p", action="DENY", rules=[{}])
    assert not world.open
