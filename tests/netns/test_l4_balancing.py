"""Which endpoint gets a connection from the node proxy, and what becomes of those that nobody takes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ambientlab.api.kinds import ENDPOINTSLICE, NODE, SERVICE, SERVICEENTRY
from support.in_node import in_node
from support.splits import fits

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

VIP = "10.96.0.50"


async def two_servers(world: MeshWorld) -> None:
    """One in the mesh and one outside of it, behind one service; each says its name at once."""
    world.namespace("default", istio_DOT_io__dataplane_mode="ambient")
    world.namespace("hello")
    await world.ztunnel()
    await world.pod("client")
    await world.pod("one", "hello", labels={"istio.io/dataplane-mode": "ambient"})
    await world.pod("two", "hello")
    for pod in ("one", "two"):
        await say_names(world, pod, 8080)
    world.service("both", "hello", VIP, {80: 8080}, ["one", "two"])
    await world.istiod.in_step()


async def say_names(world: MeshWorld, pod: str, port: int) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((pod or "node").encode())
        writer.close()

    await world.listen(pod, port, say)


async def reached(world: MeshWorld, ip: str, port: int, pod: str = "client") -> str:
    """Who answers a connection; "" where it is refused, or closed before it brings anything: at once, in any case."""
    async with asyncio.timeout(2):
        with contextlib.suppress(ConnectionError):
            reader, writer = await world.connect(pod, ip, port)
            try:
                return (await reader.read()).decode()
            finally:
                writer.close()
    return ""


async def shares(world: MeshWorld, ip: str, port: int, connections: int = 200) -> list[str]:
    return [await reached(world, ip, port) for _ in range(connections)]


@in_node
async def test_each_connection_draws_an_endpoint(world: MeshWorld) -> None:
    await two_servers(world)
    fits(await shares(world, VIP, 80), {"one": 1.0, "two": 1.0})


@in_node
async def test_an_endpoint_that_refuses_is_not_made_up_for(world: MeshWorld) -> None:
    """As with ztunnel (src/proxy/outbound.rs), which tries the one it has drawn and no other; until readiness takes it
    out, after which nobody meets it."""
    await two_servers(world)
    for pod in ("one", "two"):
        server = world.servers.pop((pod, 8080))
        server.close()
        fits(await shares(world, VIP, 80), {{"one": "two", "two": "one"}[pod]: 1.0, "": 1.0})
        world.endpoints("both", "hello", {80: 8080}, [{"one": "two", "two": "one"}[pod]])
        await world.istiod.in_step()
        assert set(await shares(world, VIP, 80, 20)) == {{"one": "two", "two": "one"}[pod]}
        await say_names(world, pod, 8080)
        world.endpoints("both", "hello", {80: 8080}, ["one", "two"])
        await world.istiod.in_step()


@in_node
async def test_what_nobody_serves_ends_at_once(world: MeshWorld) -> None:
    await two_servers(world)
    world.service("nobody", "hello", "10.96.0.60", {80: 8080}, [])
    await world.istiod.in_step()
    server = world.sandboxes["one"].spec.ip or ""
    for ip, port in ((VIP, 81), ("10.96.0.60", 80), ("10.96.77.77", 80), ("10.244.77.77", 80), (server, 81)):
        assert await reached(world, ip, port) == "", (ip, port)


def service(name: str, vip: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "metadata": {"name": name, "namespace": "hello"},
        "spec": {"type": "ClusterIP", "clusterIP": vip, "clusterIPs": [vip], "ports": ports, **spec},
    }


def pieces(world: MeshWorld, name: str, pods: list[str], *addresses: str) -> dict[str, Any]:
    """An EndpointSlice of pods, and of addresses that are nowhere on this node."""
    endpoints: list[dict[str, Any]] = [
        {"addresses": [world.sandboxes[pod].spec.ip], "targetRef": {"kind": "Pod", "name": pod}} for pod in pods
    ]
    endpoints += [{"addresses": [address]} for address in addresses]
    return {
        "metadata": {"name": name, "namespace": "hello", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


@in_node
async def test_endpoints_that_are_near_come_first(world: MeshWorld) -> None:
    """Others are met only where the service prefers none, and where there are no near ones."""
    await two_servers(world)
    await say_names(world, "", 8080)
    world.client.put(NODE, {"metadata": {"name": "ambientlab", "labels": {"topology.kubernetes.io/zone": "z1"}}})
    cases: list[tuple[dict[str, Any], list[str], dict[str, float]]] = [
        ({}, ["one", "two"], {"one": 1.0, "two": 1.0, "node": 1.0}),
        ({"trafficDistribution": "PreferSameZone"}, ["one", "two"], {"one": 1.0, "two": 1.0}),
        ({"trafficDistribution": "PreferSameNode"}, ["two"], {"two": 1.0}),
        ({"trafficDistribution": "PreferSameNode"}, [], {"node": 1.0}),
        ({"internalTrafficPolicy": "Local"}, ["one"], {"one": 1.0}),
    ]
    for number, (spec, pods, expected) in enumerate(cases):
        vip = f"10.96.0.{70 + number}"
        world.client.put(SERVICE, service(f"near-{number}", vip, **spec))
        world.client.put(ENDPOINTSLICE, pieces(world, f"near-{number}", pods, "10.244.0.1"))
        await world.istiod.in_step()

        fits(await shares(world, vip, 80, 100), expected)


@in_node
async def test_hosts_outside_of_the_cluster_have_addresses(world: MeshWorld) -> None:
    """With endpoints by weight, with connections left as they are on whatever port, and with an address assigned."""
    await two_servers(world)
    one, two = (world.sandboxes[pod].spec.ip for pod in ("one", "two"))
    ports = [{"number": 80, "name": "tcp", "protocol": "TCP", "targetPort": 8080}]
    weighted = [{"address": one, "weight": 3}, {"address": two, "weight": 1}]
    entries: dict[str, dict[str, Any]] = {
        "weighted": {"addresses": ["192.0.2.50"], "resolution": "STATIC", "endpoints": weighted},
        "assigned": {"resolution": "STATIC", "endpoints": [{"address": two}]},
        "as-it-is": {"addresses": [two], "resolution": "NONE"},
    }
    for name, spec in entries.items():
        host = f"{name}.example.com"
        entry: dict[str, Any] = {
            "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "hello", "generation": 1},
            "spec": {"hosts": [host], "ports": ports, **spec},
        }
        if name == "assigned":
            entry["status"] = {"addresses": [{"host": host, "value": "240.240.0.7"}]}
        world.client.put(SERVICEENTRY, entry)
    await world.istiod.in_step()
    fits(await shares(world, "192.0.2.50", 80, 100), {"one": 3.0, "two": 1.0})
    assert await reached(world, "192.0.2.50", 81) == ""
    assert await reached(world, "240.240.0.7", 80) == "two"
    assert await reached(world, two or "", 8080) == "two", "a port that the ServiceEntry does not name"


@in_node
async def test_open_connections_outlive_every_change(world: MeshWorld) -> None:
    await two_servers(world)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    for pod in ("one", "two"):
        await world.listen(pod, 9000, echo)
    addresses = [world.sandboxes[pod].spec.ip or "" for pod in ("one", "two")]
    ends = [await world.connect("client", ip, 9000) for ip in addresses]
    for turn in range(5):
        endpoints = [{"address": addresses[turn % 2]}]
        spec = {"hosts": ["x.example.com"], "addresses": [f"192.0.2.{turn + 1}"], "resolution": "STATIC"}
        ports = [{"number": 80, "name": "tcp", "protocol": "TCP"}]
        entry = {
            "metadata": {"name": "x", "namespace": "hello"},
            "spec": {**spec, "ports": ports, "endpoints": endpoints},
        }
        world.client.put(SERVICEENTRY, entry)
        world.service("both", "hello", VIP, {80: 8080}, [["one"], ["two"], []][turn % 3])
        await world.pod(f"new-{turn}")
        await world.istiod.in_step()
        for reader, writer in ends:
            writer.write(f"{turn}\n".encode())
            async with asyncio.timeout(5):
                assert await reader.readline() == f"{turn}\n".encode()
    for _, writer in ends:
        writer.close()
