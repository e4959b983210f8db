"""Pods, services and DNS with real packets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from pathlib import Path

import pytest

from ambientlab.node import network
from ambientlab.node.linux.netlink import NETLINK_NETFILTER, Message, Socket, attributes, text
from ambientlab.node.network import in_ipv6
from support.node_world import endpoints, service, veths
from support.splits import fits

HTTP = ("http", "TCP", 80)


async def pods_and_node_reach_each_other(world):
    one, two = await world.sandbox("one"), await world.sandbox("two")
    async with world.greeting(two.netns, 5000, "two"):
        assert await world.hear(one.netns, two.spec.ip, 5000) == f"two {one.spec.ip}"
        assert await world.hear("", two.spec.ip, 5000) == "two 10.244.0.1"
        assert await world.hear(two.netns, two.spec.ip, 5000) == f"two {two.spec.ip}"
    for netns in (one.netns, ""):
        with pytest.raises(OSError, match=f"Errno {errno.EHOSTUNREACH}"):
            await world.connect(netns, "10.244.9.9", 5000)
        with pytest.raises(OSError, match=f"Errno {errno.ENETUNREACH}"):
            await world.connect(netns, "192.0.2.1", 443)


async def a_pod_cannot_use_anothers_address(world):
    """Raw packets with three sources: another pod's, the node's, the pod's own. Only the last arrives."""
    liar, owner, target = [await world.sandbox(name) for name in ("liar", "owner", "target")]
    heard = await world.datagrams(target.netns, target.spec.ip, 7777)
    raw = await world.inside(liar.netns, _raw_socket)
    for source in (owner.spec.ip, "10.244.0.1", liar.spec.ip):
        raw.sendto(_datagram(source, target.spec.ip, 7777, source.encode()), (target.spec.ip, 0))
    async with asyncio.timeout(5):
        data, peer = await asyncio.get_running_loop().sock_recvfrom(heard, 100)
    assert (data.decode(), peer[0]) == (liar.spec.ip, liar.spec.ip), "packets keep their order: the lies came first"
    # The same packet is genuine from its owner, so it is the filter that dropped it.
    raw = await world.inside(owner.netns, _raw_socket)
    raw.sendto(_datagram(owner.spec.ip, target.spec.ip, 7777, b"true"), (target.spec.ip, 0))
    async with asyncio.timeout(5):
        assert (await asyncio.get_running_loop().sock_recvfrom(heard, 100))[1][0] == owner.spec.ip


def _raw_socket():
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _datagram(source, destination, port, payload):
    udp = struct.pack(">4H", 4444, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0) + addresses + udp


async def pods_reach_each_other_by_ipv6(world):
    """The same with the other addresses, at once: nobody is asked whose they are."""
    one, two = await world.sandbox("one"), await world.sandbox("two")
    here, there = in_ipv6(one.spec.ip), in_ipv6(two.spec.ip)
    assert (here, there) == ("fd00:10:244::2", "fd00:10:244::3")
    async with world.greeting(two.netns, 5000, "two", "::"):
        assert await world.hear(one.netns, there, 5000) == f"two {here}"
        assert await world.hear("", there, 5000) == "two fd00:10:244::1"
        assert await world.hear(two.netns, there, 5000) == f"two {there}"
    for netns in (one.netns, ""):
        for nobody in ("fd00:10:244::99", "2001:db8::1"):
            with pytest.raises(OSError, match=f"Errno ({errno.EHOSTUNREACH}|{errno.ENETUNREACH})"):
                await world.connect(netns, nobody, 5000)


async def a_node_without_ipv6_gives_pods_none(world):
    assert _found_ipv6(world, disabled="1") is False
    one, two = await world.sandbox("one"), await world.sandbox("two")
    assert world.network.addresses.all_of(one.spec.ip) == (one.spec.ip,)
    async with world.greeting(two.netns, 5000, "two"):
        assert await world.hear(one.netns, two.spec.ip, 5000) == f"two {one.spec.ip}"
    with pytest.raises(OSError, match=f"Errno {errno.ENETUNREACH}"):
        await world.connect(one.netns, in_ipv6(two.spec.ip), 5000)


