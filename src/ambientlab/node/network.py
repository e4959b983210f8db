"""The node's network: addresses, forwarding, and one routed device per pod.

No bridge: each pod has a veth whose far end holds the pod's /32, and the node routes to it. So the node sees, filters
and translates every packet between pods. A pod cannot use another's address: the node's reverse-path filter is strict,
and the route back to a source is the device of the pod that owns it.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from collections import OrderedDict
from pathlib import Path

from ambientlab.cluster import DNS_IP, HOST_IP, NODE_IP, POD_CIDR, SERVICE_CIDR
from ambientlab.node.linux import links
from ambientlab.node.linux.netlink import NETLINK_ROUTE, Socket, Visitor

_ETH0 = 2  # the index a pod's device gets: the first after loopback
_FIRST_INDEX = 16
_SETTINGS = {
    "ip_forward": "1",
    "conf/all/rp_filter": "1",
    "conf/default/rp_filter": "1",  # a device's filter is the larger of its own value (the default) and that of `all`
}


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


class NodeNetwork:
    """Call `start` once, inside the node's network namespace; everything else needs it."""

    def __init__(self) -> None:
        self.addresses = Addresses()
        self._indexes: dict[str, int] = {}
        self._next_index = _FIRST_INDEX
        # The kernel takes milliseconds to unregister a device, and a netlink request waits for it: removals have a
        # socket and a thread of their own.
        self._attaching = Visitor()
        self._detaching = Visitor()

    def start(self) -> None:
        """Bring the node's own addresses, forwarding and the route of the service network up. Less than a millisecond.

        The service route gives connections of the node itself a source address before they are translated.
        """
        for name, value in _SETTINGS.items():
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
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
        await self._attaching.run(netns, lambda: _configure_pod(ip))

    def _make_device(self, netns: str, ip: str, index: int) -> None:
        there = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._attacher.request(
                [
                    links.add_veth(index, f"veth{index}", _ETH0, "eth0", there),
                    links.add_route(f"{ip}/32", device=index, source=NODE_IP, scope=links.SCOPE_LINK),
                ]
            )
        finally:
            os.close(there)

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


def _configure_pod(ip: str) -> None:
    pod = Socket(NETLINK_ROUTE)
    try:
        pod.request(
            [
                links.set_up(links.LOOPBACK),
                links.set_up(_ETH0),
                links.add_address(_ETH0, ip),
                links.add_route(f"{NODE_IP}/32", device=_ETH0, scope=links.SCOPE_LINK),
                links.add_route("0.0.0.0/0", device=_ETH0, gateway=NODE_IP),
            ]
        )
    finally:
        pod.close()
