"""How long who asks for open connections waits for those that nobody has told of."""

from __future__ import annotations

import asyncio

import pytest

from ambientlab.dataplane.ztunnel_connections import Ends, Open
from ambientlab.dataplane.ztunnel_young import Held, reported
from ambientlab.mesh.capture import Captured
from support.waiting import until

CURL = Captured("1", "test", "curl", "10.244.0.3", "/netns/curl", "spiffe://t/ns/test/sa/curl")
APP = Captured("2", "hello", "app", "10.244.0.4", "/netns/app", "spiffe://t/ns/hello/sa/app")
GONE = Captured("3", "test", "gone", "10.244.0.5", "/netns/gone", "spiffe://t/ns/test/sa/gone")
CLIENT = "10.244.0.3:40000"
SOCKET = ("10.244.0.3:50000", "10.244.0.4:80")
FOREVER = 60.0


def one(reporter: str) -> Open:
    ends = Ends(reporter, "curl", "test", "", "", "app", "hello", True)
    source = CLIENT if reporter == "source" else "10.244.0.3:41000"
    return Open(0.0, ends, source, "10.244.0.4:15008", "10.244.0.4:80", "", 0, 0, 0.0)


class Node:
    """One connection from curl to the app, which the proxy has or has not told of at either end."""

    def __init__(self, *told: str) -> None:
        self.held = {
            CURL.netns: Held(frozenset({CLIENT}), frozenset()),
            APP.netns: Held(frozenset(), frozenset({SOCKET})),
        }
        self.known = [one(reporter) for reporter in told]
        self.looks = 0

    async def look(self, netns: str, ips: tuple[str, ...]) -> Held:
        assert ips in (CURL.ips, APP.ips, GONE.ips)
        self.looks += 1
        if netns not in self.held:
            raise FileNotFoundError(netns)
        return self.held[netns]

    def asking(self, at_most: float = FOREVER) -> asyncio.Task[None]:
        pods = (CURL, APP, GONE)
        return asyncio.create_task(reported(pods, self.look, lambda: self.known, at_most=at_most))

    async def looked_again(self) -> None:
        before = self.looks
        await until(lambda: self.looks >= before + 3, "more looks")


async def test_what_is_known_is_not_waited_for() -> None:
    node = Node("source", "destination")
    await node.asking()
    assert node.looks == 3


@pytest.mark.parametrize(("told", "missing"), [(("source",), "destination"), (("destination",), "source")])
async def test_what_is_not_known_is_waited_for(told: tuple[str, ...], missing: str) -> None:
    node = Node(*told)
    asking = node.asking()
    await node.looked_again()
    assert not asking.done()
    node.known.append(one(missing))
    await asyncio.wait_for(asking, 5)


@pytest.mark.parametrize("netns", [CURL.netns, APP.netns])
async def test_what_has_ended_is_not_waited_for(netns: str) -> None:
    node = Node("destination" if netns == CURL.netns else "source")
    asking = node.asking()
    await node.looked_again()
    node.held[netns] = Held(frozenset({"10.244.0.3:40001"}), frozenset({("10.244.0.3:50001", "10.244.0.4:80")}))
    await asyncio.wait_for(asking, 5)


async def test_what_is_never_told_is_given_up() -> None:
    await asyncio.wait_for(Node().asking(at_most=0.1), 5)
