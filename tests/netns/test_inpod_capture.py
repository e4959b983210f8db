"""The rules inside a captured pod, with plain sockets in the proxy's place."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from ambientlab.node.network import in_ipv6

SO_MARK, SO_ORIGINAL_DST, IP_TRANSPARENT, IPV6_TRANSPARENT = 36, 80, 19, 75
MARK = 0x539


def _mark(made):
    made.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)


def _as(address, port=0):
    """Connect as the proxy does for a client: from its address."""

    def prepare(made):
        _mark(made)
        level, option = (
            (socket.IPPROTO_IPV6, IPV6_TRANSPARENT)
            if made.family is socket.AF_INET6
            else (socket.IPPROTO_IP, IP_TRANSPARENT)
        )
        made.setsockopt(level, option, 1)
        made.bind((address, port))

    return prepare


async def _accept(listener):
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_accept(listener)


def _original(peer):
    if peer.family is socket.AF_INET6:
        port, address = struct.unpack_from(">H4x16s", peer.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28), 2)
        return socket.inet_ntop(socket.AF_INET6, address), port
    port, address = struct.unpack_from(">H4s", peer.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16), 2)
    return socket.inet_ntoa(address), port


async def _went_to(world, listener, netns, host, port, prepare=None):
    """Connect, and say who the listener was told it is for and from whom."""
    with await world.connect(netns, host, port, prepare) as made:
        peer, address = await _accept(listener)
        with peer:
            source = made.getsockname()[0]
            return _original(peer), address[0] if address[0] != source else "client"


async def outbound_goes_to_the_proxy(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    await world.rules.install(pod.netns)
    outbound = await world.listen(pod.netns, 15001, "127.0.0.1")
    assert await _went_to(world, outbound, pod.netns, other.spec.ip, 5000) == ((other.spec.ip, 5000), "client")
    assert (await _went_to(world, outbound, pod.netns, "10.96.1.1", 80))[0] == ("10.96.1.1", 80)
    assert (await _went_to(world, outbound, pod.netns, "192.0.2.1", 443))[0] == ("192.0.2.1", 443)
    direct = await world.listen(other.netns, 5000)
    with await world.connect(pod.netns, other.spec.ip, 5000, _mark):
        assert (await _accept(direct))[1][0] == pod.spec.ip, "the proxy's own connections pass"
    local = await world.listen(pod.netns, 5000)
    for host in ("127.0.0.1", pod.spec.ip):
        with await world.connect(pod.netns, host, 5000):
            await _accept(local)
    with await world.connect(pod.netns, "10.96.0.10", 53) as made:
        assert made.getpeername() == ("10.96.0.10", 53), "DNS is no business of the proxy's"


async def inbound_goes_to_the_proxy(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    await world.rules.install(pod.netns)
    inbound = await world.listen(pod.netns, 15006)
    tunnel = await world.listen(pod.netns, 15008)
    assert await _went_to(world, inbound, other.netns, pod.spec.ip, 5000) == ((pod.spec.ip, 5000), "client")
    with await world.connect(other.netns, pod.spec.ip, 15008):
        await _accept(tunnel)


async def plain_connections_to_a_pod_can_be_left_alone(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    await world.rules.install(pod.netns, inbound=False)
    outbound = await world.listen(pod.netns, 15001, "127.0.0.1")
    assert (await _went_to(world, outbound, pod.netns, other.spec.ip, 5000))[0] == (other.spec.ip, 5000)
    async with world.greeting(pod.netns, 5000, "app"):
        assert await world.hear(other.netns, pod.spec.ip, 5000) == f"app {other.spec.ip}"
        assert await world.hear("", pod.spec.ip, 5000) == "app 169.254.7.127"


async def the_application_sees_the_client(world):
    """The proxy connects to the application from the client's address; the answers find their way back to it."""
    pod, client = await world.sandbox("pod"), await world.sandbox("client")
    await world.rules.install(pod.netns)
    async with world.greeting(pod.netns, 5000, "app"):
        assert await world.hear(pod.netns, pod.spec.ip, 5000, _as(client.spec.ip)) == f"app {client.spec.ip}"


async def the_proxy_may_have_the_very_port_of_its_client(world):
    """It lets the kernel choose, which knows no reason against that one: the client's socket is elsewhere."""
    pod, client = await world.sandbox("pod"), await world.sandbox("client")
    await world.rules.install(pod.netns)
    loop = asyncio.get_running_loop()
    for anywhere, called, calling in (
        ("0.0.0.0", pod.spec.ip, client.spec.ip),
        ("::", in_ipv6(pod.spec.ip), in_ipv6(client.spec.ip)),
    ):
        inbound, app = await world.listen(pod.netns, 15006, anywhere), await world.listen(pod.netns, 5000, anywhere)
        made = await world.connect(client.netns, called, 5000)
        taken, address = await _accept(inbound)
        upstream = await world.connect(pod.netns, called, 5000, _as(calling, address[1]))
        served, seen = await _accept(app)
        assert seen[:2] == address[:2] == (calling, made.getsockname()[1])
        for one, other in ((made, taken), (upstream, served)):
            for sender, receiver in ((one, other), (other, one)):
                await loop.sock_sendall(sender, b"heard")
                assert await loop.sock_recv(receiver, 10) == b"heard"
        for end in (made, taken, upstream, served):
            end.close()


