"""The node's network: addresses, forwarding, and one routed device per pod.

No bridge: each pod has a veth whose far end holds the pod's /32, and the node routes to it. So the node sees, filters
and translates every packet between pods. A pod cannot use another's address: the node's reverse-path filter is strict,
and the route back to a source is the device of the pod that owns it.

Where the kernel has IPv6, pods have an address of it as well, which follows from the other. Nobody needs to ask who has
one: each end of a device knows the other's hardware address, so that an address can be used at once.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import time
from collections import OrderedDict
from pathlib import Path

from ambientlab.cluster import (
    DNS_IP,
    HOST_IP,
    NODE_IP,
    NODE_IP_6,
    POD_CIDR,
    POD_CIDR_6,
    SERVICE_CIDR,
    SERVICE_CIDR_6,
)
from ambientlab.node.linux import links
from ambientlab.node.linux.netlink import NETLINK_ROUTE, Message, Socket, Visitor
from ambientlab.node.linux.nft import Batch, Hook, Nft
from ambientlab.node.linux.nft_expr import (
    Family,
    Verdict,
    decide,
    destination_nat,
    equal,
    immediate,
    load_way_back,
    masquerade,
    redirect,
    reject,
)

_ETH0 = 2  # the index a pod's device gets: the first after loopback
_FIRST_INDEX = 16
_SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "1",
    "ipv4/conf/default/rp_filter": "1",  # a device's is the larger of its own value (the default) and that of `all`
}
_SETTINGS_6 = {"ipv6/conf/all/forwarding": "1"}
_MAC = b"\xee" * 6
"""Of the node's end of every device (as Calico has it)."""
_MOST_LOOKS, _BETWEEN_LOOKS = 10_000, 0.0002  # seconds
_POD_MAC = b"\x0a\x58"
"""Begins a pod's, which ends with its address (as CNI's plugins have it)."""


class AddressesExhausted(OSError):
    """Every pod address is in use."""


class Addresses:
    """Which pod addresses are free. One that was released comes last, so that a stale connection or DNS answer does
    not meet a stranger; nothing is remembered over a restart, which no pod survives either."""

    def __init__(self, cidr: str = POD_CIDR, reserved: int = 2) -> None:
        """`reserved` is how many addresses at the start, and how many at the end, are not for pods: the network's and
        the node's, and the host's and the one for everybody."""
        network = ipaddress.ip_network(cidr)
        self._base = int(network.network_address)
        self._next = reserved
        self._end = network.num_addresses - reserved
        self._released: OrderedDict[str, None] = OrderedDict()
        self._used: set[str] = set()
        self.ipv6 = False

    def allocate(self) -> str:
        if self._next < self._end:
            address = str(ipaddress.ip_address(self._base + self._next))
            self._next += 1
        elif self._released:
            address, _ = self._released.popitem(last=False)
        else:
            raise AddressesExhausted(f"no free pod address among {len(self._used)}: delete some pods")
        self._used.add(address)
        return address

    def release(self, address: str) -> None:
        """Idempotent."""
        if address in self._used:
            self._used.remove(address)
            self._released[address] = None

    def all_of(self, address: str) -> tuple[str, ...]:
        return (address, in_ipv6(address)) if self.ipv6 else (address,)


def in_ipv6(ip: str) -> str:
    """The other address of a pod, or of the node."""
    offset = int(ipaddress.ip_address(ip)) - int(ipaddress.ip_network(POD_CIDR).network_address)
    return str(ipaddress.ip_network(POD_CIDR_6)[offset])


