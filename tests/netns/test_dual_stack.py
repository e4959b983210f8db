"""IPv6 through the mesh: the same proxies, rules and policies as for IPv4, in a node that has both."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, PEERAUTHENTICATION, SERVICEENTRY
from ambientlab.mesh.ir import with_port
from support.forged import tunnel
from support.hello_pods import VIP, captured_pods, logged, through_the_waypoint, waypoint_for_hello
from support.in_node import in_node
from support.mesh_world import ask
from support.waiting import becomes

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld

VIP6 = "fd00:10:96::50"
BOTH = f"{VIP},{VIP6}"
PODS = ["hello-v1", "hello-v2"]


async def dual(world: MeshWorld, **labels: str) -> None:
    world.service("hello", "hello", BOTH, {5000: 8080}, PODS, **labels)


@in_node
async def test_services_and_pods_are_reached_by_tunnels_of_ipv6(world: MeshWorld) -> None:
    await captured_pods(world)
    await dual(world)
    here = world.sandboxes["client"].spec.ip6
    v1 = world.sandboxes["hello-v1"].spec.ip6
    assert (await world.answered("client", VIP6, 5000)).split()[1] == here, "the application sees the client's address"
    found = [await world.get("client", VIP6, 5000) for _ in range(30)]
    assert {body for _, body in found} == {f"v1 {here}\n", f"v2 {here}\n"}
    assert await world.get("client", v1, 8080) == (200, f"v1 {here}\n")
    await logged(world, rf"src\.addr=\[{here}\]:\d+ .*dst\.addr=\[{v1}\]:15008 dst\.hbone_addr=\[{v1}\]:8080")
    await logged(world, r'dst\.service="hello\.hello\.svc\.cluster\.local".*direction="inbound"')
    v4 = world.sandboxes["client"].spec.ip
    assert (await world.answered("client", VIP, 5000)).split()[1] == v4, "clients of one family stay in it"


@in_node
async def test_who_is_outside_of_the_mesh_is_met_in_plain_tcp(world: MeshWorld) -> None:
    """Into the mesh through 15006, out of it as it was, and refused where a policy wants tunnels."""
    await captured_pods(world)
    await dual(world)
    world.namespace("outside")
    await world.pod("stranger", "outside")
    await world.serve("stranger")
    stranger, client, v1 = (world.sandboxes[pod].spec.ip6 for pod in ("stranger", "client", "hello-v1"))
    assert await world.get("stranger", v1, 8080) == (200, f"v1 {stranger}\n")
    await logged(world, rf"src\.addr=\[{stranger}\]:\d+ .*dst\.addr=\[fd00:10:244::\w+\]:8080 .*inbound")
    assert await world.get("client", stranger, 8080) == (200, f"stranger {client}\n")
    strict = {
        "metadata": {"name": "default", "namespace": "hello"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }
    world.client.put(PEERAUTHENTICATION, strict)
    await until_status(world, "stranger", v1, 8080, 0)
    assert (await world.get("client", VIP6, 5000))[0] == 200


@in_node
async def test_policies_know_addresses_of_ipv6(world: MeshWorld) -> None:
    await captured_pods(world)
    await dual(world)
    await world.answered("client", VIP6, 5000)
    client = world.sandboxes["client"].spec

    def allow(**source: list[str]) -> None:
        policy = {
            "metadata": {"name": "p", "namespace": "hello"},
            "spec": {"action": "ALLOW", "rules": [{"from": [{"source": source}]}]},
        }
        world.client.put(AUTHORIZATIONPOLICY, policy)

    allow(ipBlocks=["fd00:10:244::/64"])
    await until_status(world, "client", VIP, 5000, 0)
    assert (await world.get("client", VIP6, 5000))[0] == 200
    await logged(world, r"policy rejection: allow policies exist, but none allowed")
    allow(ipBlocks=[str(client.ip)])
    await until_status(world, "client", VIP, 5000, 200)
    await until_status(world, "client", VIP6, 5000, 0)
    allow(notIpBlocks=["10.0.0.0/8", f"{client.ip6}/128"])
    await until_status(world, "client", VIP, 5000, 0)
    assert (await world.get("client", VIP6, 5000))[0] == 0


@in_node
async def test_a_tunnel_leads_to_the_address_that_it_has_come_to(world: MeshWorld) -> None:
    """Policies go by that address, so that a pod's other one cannot be asked for; whatever the client says."""
    await captured_pods(world)
    await world.pod("evil", "outside")
    v1 = world.sandboxes["hello-v1"].spec
    identity = world.ca.issue("spiffe://cluster.local/ns/default/sa/default")
    for here, there in ((v1.ip6, str(v1.ip)), (str(v1.ip), v1.ip6)):
        assert await tunnel(world, "evil", here, with_port(here, 8080), identity) == 200
        assert await tunnel(world, "evil", here, with_port(there, 8080), identity) == 400
        assert await tunnel(world, "evil", here, with_port(here, 15001), identity) == 503
        await logged(world, rf"ip mismatch: {here} != {there}")


