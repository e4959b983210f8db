"""Pods, node proxy and waypoint end to end: the real generators, the real control plane, real Envoys, one node each."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, DESTINATIONRULE, HTTPROUTE, SERVICE, VIRTUALSERVICE
from ambientlab.mesh.decide import Delivered, Failed, Reason, Request, Why, decide
from ambientlab.mesh.ir import Key
from support.hello_pods import VIP, Load, captured_pods, logged, waypoint_for_hello
from support.in_node import in_node
from support.splits import fits
from support.waiting import until

if TYPE_CHECKING:
    from support.mesh_world import MeshWorld


@in_node
async def test_two_pods_talk_through_a_tunnel_that_names_both(world: MeshWorld) -> None:
    await captured_pods(world)
    body = await world.answered("client", VIP, 5000)
    client = world.sandboxes["client"].spec.ip
    assert body.split() in (["v1", client], ["v2", client]), "the application sees the client's address"
    source = 'src.workload="client" .*src.identity="spiffe://cluster.local/ns/default/sa/client"'
    destination = r'dst\.addr=10\.244\.\d+\.\d+:15008 .*dst.identity="spiffe://cluster.local/ns/hello/sa/hello"'
    await logged(world, f'{source} .*{destination} .*direction="inbound"')
    found = await asyncio.gather(*(world.get("client", VIP, 5000) for _ in range(60)))
    assert {status for status, _ in found} == {200}
    assert {body.split()[0] for _, body in found} == {"v1", "v2"}


@in_node
async def test_the_tunnels_between_two_pods_share_one_connection(world: MeshWorld) -> None:
    """As in ztunnel's pool: one HBONE connection for each pair of pods, however many connections it carries."""
    await captured_pods(world)
    await world.answered("client", VIP, 5000)
    for _ in range(40):
        status, _ = await world.get("client", VIP, 5000)
        assert status == 200
    tunnels = [
        peer for peer, state in connections(world.sandboxes["client"].pid) if peer.endswith(":3AA0") and state == "01"
    ]
    assert len(tunnels) == len(set(tunnels)) == 2, tunnels


def connections(pid: int) -> list[tuple[str, str]]:
    """Peer address and state of a pod's TCP sockets, as proc(5) writes them: hexadecimal, 15008 is 3AA0, 01 is open."""
    with open(f"/proc/{pid}/net/tcp") as table:
        return [(line.split()[2], line.split()[3]) for line in list(table)[1:]]


async def settles_at(world: MeshWorld, shares: dict[str, float], requests: int = 300) -> None:
    """The answers have these shares as soon as every proxy follows the API."""
    await world.in_step()
    await world.get("client", VIP, 5000)  # proxies say so before their workers have heard; one that answers has
    fits((await world.spread("client", VIP, 5000, requests)).elements(), shares)


def virtual_service(v1: int, v2: int) -> dict[str, object]:
    weighted = [
        {"destination": {"host": "hello", "subset": subset}, "weight": weight}
        for subset, weight in (("v1", v1), ("v2", v2))
    ]
    return {
        "metadata": {"name": "hello", "namespace": "hello"},
        "spec": {"hosts": ["hello"], "http": [{"route": weighted}]},
    }


DESTINATION_RULE = {
    "metadata": {"name": "hello", "namespace": "hello"},
    "spec": {"host": "hello", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]},
}


def http_route(v1: int, v2: int) -> dict[str, object]:
    refs = [{"name": f"hello-{v}", "port": 5000, "weight": weight} for v, weight in (("v1", v1), ("v2", v2))]
    return {
        "metadata": {"name": "hello", "namespace": "hello", "generation": 1},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "hello", "port": 5000}],
            "rules": [{"backendRefs": refs}],
        },
    }


@in_node
async def test_a_virtual_service_and_its_subsets_split_95_to_5(world: MeshWorld) -> None:
    await waypoint_for_hello(world)
    await settles_at(world, {"v1": 0.5, "v2": 0.5})
    world.client.put(DESTINATIONRULE, DESTINATION_RULE)
    world.client.put(VIRTUALSERVICE, virtual_service(95, 5))
    await settles_at(world, {"v1": 0.95, "v2": 0.05})
    world.client.put(VIRTUALSERVICE, virtual_service(0, 100))
    await settles_at(world, {"v1": 0.0, "v2": 1.0})
    world.client.drop(VIRTUALSERVICE, "hello", "hello")
    await settles_at(world, {"v1": 0.5, "v2": 0.5})


