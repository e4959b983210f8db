"""Two versions of one service and a client in a `MeshWorld`, with a waypoint before them or without."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from support.waiting import becomes, until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

VIP = "10.96.0.50"


async def captured_pods(world: MeshWorld) -> None:
    """A client and two versions of one service, in namespaces that are in the mesh."""
    world.namespace("default", istio_DOT_io__dataplane_mode="ambient")
    world.namespace("hello", istio_DOT_io__dataplane_mode="ambient")
    await world.ztunnel()
    await world.pod("client", account="client")
    for version in ("v1", "v2"):
        await world.pod(f"hello-{version}", "hello", account="hello", labels={"app": "hello", "version": version})
        await world.serve(f"hello-{version}", body=version)
    world.service("hello", "hello", VIP, {5000: 8080}, ["hello-v1", "hello-v2"])


async def waypoint_for_hello(world: MeshWorld) -> None:
    await captured_pods(world)
    await world.waypoint()
    world.service("hello", "hello", VIP, {5000: 8080}, ["hello-v1", "hello-v2"], istio_DOT_io__use_waypoint="waypoint")
    await through_the_waypoint(world)


async def through_the_waypoint(world: MeshWorld, vip: str = VIP) -> None:
    """Until the application sees the waypoint's address instead of the client's."""

    async def seen() -> tuple[int, list[str]]:
        status, body = await world.get("client", vip, 5000)
        return status, body.split()[1:]

    await becomes(seen, (200, [world.sandboxes["waypoint-1"].spec.ip or ""]))


async def logged(world: MeshWorld, pattern: str) -> None:
    """Until ztunnel has logged a line that matches."""
    await until(lambda: re.search(pattern, world.log("ztunnel")) is not None, pattern)


class Load:
    """Requests one after the other, each on a connection of its own, from several tasks, until the block is left."""

    def __init__(self, world: MeshWorld, ip: str, port: int) -> None:
        self.results: list[tuple[int, str]] = []
        self._world, self._ip, self._port = world, ip, port
        self._running = True

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)

    async def _ask(self) -> None:
        while self._running:
            self.results.append(await self._world.get("client", self._ip, self._port))

    async def more(self, requests: int) -> None:
        goal = len(self.results) + requests
        await until(lambda: len(self.results) >= goal, f"{requests} more requests", 30)

    @property
    def failures(self) -> list[tuple[int, str]]:
        return [result for result in self.results if result[0] != 200]
