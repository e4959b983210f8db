"""A service that moves between waypoints, and what is on its way to one. Real control plane, real Envoys."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from ambientlab.api.kinds import GATEWAY, SERVICE, VIRTUALSERVICE
from ambientlab.mesh.serve import departures
from ambientlab.mesh.xds.types import CLUSTER, ROUTES
from support.hello_pods import VIP, captured_pods
from support.in_node import in_node
from support.mesh_world import ask
from support.waiting import becomes, until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

ONE, OTHER = "one", "other"
USE = "istio.io/use-waypoint"
TICKS = "10.96.0.60"
HTTP = b"GET / HTTP/1.1\r\nhost: app\r\n"
STREAMS = {
    "HTTP": (80, HTTP + b"\r\n"),
    "WebSocket": (80, HTTP + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"),
    "TCP": (9000, b"hello\r\n\r\n"),
}
"""The port of each, and what its client says first."""


async def prepare(world: MeshWorld) -> None:
    await captured_pods(world)
    for number, name in enumerate((ONE, OTHER)):
        await world.waypoint(name, vip=f"10.96.0.{200 + number}")
    await world.waypoints_run(2)
    await move(world, ONE)


async def move(world: MeshWorld, waypoint: str) -> None:
    """Returns when new connections go through `waypoint`, which is whom the application sees."""
    service = world.client.get(SERVICE, "hello", "hello")
    assert service is not None
    world.client.put(SERVICE, {**service, "metadata": {**service["metadata"], "labels": {USE: waypoint}}})
    through = world.sandboxes[f"{waypoint}-1"].spec.ip
    await becomes(lambda: caller(world, VIP, 5000), through)


async def caller(world: MeshWorld, address: str, port: int) -> str:
    """Whom the application sees."""
    status, body = await world.get("client", address, port)
    assert status == 200, body
    return body.split()[1]


@in_node
async def test_a_request_that_is_delayed_is_answered_wherever_its_service_goes(world: MeshWorld) -> None:
    delay = {"percentage": {"value": 100}, "fixedDelay": "1s"}
    slow = {"match": [{"uri": {"exact": "/slow"}}], "fault": {"delay": delay}}
    routes = [{**each, "route": [{"destination": {"host": "hello"}}]} for each in (slow, {})]
    metadata = {"name": "hello", "namespace": "hello"}
    world.client.put(VIRTUALSERVICE, {"metadata": metadata, "spec": {"hosts": ["hello"], "http": routes}})
    await prepare(world)
    connections = {}
    for waypoint in (ONE, OTHER):
        await move(world, waypoint)
        connections[waypoint] = await world.connect("client", VIP, 5000)
        assert (await ask(*connections[waypoint]))[0] == 200
    for _ in range(2):
        for waypoint, connection in connections.items():
            await move(world, OTHER if waypoint == ONE else ONE)
            delayed = asyncio.create_task(ask(*connection, "/slow"))
            await caller(world, VIP, 5000)  # a longer way than that of the other, which is there before it is back
            await move(world, waypoint)
            assert not delayed.done()
            assert (await delayed)[0] == 200


@in_node
async def test_an_open_connection_is_served_until_it_is_told_to_close(world: MeshWorld) -> None:
    departures.DEPARTURE = 0.2
    await prepare(world)
    busy, idle = [await world.connect("client", VIP, 5000) for _ in range(2)]
    for connection in (busy, idle):
        assert not await closing(*connection)
    [left] = [each.session for each in world.istiod.connections if each.proxy.pod == f"{ONE}-1"]
    await move(world, OTHER)
    while not await closing(*busy):
        pass
    await until(lambda: left.synced and not of_services(left.wanted(ROUTES)), "filter chains are drained")
    assert await closing(*idle)
    await until(lambda: not of_services(left.held(CLUSTER)), "what they needed goes with them")
    assert left.synced


@in_node
async def test_streams_of_a_service_that_leaves_go_on_for_as_long_as_its_waypoint_drains(world: MeshWorld) -> None:
    departures.DEPARTURE = 0.2
    world.drain_waypoints(2)
    await captured_pods(world)
    await world.waypoint()
    await world.listen("hello-v1", 9000, ticking)
    world.service("ticks", "hello", TICKS, {80: 9000, 9000: 9000}, ["hello-v1"], istio_DOT_io__use_waypoint="waypoint")
    service = world.client.get(SERVICE, "ticks", "hello") or {}
    service["spec"]["ports"][1]["appProtocol"] = "tcp"
    world.client.put(SERVICE, service)
    await world.waypoints_run()
    await world.in_step()
    loop = asyncio.get_running_loop()

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        with suppress(ConnectionError):
            while await reader.read(4096):
                pass
        writer.close()
        return loop.time()

    ends = {}
    for name, (port, said) in STREAMS.items():
        reader, writer = await world.connect("client", TICKS, port)
        writer.write(said)
        await reader.readuntil(b"tick")
        ends[name] = asyncio.create_task(end(reader, writer))
    began = loop.time()
    service = world.client.get(SERVICE, "ticks", "hello") or {}
    world.client.put(SERVICE, {**service, "metadata": {**service["metadata"], "labels": {}}})
    lasted = {name: await ended - began for name, ended in ends.items()}
    assert min(lasted.values()) >= departures.DEPARTURE + 2, lasted


async def ticking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as it is asked to, and without an end."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"websocket" in head:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    elif head.startswith(HTTP):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b"tick\n")
            await writer.drain()
            await asyncio.sleep(0.01)


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Asks, and tells whether the good answer is the connection's last."""
    writer.write(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    await reader.readuntil(b"\n")
    return b"connection: close" in head


def of_services(names: Iterable[str]) -> list[str]:
    return [name for name in names if "|" in name]


@in_node
async def test_a_pod_gets_and_loses_a_waypoint_without_a_failed_request(world: MeshWorld) -> None:
    """A connection that is open goes on, where it went."""
    await prepare(world)
    gateway = world.client.get(GATEWAY, ONE, "hello") or {}
    labels = {"istio.io/waypoint-for": "workload"}
    world.client.put(GATEWAY, {**gateway, "metadata": {**gateway["metadata"], "labels": labels}})
    pod, client, through = (world.sandboxes[name].spec.ip or "" for name in ("hello-v1", "client", f"{ONE}-1"))
    assert await caller(world, pod, 8080) == client
    held = await world.connect("client", pod, 8080)
    over = False

    async def load() -> Counter[str]:
        callers: Counter[str] = Counter()
        while not over:
            callers[await caller(world, pod, 8080)] += 1
        return callers

    loads = [asyncio.create_task(load()) for _ in range(4)]
    for source in (through, client) * 5:
        world.label("hello-v1", **({"istio_DOT_io__use_waypoint": ONE} if source == through else {}))
        await becomes(lambda: caller(world, pod, 8080), source)
        status, body = await ask(*held)
        assert (status, body.split()[1]) == (200, client)
    over = True
    seen = sum(await asyncio.gather(*loads), Counter[str]())
    assert set(seen) == {through, client}
