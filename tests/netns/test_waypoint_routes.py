"""Routes at a waypoint: what it refuses of them, and where it sends connections. Real control plane, real Envoys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ambientlab.api.kinds import DESTINATIONRULE, VIRTUALSERVICE
from support import splits
from support.in_node import in_node
from support.waiting import becomes, until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

VIP = "10.96.0.50"


def virtual_service(name: str, created: str, **spec: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "hello",
        "generation": 1,
        "creationTimestamp": f"2026-01-{created}T00:00:00Z",
    }
    return {"metadata": metadata, "spec": {"hosts": ["hello"], **spec}}


def answers(path: str, status: int, body: str = "") -> list[dict[str, Any]]:
    return [{"match": [{"uri": {"exact": path}}], "directResponse": {"status": status, "body": {"string": body}}}]


def finding(world: MeshWorld, name: str) -> str:
    found = world.client.get(VIRTUALSERVICE, name, "hello") or {}
    conditions = (found.get("status") or {}).get("conditions") or []
    return "; ".join(condition["message"] for condition in conditions if condition["type"] == "ambientlab.io/Finding")


async def status(world: MeshWorld, path: str) -> int:
    return (await world.get("client", VIP, 5000, path))[0]


async def answered(world: MeshWorld, path: str, wanted: int) -> None:
    await becomes(lambda: status(world, path), wanted)


@in_node
async def test_a_route_that_envoy_refuses_takes_no_other_down_and_is_told_why(world: MeshWorld) -> None:
    world.namespace("default", istio_DOT_io__dataplane_mode="ambient")
    world.namespace("hello", istio_DOT_io__dataplane_mode="ambient")
    await world.ztunnel()
    await world.pod("client")
    await world.pod("hello", "hello")
    await world.serve("hello")
    world.service("hello", "hello", VIP, {5000: 8080}, ["hello"], istio_DOT_io__use_waypoint="waypoint")
    too_large = "x" * 5000
    for number, (name, path) in enumerate((("a", "/a"), ("bad", "/bad"), ("b", "/b"), ("worse", "/worse")), 1):
        body = too_large if name in ("bad", "worse") else ""
        world.client.put(VIRTUALSERVICE, virtual_service(name, f"0{number}", http=answers(path, 200 + number, body)))
    await world.waypoint()
    await answered(world, "/a", 201)
    await answered(world, "/b", 203)
    for name in ("bad", "worse"):
        await until(lambda name=name: "response body size is 5000 bytes" in finding(world, name), f"{name} is told")  # type: ignore[misc]  # bound
    assert "those of others are in force without them" in finding(world, "bad"), finding(world, "bad")
    assert not finding(world, "a")

    world.client.put(VIRTUALSERVICE, virtual_service("a", "01", http=answers("/a", 211)))
    await answered(world, "/a", 211)
    world.client.put(VIRTUALSERVICE, virtual_service("bad", "02", http=answers("/bad", 212, "short")))
    await answered(world, "/bad", 212)
    await until(lambda: not finding(world, "bad"), "nothing is left to say")
    assert "5000 bytes" in finding(world, "worse")
    assert await status(world, "/b") == 203
    assert (await world.get("client", VIP, 5000, "/other"))[0] == 404


async def serve_name(world: MeshWorld, pod: str, port: int) -> None:
    """Says its name at once, and whatever it is told."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{pod}\n".encode())
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    await world.listen(pod, port, say)


async def connected(world: MeshWorld, port: int) -> str:
    """Who answers a connection; "" where it is closed instead."""
    reader, writer = await world.connect("client", VIP, port)
    try:
        async with asyncio.timeout(10):
            return (await reader.readline()).decode().strip()
    except ConnectionError:
        return ""
    finally:
        writer.close()


def split(v1: int, v2: int) -> dict[str, Any]:
    shares = [{"destination": {"host": "hello", "subset": name}, "weight": n} for name, n in (("v1", v1), ("v2", v2))]
    nowhere = {"route": [{"destination": {"host": "nowhere"}}], "match": [{"port": 9001}]}
    return virtual_service("tcp", "01", tcp=[{"match": [{"port": 9000}], "route": shares}, nowhere])


@in_node
async def test_connections_are_split_and_a_new_split_cuts_none_of_other_ports(world: MeshWorld) -> None:
    world.namespace("default", istio_DOT_io__dataplane_mode="ambient")
    world.namespace("hello", istio_DOT_io__dataplane_mode="ambient")
    await world.ztunnel()
    await world.pod("client")
    ports = (9000, 9001, 9002)
    for name in ("v1", "v2"):
        await world.pod(name, "hello", labels={"version": name})
        for port in ports:
            await serve_name(world, name, port)
    labels = {"istio_DOT_io__use_waypoint": "waypoint"}
    world.service("hello", "hello", VIP, {port: port for port in ports}, ["v1", "v2"], protocol="tcp", **labels)
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    rule = {"metadata": {"name": "hello", "namespace": "hello"}, "spec": {"host": "hello", "subsets": subsets}}
    world.client.put(DESTINATIONRULE, rule)
    world.client.put(VIRTUALSERVICE, split(100, 0))
    await world.waypoint()

    async def ten() -> set[str]:
        return {await connected(world, 9000) for _ in range(10)}

    await becomes(ten, {"v1"})
    assert not await connected(world, 9001)
    reader, writer = await world.connect("client", VIP, 9002)
    await reader.readline()

    world.client.put(VIRTUALSERVICE, split(0, 100))
    await becomes(lambda: connected(world, 9000), "v2")
    world.client.put(VIRTUALSERVICE, split(80, 20))
    await becomes(lambda: connected(world, 9000), "v1")
    splits.fits([await connected(world, 9000) for _ in range(200)], {"v1": 80.0, "v2": 20.0})
    assert "connections for nowhere.hello.svc.cluster.local:9001 are closed" in finding(world, "tcp")
    admin = await world.admin("waypoint")

    async def draining() -> int:
        return sum((await admin.stats("listener_manager.total_filter_chains_draining")).values())

    await becomes(draining, 0)
    writer.write(b"still there\n")
    assert await reader.readline() == b"still there\n", "the connection to another port is cut"
    writer.close()