@in_node
async def test_an_http_route_splits_95_to_5_and_its_status_says_so(world: MeshWorld) -> None:
    await waypoint_for_hello(world)
    for version, vip in (("v1", "10.96.0.51"), ("v2", "10.96.0.52")):
        world.service(f"hello-{version}", "hello", vip, {5000: 8080}, [f"hello-{version}"])
    world.client.put(HTTPROUTE, http_route(95, 5))
    await settles_at(world, {"v1": 0.95, "v2": 0.05})
    route = world.client.get(HTTPROUTE, "hello", "hello")
    assert route is not None
    [parent] = route["status"]["parents"]
    conditions = {c["type"]: c["status"] for c in parent["conditions"]}
    assert conditions["Accepted"] == conditions["ResolvedRefs"] == "True"
    world.client.drop(SERVICE, "hello-v2", "hello")
    world.client.put(HTTPROUTE, http_route(50, 50))
    await settles_at(world, {"v1": 0.5, "500": 0.5})


@in_node
async def test_both_tunnels_of_a_waypoint_name_their_ends(world: MeshWorld) -> None:
    await waypoint_for_hello(world)
    # A tunnel is logged when it ends, and the waypoint keeps its own open.
    await world.remove_pod("waypoint-1", "hello")
    client, waypoint, hello = (
        f'"spiffe://cluster.local/ns/{account}"'
        for account in ("default/sa/client", "hello/sa/waypoint", "hello/sa/hello")
    )
    for source, destination in ((client, waypoint), (waypoint, hello)):
        await logged(world, f"src.identity={source} .*dst.identity={destination}")


@in_node
async def test_endpoints_and_services_come_and_go_without_a_failed_request(world: MeshWorld) -> None:
    await captured_pods(world)
    await world.pod("hello-v3", "hello", account="hello", labels={"app": "hello", "version": "v3"})
    await world.serve("hello-v3", body="v3")
    await world.answered("client", VIP, 5000)
    async with Load(world, VIP, 5000) as load:
        for turn in range(8):
            await load.more(15)
            world.endpoints("hello", "hello", {5000: 8080}, ["hello-v1", "hello-v2", "hello-v3"][turn % 2 :])
            world.service(f"other-{turn}", "hello", f"10.96.1.{turn}", {80: 8080}, ["hello-v3"])
            assert (await world.answered("client", f"10.96.1.{turn}", 80)).startswith("v3")
        await load.more(15)
    assert load.failures == []


@in_node
async def test_routes_change_without_a_failed_request(world: MeshWorld) -> None:
    await waypoint_for_hello(world)
    world.client.put(DESTINATIONRULE, DESTINATION_RULE)
    async with Load(world, VIP, 5000) as load:
        for turn in range(8):
            await load.more(15)
            world.client.put(VIRTUALSERVICE, virtual_service(100 - turn, turn))
            if turn % 3 == 2:
                world.client.drop(VIRTUALSERVICE, "hello", "hello")
        await load.more(15)
    assert load.failures == []


@in_node
async def test_a_killed_ztunnel_is_replaced_and_carries_every_captured_pod_again(world: MeshWorld) -> None:
    await captured_pods(world)
    await world.answered("client", VIP, 5000)
    await world.kill_ztunnel()
    status, _ = await world.get("client", VIP, 5000)
    assert status == 0, "a captured pod is never uncaptured because its proxy is gone"
    await world.start_ztunnel()
    await world.answered("client", VIP, 5000)
    world.endpoints("hello", "hello", {5000: 8080}, ["hello-v2"])
    await settles_at(world, {"v2": 1.0}, requests=20)
    await world.remove_pod("hello-v1", "hello")
    await settles_at(world, {"v2": 1.0}, requests=20)


@in_node
async def test_labels_move_running_pods_in_and_out_of_the_mesh(world: MeshWorld) -> None:
    await world.ztunnel()
    await world.pod("client", account="client")
    await world.pod("server", "hello", account="server")
    await world.serve("server")
    ip = world.sandboxes["server"].spec.ip or ""
    assert (await world.get("client", ip, 8080))[0] == 200
    for _ in range(3):
        for namespace in ("default", "hello"):
            world.namespace(namespace, istio_DOT_io__dataplane_mode="ambient")
        await until(
            lambda: len(world.istiod.captures.pods) == 2 and all(map(world.annotated, ("client", "server"))), "in"
        )
        await world.answered("client", ip, 8080)
        assert await world.rules.installed(world.sandboxes["server"].netns)
        for namespace in ("default", "hello"):
            world.namespace(namespace)
        await until(lambda: not world.istiod.captures.pods, "out of the mesh")
        assert await world.answered("client", ip, 8080)
        assert not await world.rules.installed(world.sandboxes["client"].netns)


