"""Pods, node proxy and waypoint end to end: the real generators, the real control plane, real Envoys, one node each."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from support.in_node import in_node

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


async def answered(world: MeshWorld, pod: str, ip: str, port: int) -> str:
    """The first good answer: changes take milliseconds to arrive."""
    for _ in range(500):
        status, body = await world.get(pod, ip, port)
        if status == 200:
            return body
        await asyncio.sleep(0.01)
    raise AssertionError(f"{pod} gets no answer from {ip}:{port}: {status} {body}")


@in_node
async def test_two_pods_talk_through_a_tunnel_that_names_both(world: MeshWorld) -> None:
    await captured_pods(world)
    body = await answered(world, "client", VIP, 5000)
    client = world.sandboxes["client"].spec.ip
    assert body.split() in (["v1", client], ["v2", client]), "the application sees the client's address"
    while 'direction="inbound"' not in world.log("ztunnel"):
        await asyncio.sleep(0.01)
    log = world.log("ztunnel")
    for line in (line for line in log.splitlines() if 'direction="inbound"' in line and 'src.workload="client"' in line):
        assert 'src.identity="spiffe://cluster.local/ns/default/sa/client"' in line
        assert 'dst.identity="spiffe://cluster.local/ns/hello/sa/hello"' in line
        assert re.search(r"dst\.addr=10\.244\.\d+\.\d+:15008", line)
        break
    else:
        raise AssertionError(log)
    found = await asyncio.gather(*(world.get("client", VIP, 5000) for _ in range(60)))
    assert {status for status, _ in found} == {200}
    assert {body.split()[0] for _, body in found} == {"v1", "v2"}