def _found_ipv6(world, disabled):
    """As when the node starts, with what an administrator may have set."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text(disabled)
    world.network.ipv6 = world.network.addresses.ipv6 = network._guarded_ipv6()
    return world.network.ipv6


async def a_pod_cannot_use_anothers_address_of_ipv6(world):
    liar, owner, target = [await world.sandbox(name) for name in ("liar", "owner", "target")]
    to = in_ipv6(target.spec.ip)
    heard = await world.datagrams(target.netns, to, 7777)
    for source in (in_ipv6(owner.spec.ip), "fd00:10:244::1", "2001:db8::7", in_ipv6(liar.spec.ip)):
        raw = await world.inside(liar.netns, lambda source=source: _bound_anywhere(source))
        raw.sendto(source.encode(), (to, 7777))
    async with asyncio.timeout(5):
        data, peer = await asyncio.get_running_loop().sock_recvfrom(heard, 100)
    assert data.decode() == peer[0] == in_ipv6(liar.spec.ip), "packets keep their order: the lies came first"


def _bound_anywhere(source):
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, 75, 1)  # IPV6_TRANSPARENT
    made.bind((source, 0))
    return made


async def removed_pods_leave_no_device_or_route(world):
    sandbox = await world.sandbox()
    assert len(veths()) == 1
    await world.runtime.remove_sandbox(sandbox)
    assert not veths()
    with pytest.raises(OSError, match=f"Errno {errno.EHOSTUNREACH}"):
        await world.connect("", sandbox.spec.ip, 80)


async def connections_are_spread_over_endpoints(world):
    client, one, two = [await world.sandbox(name) for name in ("client", "one", "two")]
    async with contextlib.AsyncExitStack() as stack:
        for sandbox, word in ((one, "one"), (two, "two")):
            await stack.enter_async_context(world.greeting(sandbox.netns, 5000, word))
        await world.put(service("hello", "10.96.1.2", HTTP))
        await world.put(endpoints("hello", [one.spec.ip, two.spec.ip], ("http", "TCP", 5000)))
        answers = [await world.hear(client.netns, "10.96.1.2", 80) for _ in range(200)]
        fits(answers, {f"one {client.spec.ip}": 50.0, f"two {client.spec.ip}": 50.0})
        assert {await world.hear("", "10.96.1.2", 80) for _ in range(40)} == {"one 10.244.0.1", "two 10.244.0.1"}
        hairpin = {await world.hear(one.netns, "10.96.1.2", 80) for _ in range(40)}
        assert hairpin == {"one 10.244.0.1", f"two {one.spec.ip}"}

        await world.put(endpoints("hello", [two.spec.ip], ("http", "TCP", 5000)))
        assert {(await world.hear(client.netns, "10.96.1.2", 80)).split()[0] for _ in range(20)} == {"two"}
        await world.put(service("hello", "10.96.1.2", ("http", "TCP", 8080)))
        assert (await world.hear(client.netns, "10.96.1.2", 8080)).startswith("two")
        with pytest.raises(ConnectionRefusedError):
            await world.connect(client.netns, "10.96.1.2", 80)


async def services_have_addresses_of_ipv6(world):
    """One Service with both, whose endpoints of each family are its own."""
    client, one, two = [await world.sandbox(name) for name in ("client", "one", "two")]
    vip, here = "fd00:10:96::7", in_ipv6(client.spec.ip)
    async with contextlib.AsyncExitStack() as stack:
        for sandbox, word in ((one, "one"), (two, "two")):
            await stack.enter_async_context(world.greeting(sandbox.netns, 5000, word, "::"))
        await world.put(service("hello", "10.96.1.7", HTTP, clusterIPs=["10.96.1.7", vip]))
        with pytest.raises(ConnectionRefusedError):
            await world.connect(client.netns, vip, 80)
        slice_ = endpoints("hello", [in_ipv6(one.spec.ip), in_ipv6(two.spec.ip)], ("http", "TCP", 5000))
        await world.put(slice_)
        answers = {await world.hear(client.netns, vip, 80) for _ in range(40)}
        assert answers == {f"one {here}", f"two {here}"}
        assert {await world.hear("", vip, 80) for _ in range(40)} == {"one fd00:10:244::1", "two fd00:10:244::1"}
        hairpin = {await world.hear(one.netns, vip, 80) for _ in range(40)}
        assert hairpin == {"one fd00:10:244::1", f"two {in_ipv6(one.spec.ip)}"}
        for netns, host, port in ((client.netns, vip, 81), ("", vip, 81), (client.netns, "10.96.1.7", 80)):
            with pytest.raises(ConnectionRefusedError):
                await world.connect(netns, host, port)
        await world.put(service("hello", "10.96.1.7", HTTP, clusterIPs=["10.96.1.7", vip], sessionAffinity="ClientIP"))
        assert len({await world.hear(client.netns, vip, 80) for _ in range(20)}) == 1


async def clients_stay_with_an_endpoint_when_asked(world):
    clients = [await world.sandbox(f"client{index}") for index in range(12)]
    servers = [await world.sandbox(f"server{index}") for index in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for index, sandbox in enumerate(servers):
            await stack.enter_async_context(world.greeting(sandbox.netns, 80, str(index)))
        await world.put(service("sticky", "10.96.1.3", HTTP, sessionAffinity="ClientIP"))
        await world.put(endpoints("sticky", [sandbox.spec.ip for sandbox in servers], HTTP))
        chosen = [{await world.hear(client.netns, "10.96.1.3", 80) for _ in range(8)} for client in clients]
        assert all(len(answers) == 1 for answers in chosen)
        assert len({answers.pop().split()[0] for answers in chosen}) > 1


async def nobody_there_is_refused_at_once(world):
    pod = await world.sandbox()
    await world.put(service("empty", "10.96.1.4", HTTP))
    for netns in (pod.netns, ""):
        for address, port in (("10.96.1.4", 80), ("10.96.1.4", 81), ("10.100.7.7", 80), ("10.96.0.10", 80)):
            with pytest.raises(ConnectionRefusedError):
                await world.connect(netns, address, port)
    made = await world.inside(pod.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.setblocking(False)
    made.connect(("10.96.1.4", 80))
    made.send(b"?")
    with pytest.raises(ConnectionRefusedError):
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_recv(made, 10)


async def udp_services(world):
    client, server = await world.sandbox("client"), await world.sandbox("server")
    await world.put(service("echo", "10.96.1.5", ("dns", "UDP", 53)))
    await world.put(endpoints("echo", [server.spec.ip], ("dns", "UDP", 5353)))
    loop = asyncio.get_running_loop()
    heard = await world.datagrams(server.netns, server.spec.ip, 5353)
    made = await world.datagrams(client.netns, client.spec.ip)
    made.connect(("10.96.1.5", 53))
    made.send(b"ping")
    async with asyncio.timeout(5):
        data, peer = await loop.sock_recvfrom(heard, 100)
        assert (data, peer[0]) == (b"ping", client.spec.ip)
        await loop.sock_sendto(heard, b"pong", peer)
        assert await loop.sock_recv(made, 100) == b"pong"


async def the_api_of_the_node(world):
    """A service whose endpoint is the node itself, as `kubernetes` is."""
    pod = await world.sandbox()
    await world.put(service("kubernetes", "10.96.0.1", ("https", "TCP", 443)))
    await world.put(endpoints("kubernetes", ["10.244.0.1"], ("https", "TCP", 6443)))
    async with world.greeting("", 6443, "api", "10.244.0.1"):
        assert await world.hear(pod.netns, "10.96.0.1", 443) == f"api {pod.spec.ip}"
        assert await world.hear("", "10.96.0.1", 443) == "api 10.244.0.1"


async def many_services_come_and_go(world):
    objects = []
    for index in range(2500):
        objects.append(service(f"s{index}", f"10.97.{index // 250}.{index % 250 + 1}", HTTP))
        objects.append(endpoints(f"s{index}", [f"10.244.1.{index % 200 + 2}", "10.244.2.2"], HTTP))
    nft = Socket(NETLINK_NETFILTER)

    def sizes():
        return [_count(nft, name) for name in ("services", "endpoints", "hairpin")]

    await world.put(*objects)
    assert sizes() == [2500, 5000, 201]
    await world.drop(*objects)
    assert sizes() == [0, 0, 0]
    nft.close()


def _count(nft, name):
    """The elements of one of the proxy's maps, as the kernel lists them."""
    get_elements, dump, elements = (10 << 8) | 13, 0x300, 3
    body = struct.pack(">BBH", socket.AF_INET, 0, 0) + text(1, "kube-proxy") + text(2, name)
    total = 0
    for answer in nft.request([Message(get_elements, dump, body)]):
        listed, offset = attributes(answer[4:]).get(elements, b""), 0
        while offset < len(listed):
            offset += (struct.unpack_from("=H", listed, offset)[0] + 3) & ~3
            total += 1
    return total


