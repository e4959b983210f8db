"""Labels on running pods: what becomes of connections, who is cut off and until when. Real Envoy, real packets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

import pytest

from ambientlab.mesh.capture import Captured
from ambientlab.mesh.xds.types import ROUTES
from ambientlab.node.linux.netlink import socket_in
from support.in_node import in_node
from support.late import Late
from support.mesh_world import ask
from support.waiting import until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

AMBIENT = {"istio_DOT_io__dataplane_mode": "ambient"}


async def pods(world: MeshWorld) -> str:
    """Two that talk in the mesh, one that moves and the server it calls outside of it, whose address is returned."""
    world.namespace("hello", **AMBIENT)
    await world.ztunnel()
    for name, namespace in (("client", "hello"), ("server", "hello"), ("mover", "default"), ("outside", "default")):
        await world.pod(name, namespace, account=name)
        await world.serve(name)
    return world.sandboxes["outside"].spec.ip or ""


async def moved(world: MeshWorld, pod: str, *, into: bool) -> None:
    world.label(pod, **(AMBIENT if into else {}))
    await until(lambda: world.redirection(pod) == ("enabled" if into else None), f"{pod} in the mesh: {into}")


async def refused(world: MeshWorld, pod: str, ip: str, port: int = 8080) -> None:
    """At once, and the pod called hears nothing of it."""
    before = world.accepted.copy()
    for _ in range(20):
        status, why = await world.get(pod, ip, port)
        assert status == 0, (pod, ip)
        assert "Timeout" not in why, f"{pod} to {ip}: {why}"
    assert world.accepted == before


@in_node
async def test_connections_of_others_go_on_while_a_pod_comes_and_goes(world: MeshWorld) -> None:
    outside = await pods(world)
    server, mover = (world.sandboxes[name].spec.ip or "" for name in ("server", "mover"))
    await world.answered("client", server, 8080)
    tunnel = await world.connect("client", server, 8080)
    plain = await world.connect("outside", outside, 8080)
    for turn in range(3):
        for into in (True, False):
            await moved(world, "mover", into=into)
            for reader, writer in (tunnel, plain):
                assert (await ask(reader, writer))[0] == 200, (turn, into)
            for pod, ip in (("mover", outside), ("mover", server), ("client", mover), ("outside", mover)):
                status, body = await world.get(pod, ip, 8080)
                assert status == 200, (pod, ip, turn, into, body)
    assert (world.accepted["server"], world.accepted["outside"]) == (8, 7), "one connection each had lived all along"


@in_node
async def test_open_connections_of_a_pod_end_when_it_comes_and_when_it_goes(world: MeshWorld) -> None:
    """As in Istio: nothing the pod has open is left on a path that its labels no longer say."""
    outside = await pods(world)
    server = world.sandboxes["server"].spec.ip or ""
    for into in (True, False):
        made = [await world.connect("mover", ip, 8080) for ip in (outside, server)]
        for reader, writer in made:
            assert (await ask(reader, writer))[0] == 200
        await moved(world, "mover", into=into)
        for reader, writer in made:
            if into:  # the kernel notices with the next packet
                writer.write(b"GET")
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
        assert (await world.get("mover", outside, 8080))[0] == 200


@in_node
async def test_without_ztunnel_a_pod_that_joins_is_cut_off_until_there_is_one(world: MeshWorld) -> None:
    outside = await pods(world)
    mover = world.sandboxes["mover"].spec.ip or ""
    assert (await world.get("outside", mover, 8080))[0] == 200
    await world.kill_ztunnel()
    await moved_to_pending(world)
    await refused(world, "mover", outside)
    await refused(world, "outside", mover)
    world.label("mover")
    await until(lambda: world.redirection("mover") is None, "let go")
    assert (await world.get("mover", outside, 8080))[0] == 200
    await moved_to_pending(world)
    await world.start_ztunnel()
    await until(lambda: world.annotated("mover"), "enrolled")
    assert (await world.get("mover", outside, 8080))[0] == 200
    assert (await world.get("outside", mover, 8080))[0] == 200


async def moved_to_pending(world: MeshWorld) -> None:
    world.label("mover", **AMBIENT)
    await until(lambda: world.redirection("mover") == "pending", "cut off")


@in_node
async def test_a_pod_that_ztunnel_refuses_is_named_and_cut_off_and_costs_nobody_else_anything(world: MeshWorld) -> None:
    outside = await pods(world)
    server = world.sandboxes["server"].spec.ip or ""
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]  # no file is needed
    logging.getLogger("ambientlab").addHandler(listener)
    mover = world.sandboxes["mover"].spec.ip or ""
    with await taking(world, "mover", 15008, reusable=True) as taken:
        await moved_to_pending(world)
        await refused(world, "mover", outside)
        await refused(world, "outside", mover)
        await refused(world, "outside", mover, 15008)
        heard_nothing(taken)
        assert await world.answered("client", server, 8080)
        await world.pod("late", "hello", account="late")
        assert await world.answered("late", server, 8080)
    istiod = next(line for line in said if "ACK ERROR" in line and "inhbone|default/mover" in line)
    assert "Address already in use" in istiod
    [cni] = [line for line in said if line.startswith("Unable to send pod to ztunnel")]
    assert "Address already in use" in cni
    assert cni.endswith("\tns=default name=mover")
    await until(lambda: world.annotated("mover"), "enrolled once the port is free")
    assert (await world.get("mover", outside, 8080))[0] == 200


async def taking(world: MeshWorld, pod: str, port: int, *, reusable: bool) -> socket.socket:
    """A port as a program in the pod takes it, which runs as the user that all of the node does; `reusable` by others
    that wish to."""
    taken = await socket_in(world.sandboxes[pod].netns, socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reusable:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    taken.bind(("0.0.0.0", port))
    taken.listen()
    return taken


def heard_nothing(listening: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listening.accept()


@in_node
async def test_nobody_listens_beside_ztunnel(world: MeshWorld) -> None:
    await pods(world)
    sandbox = world.sandboxes["server"]
    wishes = [(socket.AF_INET, ("0.0.0.0", sandbox.spec.ip or "", "127.0.0.1"))]
    if sandbox.spec.ip6:
        wishes.append((socket.AF_INET6, ("::", sandbox.spec.ip6, "::1")))
    for family, addresses in wishes:
        anywhere, *_, loopback = addresses
        for port in (15001, 15006, 15008):
            for address in addresses if port != 15001 else (anywhere, loopback):
                with await socket_in(sandbox.netns, family, socket.SOCK_STREAM) as beside:
                    beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    with pytest.raises(OSError, match="Address already in use"):
                        beside.bind((address, port))


@in_node
async def test_who_takes_a_port_while_ztunnel_is_away_is_cut_off_until_it_is_free(world: MeshWorld) -> None:
    outside = await pods(world)
    server, mover = (world.sandboxes[name].spec.ip or "" for name in ("server", "mover"))
    await moved(world, "mover", into=True)
    for port in (15001, 15006, 15008):
        await world.kill_ztunnel()
        with await taking(world, "mover", port, reusable=port == 15006) as taken:
            await world.start_ztunnel()
            await until(lambda: world.redirection("mover") == "pending", "cut off")
            await refused(world, "mover", outside)
            await refused(world, "outside", mover)
            heard_nothing(taken)
            assert await world.answered("client", server, 8080)
        await until(lambda: world.annotated("mover"), "enrolled once the port is free")
        assert (await world.get("mover", outside, 8080))[0] == 200
        assert (await world.get("outside", mover, 8080))[0] == 200


@in_node
async def test_who_takes_a_port_just_before_ztunnel_listens_is_cut_off_until_it_is_free(world: MeshWorld) -> None:
    """And is alone with that: here it takes the port of tunnels, which were the end of Envoy."""
    outside = await pods(world)
    server, mover = (world.sandboxes[name].spec.ip or "" for name in ("server", "mover"))
    await world.answered("client", server, 8080)
    open_connection = await world.connect("client", server, 8080)
    [connection] = world.istiod.connections
    session, late = connection.session, Late(connection, ROUTES)
    world.label("mover", **AMBIENT)
    await until(lambda: "inbound|default/mover" in session.subscribed(ROUTES), "ztunnel waits for its routes")
    with await taking(world, "mover", 15008, reusable=False) as taken:
        late.arrive()
        await until(lambda: "final pre-worker" in world.log("ztunnel"), "ztunnel has taken the listener away")
        world.view.output(lambda line: None)(world.logs["ztunnel"].read_bytes())
        await until(lambda: world.redirection("mover") == "pending", "cut off")
        await refused(world, "outside", mover, 15008)
        heard_nothing(taken)
    await until(lambda: world.annotated("mover"), "enrolled once the port is free")
    assert (await world.get("mover", outside, 8080))[0] == 200
    assert (await world.get("client", mover, 8080))[0] == 200
    assert (await ask(*open_connection))[0] == 200


@in_node
async def test_a_network_namespace_that_is_gone_is_refused_alone(world: MeshWorld) -> None:
    await pods(world)
    server = world.sandboxes["server"].spec.ip or ""
    gone = Captured("gone", "hello", "gone", "10.244.9.9", "/proc/999999/ns/net", "spiffe://cluster.local/ns/h/sa/s")
    with pytest.raises(OSError, match=r"refuses \w+\|hello/gone: .*/proc/999999/ns/net"):
        await world.istiod.captures.add(gone)
    await world.pod("late", "hello", account="late")
    assert await world.answered("late", server, 8080)
    await world.istiod.captures.remove("gone")
    assert await world.answered("client", server, 8080)


@in_node
async def test_a_killed_ztunnel_leaves_no_gap_in_the_policy(world: MeshWorld) -> None:
    """Clients go on calling. What is captured is answered through ztunnel or not at all, whichever side is captured."""
    outside = await pods(world)
    server = world.sandboxes["server"].spec.ip or ""
    calls = [("client", server), ("client", outside), ("outside", server)]
    for pod, ip in calls:
        await world.answered(pod, ip, 8080)
    stop = asyncio.Event()
    outcomes: list[int] = []

    async def call(pod: str, ip: str) -> None:
        while not stop.is_set():
            outcomes.append((await world.get(pod, ip, 8080))[0])

    callers = [asyncio.create_task(call(pod, ip)) for pod, ip in calls for _ in range(3)]
    for _ in range(2):
        await until(lambda: outcomes.count(200) > 100, "load")
        await world.kill_ztunnel()
        for pod, ip in calls:
            await refused(world, pod, ip)
        outcomes.clear()
        await world.start_ztunnel()
    await until(lambda: outcomes.count(200) > 100, "answers again")
    stop.set()
    await asyncio.gather(*callers)
    for pod, ip in calls:
        assert (await world.get(pod, ip, 8080))[0] == 200