class NodeNetwork:
    """Call `start` once, inside the node's network namespace; everything else needs it. `ipv6` is whether pods have
    that, too."""

    def __init__(self) -> None:
        self.addresses = Addresses()
        self.ipv6 = False
        self._indexes: dict[str, int] = {}
        self._next_index = _FIRST_INDEX
        # The kernel takes milliseconds to unregister a device, and a netlink request waits for it: removals have a
        # socket and a thread of their own.
        self._attaching = Visitor()
        self._detaching = Visitor()

    def start(self) -> None:
        """Bring the node's own addresses, forwarding and the route of the service network up. Less than a millisecond.

        The service route gives connections of the node itself a source address before they are translated. IPv6 knows
        none that leads to the loopback device, but for what is local.
        """
        self.ipv6 = self.addresses.ipv6 = _guarded_ipv6()
        for name, value in (_SETTINGS | (_SETTINGS_6 if self.ipv6 else {})).items():
            Path(f"/proc/sys/net/{name}").write_text(value)
        self._attacher = Socket(NETLINK_ROUTE)
        self._detacher = Socket(NETLINK_ROUTE)
        lo = links.LOOPBACK
        self._attacher.request(
            [
                links.set_up(lo),
                links.add_address(lo, NODE_IP),
                links.add_address(lo, DNS_IP),
                links.add_address(lo, HOST_IP),
                links.add_unreachable(POD_CIDR),
                links.add_route(SERVICE_CIDR, device=lo, source=NODE_IP, scope=links.SCOPE_LINK),
            ]
        )
        if self.ipv6:
            self._attacher.request(
                [
                    links.add_address(lo, NODE_IP_6),
                    links.add_unreachable(POD_CIDR_6),
                    links.add_local(SERVICE_CIDR_6, NODE_IP_6),
                ]
            )

    def close(self) -> None:
        """Devices stay: they go with the namespaces."""
        self._attaching.close()
        self._detaching.close()

    async def attach(self, netns: str, ip: str) -> None:
        """Give the network namespace at `netns` its eth0 with address `ip`, routed both ways when this returns."""
        index = self._next_index
        self._next_index += 1
        self._indexes[ip] = index
        await self._attaching.run("", lambda: self._make_device(netns, ip, index))
        await self._attaching.run(netns, lambda: self._configure_pod(ip, index))

    def _make_device(self, netns: str, ip: str, index: int) -> None:
        there = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        mac = _POD_MAC + ipaddress.ip_address(ip).packed
        try:
            self._attacher.request(
                [
                    links.add_veth(links.End(index, f"veth{index}", _MAC), links.End(_ETH0, "eth0", mac), there),
                    links.add_route(f"{ip}/32", device=index, source=NODE_IP, scope=links.SCOPE_LINK),
                    *(_way_in_ipv6(index, in_ipv6(ip), mac) if self.ipv6 else ()),
                ]
            )
        finally:
            os.close(there)

    def _configure_pod(self, ip: str, index: int) -> None:
        pod = Socket(NETLINK_ROUTE)
        try:
            pod.request(
                [
                    links.set_up(links.LOOPBACK),
                    links.set_up(_ETH0),
                    links.add_address(_ETH0, ip),
                    links.add_route(f"{NODE_IP}/32", device=_ETH0, scope=links.SCOPE_LINK),
                    links.add_route("0.0.0.0/0", device=_ETH0, gateway=NODE_IP),
                    *(_pod_in_ipv6(in_ipv6(ip)) if self.ipv6 else ()),
                    links.settle(_ETH0),
                ]
            )
            if self.ipv6:
                _await(pod, in_ipv6(ip))
        finally:
            pod.close()
        self._attacher.request([links.settle(index)])

    async def detach(self, ip: str) -> None:
        """Remove the device of `ip`, its route with it. Idempotent; the namespace may be gone already."""
        index = self._indexes.pop(ip, None)
        if index is not None:
            await self._detaching.run("", lambda: self._delete_device(index))

    def _delete_device(self, index: int) -> None:
        try:
            self._detacher.request([links.delete_link(index)])
        except OSError as error:
            if error.errno != errno.ENODEV:  # it went with its namespace
                raise


def _way_in_ipv6(index: int, ip: str, mac: bytes) -> tuple[Message, ...]:
    return (
        links.add_neighbour(index, ip, mac),
        links.add_route(f"{ip}/128", device=index, source=NODE_IP_6, scope=links.SCOPE_LINK),
    )


def _pod_in_ipv6(ip: str) -> tuple[Message, ...]:
    return (
        links.add_address(_ETH0, ip),
        links.add_neighbour(_ETH0, NODE_IP_6, _MAC),
        links.add_route(f"{NODE_IP_6}/128", device=_ETH0, scope=links.SCOPE_LINK),
        links.add_route("::/0", device=_ETH0, gateway=NODE_IP_6),
    )


def _await(pod: Socket, ip: str) -> None:
    """The kernel puts an address of IPv6 in service by and by, even if nobody has to be asked about it
    (net/ipv6/addrconf.c, addrconf_dad_start). Raises TimeoutError."""
    for _ in range(_MOST_LOOKS):
        if links.is_local(pod, ip):
            return
        time.sleep(_BETWEEN_LOOKS)
    raise TimeoutError(f"the kernel does not put {ip} in service")


def _guarded_ipv6() -> bool:
    """Sets the guard up, if this kernel has IPv6, lets devices of new namespaces have it, and has what a node needs of
    its packet filter."""
    off = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if not off.exists() or off.read_text().strip() != "0":
        return False
    nft = Nft()
    try:
        nft.commit(_guard())
    except OSError:
        return False
    finally:
        nft.close()
    return True


def _guard() -> Batch:
    """IPv6 has no reverse-path filter but this: what comes from where its answer would not go is dropped. Nothing leads
    to chain `needed`, whose rules the kernel refuses if it cannot do what others will ask for."""
    batch = Batch("node-guard", Family.IPV6)
    batch.add_table()
    batch.add_chain("prerouting", Hook("filter", "prerouting", -300))
    batch.add_rule("prerouting", load_way_back(), equal(bytes(4)), decide(Verdict.DROP))
    batch.add_chain("needed")
    address_and_port = immediate(bytes(16)), immediate(bytes(2), 4)
    for last in (destination_nat(0, 4, Family.IPV6), redirect(4), masquerade(), reject(Family.IPV6)):
        batch.add_rule("needed", *address_and_port, last)
    return batch