async def programs_resolve_names(world):
    await world.put(service("helloworld", "10.96.1.6", HTTP))
    resolv = (
        b"search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
    )
    pod = await world.pod("client", files={"/etc/resolv.conf": (resolv, 0o644)})
    for host in ("helloworld", "helloworld.default", "helloworld.default.svc", "helloworld.default.svc.cluster.local"):
        code, out = await world.run(pod, "getent", "ahosts", host)
        assert code == 0, host
        assert {line.split()[0] for line in out.splitlines()} == {"10.96.1.6"}
    assert (await world.run(pod, "getent", "hosts", "10.96.1.6"))[1].split() == [
        "10.96.1.6",
        "helloworld.default.svc.cluster.local",
    ]
    for host in ("nope", "nope.default", "example.com"):
        assert (await world.run(pod, "getent", "ahosts", host))[0] == 2
    tcp = await world.connect(pod.netns, "10.96.0.10", 53)
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\x0ahelloworld\7default\3svc\7cluster\5local\0\0\1\0\1"
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(tcp, struct.pack(">H", len(query)) + query)
    async with asyncio.timeout(5):
        assert (await loop.sock_recv(tcp, 512)).endswith(socket.inet_aton("10.96.1.6"))
    tcp.close()


SCENARIOS = [
    pods_and_node_reach_each_other,
    a_pod_cannot_use_anothers_address,
    pods_reach_each_other_by_ipv6,
    a_node_without_ipv6_gives_pods_none,
    a_pod_cannot_use_anothers_address_of_ipv6,
    removed_pods_leave_no_device_or_route,
    connections_are_spread_over_endpoints,
    services_have_addresses_of_ipv6,
    clients_stay_with_an_endpoint_when_asked,
    nobody_there_is_refused_at_once,
    udp_services,
    the_api_of_the_node,
    many_services_come_and_go,
    programs_resolve_names,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_network(run_scenario, scenario):
    run_scenario(scenario)
