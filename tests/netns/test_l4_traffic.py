"""What the node proxy carries, as both ends see it: the real generators, a real Envoy, any bytes on any port."""

from __future__ import annotations

import asyncio
import re
import socket
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ambientlab.cluster import NODE_IP
from ambientlab.node.linux.netlink import socket_in
from support.in_node import in_node
from support.waiting import until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld, Talk

VIP, PLAIN_VIP, BULK_VIP = "10.96.0.50", "10.96.0.51", "10.96.0.52"
PORT = 3306
MEGABYTE = bytes(range(256)) * 4096


async def ways(world: MeshWorld, talk: Talk) -> dict[str, tuple[str, str, int]]:
    """How a connection may go: from which pod, to which address and port. `talk` is what all servers do."""
    for namespace in ("default", "hello"):
        world.namespace(namespace, istio_DOT_io__dataplane_mode="ambient")
    world.namespace("outside")
    await world.ztunnel()
    for name, namespace in (("client", "default"), ("server", "hello"), ("stranger", "outside")):
        await world.pod(name, namespace, account=name)
    world.service("db", "hello", VIP, {PORT: PORT}, ["server"])
    world.service("db", "outside", PLAIN_VIP, {PORT: PORT}, ["stranger"])
    for pod in ("server", "stranger", ""):
        await world.listen(pod, PORT, talk)
    server, stranger = (world.sandboxes[pod].spec.ip or "" for pod in ("server", "stranger"))
    await world.istiod.in_step()
    return {
        "through a tunnel to a service": ("client", VIP, PORT),
        "through a tunnel to a pod": ("client", server, PORT),
        "in plain TCP to a service": ("client", PLAIN_VIP, PORT),
        "in plain TCP to a pod": ("client", stranger, PORT),
        "from outside the mesh": ("stranger", server, PORT),
        "to an address that the mesh does not know": ("client", NODE_IP, PORT),
    }


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As databases and mail servers do: the server speaks first."""
    peer = writer.get_extra_info("peername")[0]
    writer.write(f"5.7.44 {peer}\0".encode())
    try:
        writer.write((await reader.readuntil(b"\0")).upper())
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@in_node
async def test_servers_may_speak_first_and_see_who_calls(world: MeshWorld) -> None:
    for way, (pod, ip, port) in (await ways(world, greet)).items():
        reader, writer = await world.connect(pod, ip, port)
        async with asyncio.timeout(5):
            banner = await reader.readuntil(b"\0")
            assert banner == f"5.7.44 {world.sandboxes[pod].spec.ip}\0".encode(), way
            writer.write(b"select 1\0")
            assert await reader.read() == b"SELECT 1\0", way
        writer.close()


async def answer_when_all_is_said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = await reader.read()
    writer.write(f"{len(asked)} {zlib.crc32(asked)} ".encode() + MEGABYTE)
    await writer.drain()
    writer.close()


@in_node
async def test_who_has_said_everything_still_gets_the_whole_answer(world: MeshWorld) -> None:
    expected = f"{len(MEGABYTE)} {zlib.crc32(MEGABYTE)} ".encode() + MEGABYTE
    for way, (pod, ip, port) in (await ways(world, answer_when_all_is_said)).items():
        reader, writer = await world.connect(pod, ip, port)
        async with asyncio.timeout(5):
            writer.write(MEGABYTE)
            writer.write_eof()
            assert await reader.read() == expected, way
        writer.close()


@in_node
async def test_who_has_answered_everything_still_hears_the_rest(world: MeshWorld) -> None:
    """Outside of tunnels. In one, Envoy ends the stream of a server that has ended its half (source/extensions/
    upstreams/http/tcp/upstream_request.cc): the client has the answer, and the server hears that all is over."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def say_all_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(MEGABYTE)
        writer.write_eof()
        try:
            heard.put_nowait(await reader.read())
        except ConnectionError as error:
            heard.put_nowait(repr(error).encode())
        writer.close()

    for way, (pod, ip, port) in (await ways(world, say_all_and_listen)).items():
        reader, writer = await world.connect(pod, ip, port)
        async with asyncio.timeout(5):
            assert await reader.read() == MEGABYTE, way
            writer.write(MEGABYTE)
            if way.startswith("through a tunnel"):
                assert await heard.get() != MEGABYTE, "docs/limits.md says otherwise"
            else:
                writer.write_eof()
                assert await heard.get() == MEGABYTE, way
        writer.close()


LARGE = 48


@in_node
async def test_who_has_answered_everything_may_close_at_once(world: MeshWorld) -> None:
    """More than any buffer on the way holds but the one for this."""
    closed = asyncio.Event()

    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\0")
        for _ in range(LARGE):
            writer.write(MEGABYTE)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    for way, (pod, ip, port) in (await ways(world, answer_and_close)).items():
        reader, writer = await world.connect(pod, ip, port)
        async with asyncio.timeout(20):
            closed.clear()
            writer.write(b"all\0")
            if way.startswith("through a tunnel"):
                await closed.wait()
            assert len(await reader.read()) == LARGE * len(MEGABYTE), way
        writer.close()


GIGABYTE = 1024
KEPT = GIGABYTE
"""Megabytes that are kept for a client which does not read, before its server has to wait."""


