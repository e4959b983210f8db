"""Many pods, at once and one after the other: all are served, and nothing is left of those that are gone.

`AMBIENTLAB_CHURNS` is how many pods come and go; the nightly variant has 1000.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ambientlab.dataplane.admin import AdminClient
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from support.in_node import in_node
from support.node_world import open_descriptors, processes, veths
from support.waiting import becomes, until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

CHURNS = int(os.environ.get("AMBIENTLAB_CHURNS", "60"))
CROWD = 200
AT_ONCE = 4
NAMESPACES = 40
"""How many network namespaces the kernel grants while pods come and go: fewer than pods, and so many more than there
are at once as it may have to take away yet, which it does in its own time."""
VIP = "10.96.0.50"
AMBIENT = {"istio_DOT_io__dataplane_mode": "ambient"}


def routes() -> int:
    return len(Path("/proc/net/route").read_text().splitlines())


def grant(namespaces: int) -> None:
    """From now on this node may have no more network namespaces than these."""
    Path("/proc/sys/user/max_net_namespaces").write_text(str(namespaces))


async def held(world: MeshWorld) -> dict[str, int]:
    """What the node, the control plane and the proxy have in their hands."""
    async with AdminClient(world.admin_socket("ztunnel")) as admin:
        stats = await admin.stats("^(listener_manager.total_listeners|cluster_manager.active_clusters)")
    [connection] = world.istiod.connections
    return {
        **{name.partition(".")[2]: value for name, value in stats.items()},
        **{type_url: len(connection.session.held(type_url)) for type_url in (LISTENER, CLUSTER, ENDPOINTS, ROUTES)},
        "secrets asked for": len(connection.session.subscribed(SECRET)),
        "captured": len(world.istiod.captures.pods),
        "descriptors of ztunnel": open_descriptors(world.envoys["ztunnel"].pid),
        "descriptors of the daemon": open_descriptors(),
        "processes": len(processes()),
        "devices": len(veths()),
        "routes": routes(),
    }


async def like(world: MeshWorld, before: dict[str, int]) -> None:
    """Until no more is held than before: what Envoy drains takes a second."""

    async def more() -> dict[str, tuple[int, int]]:
        now = await held(world)
        return {name: (before[name], number) for name, number in now.items() if number > before[name]}

    nothing: dict[str, tuple[int, int]] = {}
    await becomes(more, nothing)


async def servers(world: MeshWorld) -> None:
    for name in ("default", "hello"):
        world.namespace(name, **AMBIENT)
    await world.ztunnel()
    await world.pod("server", "hello", account="server")
    await world.serve("server")
    world.service("hello", "hello", VIP, {80: 8080}, ["server"])
    await world.pod("client", account="client")
    await world.answered("client", VIP, 80)


async def several(numbers: Iterable[int], work: Callable[[int], Awaitable[None]]) -> None:
    """For each number, `AT_ONCE` at a time."""
    waiting = iter(numbers)

    async def worker() -> None:
        for number in waiting:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


@pytest.mark.timeout(120 + CHURNS)
@partial(in_node, seconds=60 + CHURNS)
async def test_pods_that_come_and_go_leave_nothing_behind(world: MeshWorld) -> None:
    """Each has an identity of its own, calls and is called through tunnels. A network namespace that anything still
    holds would count against the kernel's limit."""
    await servers(world)

    async def churn(number: int) -> None:
        name = f"pod-{number}"
        sandbox = await world.pod(name, account=name)
        await world.serve(name)
        assert (await world.answered(name, VIP, 80)).split() == ["server", sandbox.spec.ip]
        assert (await world.answered("client", sandbox.spec.ip or "", 8080)).split()[0] == name
        await world.remove_pod(name)

    await several(range(AT_ONCE), churn)
    before = await held(world)
    grant(NAMESPACES)
    await several(range(AT_ONCE, CHURNS), churn)
    await like(world, before)


@in_node
async def test_two_hundred_pods_are_served_and_again_by_a_new_ztunnel(world: MeshWorld) -> None:
    await servers(world)
    before = await held(world)
    names = [f"pod-{number}" for number in range(CROWD)]
    dice = random.Random(CROWD)

    async def join(number: int) -> None:
        await world.pod(names[number], account=f"account-{number % 10}")
        await world.serve(names[number])

    async def sample() -> None:
        for caller, called in zip(dice.sample(names, 20), dice.sample(names, 20), strict=True):
            body = await world.answered(caller, world.sandboxes[called].spec.ip or "", 8080)
            assert body.split() == [called, world.sandboxes[caller].spec.ip]

    await several(range(CROWD), join)
    await sample()
    await world.kill_ztunnel()
    await world.start_ztunnel()
    await sample()
    await several(range(CROWD), lambda number: world.remove_pod(names[number]))
    await until(lambda: len(world.istiod.captures.pods) == 2, "all are gone")
    await like(world, before)