@in_node
async def test_the_proxys_own_ports_are_not_passed_on_to_itself(world: MeshWorld) -> None:
    """Each round of such a call would open the next, until the proxy has no descriptor left."""
    await captured_pods(world)
    await world.answered("client", VIP, 5000)
    world.namespace("outside")
    await world.pod("stranger", "outside")
    server = world.sandboxes["hello-v1"].spec.ip
    own = world.sandboxes["client"].spec.ip
    inbound, outbound = (
        f'direction="{way}bound" error="attempted recursive call to ourselves"' for way in ("in", "out")
    )
    refused = '.*direction="outbound" .*error="http status: 503 Service Unavailable"'
    for pod, ip, port, words in (
        ("client", "127.0.0.1", 15001, outbound),
        ("client", "127.0.0.1", 15006, inbound),
        ("client", own or "", 15006, inbound),
        ("client", server or "", 15001, refused),
        ("client", server or "", 15006, refused),
        ("client", server or "", 15008, refused),
        ("stranger", server or "", 15001, inbound),
        ("stranger", server or "", 15006, inbound),
        ("stranger", server or "", 15008, '.*error="tls handshake error'),
    ):
        status, why = await world.get(pod, ip, port)
        assert status == 0, (pod, ip, port)
        assert "Timeout" not in why, f"{pod} to {ip}:{port}: {why}"
        await logged(world, rf"addr={ip}:{port} {words}")
        client = Key("outside" if pod == "stranger" else "default", pod)
        [foreseen] = decide(world.istiod.index.mesh, client, Request.to(f"http://{ip}:{port}")).outcomes
        assert isinstance(foreseen.result, Failed), (pod, ip, port)
        assert foreseen.result.reason is Reason.OWN_PORT, (pod, ip, port)
    assert await world.answered("client", VIP, 5000)


@in_node
async def test_a_waypoint_carries_nothing_to_itself(world: MeshWorld) -> None:
    """Its pods speak HBONE to those who know how, and ztunnel is told of none of that: it brings whoever calls them
    there in plain TCP. What else listens there is called like anybody's."""
    await waypoint_for_hello(world)
    await world.serve("waypoint-1", port=9000)
    world.service("waypoint", "hello", "10.96.0.200", {15008: 15008, 9000: 9000}, ["waypoint-1"])
    world.namespace("outside")
    await world.pod("stranger", "outside")
    own = world.sandboxes["waypoint-1"].spec.ip or ""
    # nothing but the mesh knows addresses of Services here
    for pod, namespace, ips in (("client", "default", ("10.96.0.200", own)), ("stranger", "outside", (own,))):
        for ip in ips:
            await world.answered(pod, ip, 9000)
            status, why = await world.get(pod, ip, 15008)
            assert status == 0, (pod, ip)
            assert "Timeout" not in why, (pod, ip, why)
            for scheme, port, reason in (
                ("http", 15008, Reason.WAYPOINT),
                ("https", 15008, Reason.WAYPOINT),
                ("http", 9000, None),
            ):
                request = Request.to(f"{scheme}://{ip}:{port}")
                [foreseen] = decide(world.istiod.index.mesh, Key(namespace, pod), request).outcomes
                assert getattr(foreseen.result, "reason", None) is reason, (pod, ip, port)


@in_node
async def test_what_a_pod_says_to_itself_is_its_own(world: MeshWorld) -> None:
    """By its address, that is: what it calls by a Service's goes through ztunnel, also where it ends at home."""
    await captured_pods(world)
    await world.serve("client")
    world.service("client", "default", "10.96.0.60", {80: 8080}, ["client"])
    own = world.sandboxes["client"].spec.ip or ""
    await world.answered("client", "10.96.0.60", 80)
    nobody = {"metadata": {"name": "nobody", "namespace": "default"}, "spec": {}}
    world.client.put(AUTHORIZATIONPOLICY, nobody)
    await until(lambda: world.istiod.index.mesh.enforced.get(Key("default", "client")) is not None, "the policy")
    for ip, port, status, why in (("10.96.0.60", 80, 0, Why.NO_WAYPOINT), (own, 8080, 200, Why.ITSELF)):
        while (found := await world.get("client", ip, port))[0] != status:
            assert status == 0, found  # the policy is on its way
        foreseen = decide(world.istiod.index.mesh, Key("default", "client"), Request.to(f"http://{ip}:{port}"))
        assert foreseen.why is why
        [outcome] = foreseen.outcomes
        assert isinstance(outcome.result, Delivered if status else Failed)
    assert not re.search(rf"dst\.addr={re.escape(own)}:8080", world.log("ztunnel"))