async def tunnelled(world: MeshWorld, *, waypoint: bool = False) -> tuple[socket.socket, socket.socket]:
    """The two ends of one connection from client to server, for threads: at this speed, a loop would be what is
    measured."""
    await ways(world, greet)
    caller, labels = world.sandboxes["client"].spec.ip, {}
    if waypoint:
        caller, labels = (await world.waypoint()).spec.ip, {"istio_DOT_io__use_waypoint": "waypoint"}
        await world.waypoints_run()
    world.service("bulk", "hello", BULK_VIP, {9000: 9000}, ["server"], protocol="tcp", **labels)
    listening = await socket_in(world.sandboxes["server"].netns, socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("0.0.0.0", 9000))
    listening.listen()

    await world.in_step()
    near = await socket_in(world.sandboxes["client"].netns, socket.AF_INET, socket.SOCK_STREAM)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        await loop.sock_connect(near, (BULK_VIP, 9000))
        far, (seen, _) = await loop.sock_accept(listening)
    assert seen == caller
    for end in (near, far):
        end.setblocking(True)
        end.settimeout(20)
    return near, far


def send(end: socket.socket, megabytes: int) -> int:
    """The checksum of what was sent."""
    checksum = 0
    for number in range(megabytes):
        block = number.to_bytes(4, "big") + MEGABYTE[4:]
        checksum = zlib.crc32(block, checksum)
        end.sendall(block)
    return checksum


def receive(end: socket.socket, count: int) -> int:
    """The checksum of so many bytes."""
    checksum = 0
    buffer = memoryview(bytearray(len(MEGABYTE)))
    while count:
        size = end.recv_into(buffer)
        assert size, f"{count} bytes are missing"
        checksum = zlib.crc32(buffer[:size], checksum)
        count -= size
    return checksum


def memory(pid: int) -> int:
    """In megabytes: what a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) >> 10


@in_node
async def test_a_gigabyte_arrives_as_it_was_sent(world: MeshWorld) -> None:
    near, far = await tunnelled(world)
    before = memory(world.envoys["ztunnel"].pid)
    for sender, receiver in ((near, far), (far, near)):
        sent, received = await asyncio.gather(
            asyncio.to_thread(send, sender, GIGABYTE // 2),
            asyncio.to_thread(receive, receiver, GIGABYTE // 2 * len(MEGABYTE)),
        )
        assert received == sent
        assert memory(world.envoys["ztunnel"].pid) - before < 384


def send_until_full(end: socket.socket) -> int:
    """Bytes that go out while nobody reads: until none can for a moment."""
    total = 0
    end.settimeout(0.3)
    try:
        while True:
            total += end.send(MEGABYTE)
    except TimeoutError:
        return total


@in_node
async def test_who_does_not_read_makes_the_sender_wait(world: MeshWorld) -> None:
    near, far = await tunnelled(world)
    for sender, reader, kept in ((near, far, 0), (far, near, KEPT)):
        before = memory(world.envoys["ztunnel"].pid)
        total = await asyncio.to_thread(send_until_full, sender)
        assert total < (kept + 384) * len(MEGABYTE)
        assert memory(world.envoys["ztunnel"].pid) - before < kept + 384
        await asyncio.to_thread(receive, reader, total)


async def check_a_slow_reader(near: socket.socket, far: socket.socket) -> None:
    """All of the answer was on its way, and its server gone, before the client reads the beginning."""
    sent = await asyncio.to_thread(send, far, KEPT // 2)
    far.close()
    assert await asyncio.to_thread(receive, near, KEPT // 2 * len(MEGABYTE)) == sent
    assert near.recv(1) == b""


@in_node
async def test_who_is_slow_to_read_gets_the_whole_answer_of_a_server_that_closes(world: MeshWorld) -> None:
    await check_a_slow_reader(*await tunnelled(world))


@in_node
async def test_who_is_slow_to_read_gets_the_whole_answer_through_a_waypoint(world: MeshWorld) -> None:
    await check_a_slow_reader(*await tunnelled(world, waypoint=True))


def timers(pid: int) -> dict[tuple[str, str], float]:
    """Seconds until the kernel probes a connection of a pod, by its own and its peer's port (proc(5), tcp)."""
    found = {}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, own, peer, state, _, timer, *_ = line.split()
        kind, _, when = timer.partition(":")
        if state == "01":
            places = (str(int(own.split(":")[1], 16)), str(int(peer.split(":")[1], 16)))
            found[places] = int(when, 16) / 100 if kind == "02" else 0.0
    return found


@in_node
async def test_silent_connections_are_kept_alive(world: MeshWorld) -> None:
    """As ztunnel's sockets are, at both ends of the proxy: nothing on the way forgets a connection, and none is ever
    closed for its silence."""
    found = await ways(world, greet)
    ends = [await world.connect(*way) for way in found.values()]
    for reader, _ in ends:
        await reader.readuntil(b"\0")
    own = sum(pod == "client" for pod, _, _ in found.values())

    def unkept() -> list[float]:
        """The client's own sockets have no such timer, and neither has one that waits for an acknowledgement."""
        client, server = (timers(world.sandboxes[pod].pid) for pod in ("client", "server"))
        peers = ("15008", str(PORT))
        of_proxy = [seconds for (own, peer), seconds in client.items() if own == "15001" or peer in peers]
        of_proxy += [s for (own, peer), s in server.items() if own in ("15006", "15008") or peer == str(PORT)]
        assert len(of_proxy) > 3 * own
        return [seconds for seconds in of_proxy if not 170 < seconds <= 180]

    await until(lambda: unkept() == [0.0] * own, "probes of every socket of the proxy")