@in_node
async def test_open_connections_end_when_a_policy_forbids_them(world: MeshWorld) -> None:
    """By HBONE, in plain TCP, and not those of the other family."""
    world.watch_policies()
    await captured_pods(world)
    await dual(world)
    world.namespace("outside")
    await world.pod("stranger", "outside")
    v1 = world.sandboxes["hello-v1"].spec
    await world.answered("client", v1.ip6, 8080)
    by_pod = {pod: await world.connect(pod, v1.ip6, 8080) for pod in ("client", "stranger")}
    kept = await world.connect("client", str(v1.ip), 8080)
    for connection in (*by_pod.values(), kept):
        assert (await ask(*connection))[0] == 200
    policy = {
        "metadata": {"name": "no", "namespace": "hello"},
        "spec": {"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": ["fd00::/8"]}}]}]},
    }
    world.client.put(AUTHORIZATIONPOLICY, policy)
    for reader, _ in by_pod.values():
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert await reader.read() == b""
    assert (await ask(*kept))[0] == 200
    await logged(world, rf"connection \[\S+\]:\d+\(spiffe\S+\)->\[{v1.ip6}\]:8080 .*no longer allowed after a policy")


@in_node
async def test_a_waypoint_answers_at_the_address_of_ipv6(world: MeshWorld) -> None:
    await waypoint_for_hello(world)
    await dual(world, istio_DOT_io__use_waypoint="waypoint")
    await through_the_waypoint(world, VIP6)
    await logged(world, rf"dst\.hbone_addr=\[{VIP6}\]:5000")


@in_node
async def test_a_waypoint_is_reached_by_the_family_that_its_client_called(world: MeshWorld) -> None:
    """Where its Service has both; where the Gateway names one address, that one is taken."""
    await captured_pods(world)
    await world.waypoint(vip="10.96.0.200,fd00:10:96::200")
    await dual(world, istio_DOT_io__use_waypoint="waypoint")
    waypoint, client = (world.sandboxes[pod].spec for pod in ("waypoint-1", "client"))
    assert (await world.answered("client", VIP6, 5000)).split()[1] == waypoint.ip
    await logged(world, rf"src\.addr=\[{client.ip6}\]:\d+ .*dst\.addr=\[{waypoint.ip6}\]:15008 .*=\[{VIP6}\]:5000")
    await world.answered("client", VIP, 5000)
    await logged(world, rf"src\.addr={client.ip}:\d+ .*dst\.addr={waypoint.ip}:15008 .*={VIP}:5000")
    world.service("waypoint", "hello", "10.96.0.200", {15008: 15008}, ["waypoint-1"])  # istiod takes its addresses

    async def by_the_only_address() -> bool:
        assert (await world.get("client", VIP6, 5000))[0] == 200
        return re.search(rf"dst\.addr={waypoint.ip}:15008 .*=\[{VIP6}\]:5000", world.log("ztunnel")) is not None

    await becomes(by_the_only_address, True)


@in_node
async def test_service_entries_have_addresses_of_ipv6(world: MeshWorld) -> None:
    """One that was chosen, with endpoints of its family, and one assigned, whose endpoints have the other."""
    await captured_pods(world)
    v1, v2 = (world.sandboxes[pod].spec for pod in PODS)
    client = world.sandboxes["client"].spec
    port = {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}
    for name, addresses, endpoint in (("chosen", ["2001:db8::80"], v1.ip6), ("assigned", [], v2.ip)):
        entry = {
            "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "hello"},
            "spec": {
                "hosts": [f"{name}.example.com"],
                "addresses": addresses,
                "ports": [port],
                "resolution": "STATIC",
                "location": "MESH_INTERNAL",
                "endpoints": [{"address": endpoint}],
            },
            "status": {"addresses": [{"host": f"{name}.example.com", "value": "2001:2::7"}]},
        }
        world.client.put(SERVICEENTRY, entry)
    assert await world.answered("client", "2001:db8::80", 80) == f"v1 {client.ip6}\n"
    assert await world.answered("client", "2001:2::7", 80) == f"v2 {client.ip}\n"


async def until_status(world: MeshWorld, pod: str, ip: str, port: int, wanted: int) -> None:
    async def status() -> int:
        return (await world.get(pod, ip, port))[0]

    await becomes(status, wanted)