async def probes_of_the_node_pass(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    await world.rules.install(pod.netns)
    async with world.greeting(pod.netns, 8080, "app"), world.greeting(other.netns, 8080, "app"):
        assert await world.hear("", pod.spec.ip, 8080) == "app 169.254.7.127"
        assert await world.hear("", other.spec.ip, 8080) == "app 10.244.0.1"
        await world.rules.remove(pod.netns)
        assert await world.hear("", pod.spec.ip, 8080) == "app 10.244.0.1"


async def both_ways_lead_to_the_proxy_by_ipv6(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    here, there = in_ipv6(pod.spec.ip), in_ipv6(other.spec.ip)
    await world.rules.install(pod.netns)
    outbound, inbound = await world.listen(pod.netns, 15001, "::1"), await world.listen(pod.netns, 15006, "::")
    assert await _went_to(world, outbound, pod.netns, there, 5000) == ((there, 5000), "client")
    assert (await _went_to(world, outbound, pod.netns, "2001:2::7", 80))[0] == ("2001:2::7", 80)
    assert await _went_to(world, inbound, other.netns, here, 5000) == ((here, 5000), "client")
    async with world.greeting(other.netns, 5000, "direct", "::"), world.greeting(pod.netns, 5000, "app", "::"):
        assert await world.hear(pod.netns, there, 5000, _mark) == f"direct {here}", "the proxy's own connections pass"
        assert await world.hear("", here, 5000) == "app fd16:9254:7127:1337:ffff:ffff:ffff:ffff", "probes pass"
        for host in ("::1", here):
            assert (await world.hear(pod.netns, host, 5000)).startswith("app ")
        assert await world.hear(pod.netns, here, 5000, _as(there)) == f"app {there}"
        await world.rules.remove(pod.netns)
        await world.rules.disconnect(pod.netns)
        assert await world.hear(pod.netns, there, 5000) == f"direct {here}"


async def datagrams_are_left_alone(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    await world.rules.install(pod.netns)
    await world.rules.install(other.netns)
    loop = asyncio.get_running_loop()
    heard = await world.datagrams(other.netns, other.spec.ip, 5000)
    made = await world.datagrams(pod.netns, pod.spec.ip)
    await loop.sock_sendto(made, b"ping", (other.spec.ip, 5000))
    async with asyncio.timeout(5):
        assert (await loop.sock_recvfrom(heard, 10))[1][0] == pod.spec.ip


async def installing_and_removing_are_idempotent(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    rules = world.rules
    assert not await rules.installed(pod.netns)
    await rules.remove(pod.netns)
    direct = await world.listen(other.netns, 5000)
    for turn in range(3):
        await rules.install(pod.netns)
        await rules.install(pod.netns)
        assert await rules.installed(pod.netns)
        with pytest.raises(ConnectionRefusedError):
            await world.connect(pod.netns, other.spec.ip, 5000)  # nobody listens on 15001
        for _ in range(2):
            await rules.remove(pod.netns)
        assert not await rules.installed(pod.netns)
        for _ in range(turn * 2):  # it may be wanted back before it has left
            await rules.disconnect(pod.netns)
        with await world.connect(pod.netns, other.spec.ip, 5000):
            await _accept(direct)
    await rules.install(pod.netns)
    await world.runtime.remove_sandbox(pod)
    with pytest.raises(FileNotFoundError):
        await rules.install(pod.netns)


async def open_connections_end_on_both_sides(world):
    pod, other = await world.sandbox("pod"), await world.sandbox("other")
    await world.rules.install(pod.netns)
    loop = asyncio.get_running_loop()
    outbound, inbound = await world.listen(pod.netns, 15001, "127.0.0.1"), await world.listen(pod.netns, 15006)
    direct = await world.listen(other.netns, 5000)
    made = [
        (await world.connect(pod.netns, other.spec.ip, 5000), (await _accept(outbound))[0]),
        (await world.connect(other.netns, pod.spec.ip, 5000), (await _accept(inbound))[0]),
        ((await world.connect(pod.netns, other.spec.ip, 5000, _mark)), (await _accept(direct))[0]),
    ]
    own = await world.listen(pod.netns, 5000)
    untouched = await world.connect(pod.netns, pod.spec.ip, 5000), (await _accept(own))[0]
    await world.rules.remove(pod.netns)
    await loop.sock_sendall(made[0][1], b"still")
    assert await loop.sock_recv(made[0][0], 10) == b"still"
    await world.rules.disconnect(pod.netns)
    for pair in made:
        for end in pair:
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(5):
                    await loop.sock_recv(end, 10)
    await loop.sock_sendall(untouched[0], b"own")
    assert await loop.sock_recv(untouched[1], 10) == b"own"


SCENARIOS = [
    outbound_goes_to_the_proxy,
    inbound_goes_to_the_proxy,
    plain_connections_to_a_pod_can_be_left_alone,
    the_application_sees_the_client,
    the_proxy_may_have_the_very_port_of_its_client,
    probes_of_the_node_pass,
    both_ways_lead_to_the_proxy_by_ipv6,
    datagrams_are_left_alone,
    installing_and_removing_are_idempotent,
    open_connections_end_on_both_sides,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_capture(run_scenario, scenario):
    run_scenario(scenario)
