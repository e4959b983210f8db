"""The rtnetlink messages of a node: links, addresses, neighbours, routes and rules (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from ambientlab.node.linux.netlink import (
    ACK,
    CREATE,
    EXCL,
    Message,
    Socket,
    attribute,
    attributes,
    nested,
    number,
    text,
)

LOOPBACK = 1  # the first device of every network namespace

SCOPE_UNIVERSE = 0
SCOPE_LINK = 253
SCOPE_HOST = 254
TABLE_MAIN = 254

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR = 20
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGHBOUR = 28
_NEWRULE, _DELRULE = 32, 33
_ADDRESS = struct.Struct("=BBBBI")
_UP = 1
_PROTOCOL_STATIC = 4
_UNICAST, _LOCAL, _UNREACHABLE = 1, 2, 7
_TO_TABLE = 1
_NO_DETECTION = 0x02
"""Nobody else can have the address (of IPv6, which otherwise waits a second to find out)."""
_PERMANENT = 0x80


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _address(text_: str) -> bytes:
    return socket.inet_pton(family_of(text_), text_)


def _link(index: int, *, up: bool) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, _UP if up else 0, _UP if up else 0)


def set_up(index: int) -> Message:
    return Message(_NEWLINK, ACK, _link(index, up=True), f"set link {index} up")


@dataclass(frozen=True, slots=True)
class End:
    """One end of a pair of devices; `mac` is its hardware address."""

    index: int
    name: str
    mac: bytes


def add_veth(here: End, there: End, netns: int) -> Message:
    """A pair: one end here and up, the other in the network namespace of descriptor `netns`, still down (the kernel
    refuses to bring up an end whose partner is not there yet)."""
    peer = nested(1, _link(there.index, up=False) + text(3, there.name) + attribute(1, there.mac) + number(28, netns))
    info = nested(18, text(1, "veth"), nested(2, peer))
    name = here.name
    body = _link(here.index, up=True) + text(3, name) + attribute(1, here.mac) + info
    return Message(_NEWLINK, ACK | CREATE | EXCL, body, f"add veth {name}")


def settle(index: int) -> Message:
    """A device drops what it is to send until the kernel has noticed that its partner is up. It does by and by; who
    asks for the device makes it look (net/core/rtnetlink.c, rtnl_getlink, since Linux 6.8)."""
    return Message(_GETLINK, ACK, _link(index, up=False), f"find link {index}")


def set_group(index: int, group: int) -> Message:
    """A number that packet filters can match a device by (0 by default)."""
    return Message(_NEWLINK, ACK, _link(index, up=False) + number(27, group), f"set group of link {index}")


def delete_link(index: int) -> Message:
    return Message(_DELLINK, ACK, _link(index, up=False), f"delete link {index}")


def add_address(index: int, address: str, scope: int = SCOPE_UNIVERSE) -> Message:
    family, packed = family_of(address), _address(address)
    flags = _NO_DETECTION if family is socket.AF_INET6 else 0
    body = _ADDRESS.pack(family, 8 * len(packed), flags, scope, index)
    body += attribute(2, packed) + attribute(1, packed)
    return Message(_NEWADDR, ACK | CREATE | EXCL, body, f"add address {address}")


def add_neighbour(index: int, address: str, mac: bytes) -> Message:
    """For good, so that nobody asks for it."""
    body = struct.pack("=BBHiHBB", family_of(address), 0, 0, index, _PERMANENT, 0, 0)
    body += attribute(1, _address(address)) + attribute(2, mac)
    return Message(_NEWNEIGHBOUR, ACK | CREATE | EXCL, body, f"add neighbour {address}")


def _route(
    prefix: str, *, device: int = 0, gateway: str = "", source: str = "", scope: int, table: int, kind: int
) -> bytes:
    network, _, length = prefix.partition("/")
    family = family_of(network)
    body = struct.pack("=BBBBBBBBI", family, int(length), 0, 0, table, _PROTOCOL_STATIC, scope, kind, 0)
    if int(length):
        body += attribute(1, _address(network))
    if device:
        body += number(4, device)
    if gateway:
        body += attribute(5, _address(gateway))
    if source:
        body += attribute(7, _address(source))
    return body


def add_route(
    prefix: str,
    *,
    device: int = 0,
    gateway: str = "",
    source: str = "",
    scope: int = SCOPE_UNIVERSE,
) -> Message:
    body = _route(prefix, device=device, gateway=gateway, source=source, scope=scope, table=TABLE_MAIN, kind=_UNICAST)
    return Message(_NEWROUTE, ACK | CREATE | EXCL, body, f"add route {prefix}")


def add_unreachable(prefix: str) -> Message:
    """Destinations nobody has answer "no route to host". Where the answer of IPv6 comes before the caller has let go of
    the socket that it connects, Linux keeps it to itself until the next try, after a second (net/ipv6/tcp_ipv6.c,
    tcp_v6_err)."""
    body = _route(prefix, scope=SCOPE_UNIVERSE, table=TABLE_MAIN, kind=_UNREACHABLE)
    return Message(_NEWROUTE, ACK | CREATE | EXCL, body, f"add unreachable {prefix}")


def add_local(prefix: str, source: str) -> Message:
    """What is for the prefix is delivered here."""
    body = _route(prefix, device=LOOPBACK, source=source, scope=SCOPE_HOST, table=TABLE_MAIN, kind=_LOCAL)
    return Message(_NEWROUTE, ACK | CREATE | EXCL, body, f"add local {prefix}")


def local_table(prefix: str, table: int, *, remove: bool = False) -> Message:
    """`local PREFIX dev lo` in a table of its own: what is looked up there is delivered here."""
    body = _route(prefix, device=LOOPBACK, scope=SCOPE_HOST, table=table, kind=_LOCAL)
    return Message(_DELROUTE if remove else _NEWROUTE, _change(remove), body, f"local route in table {table}")


def mark_rule(everything: str, mark: int, mask: int, table: int, priority: int, *, remove: bool = False) -> Message:
    """`ip rule fwmark MARK/MASK lookup TABLE`, for the family whose default route goes to `everything`."""
    body = struct.pack("=BBBBBBBBI", family_of(everything), 0, 0, 0, table, 0, 0, _TO_TABLE, 0)
    body += number(6, priority) + number(10, mark) + number(16, mask)
    return Message(_DELRULE if remove else _NEWRULE, _change(remove), body, f"rule for mark {mark:#x}")


def _change(remove: bool) -> int:
    return ACK if remove else ACK | CREATE | EXCL


def is_local(route: Socket, address: str) -> bool:
    """Whether what is for the address is delivered in the namespace of `route`. Raises OSError where nothing knows the
    way."""
    packed = _address(address)
    body = struct.pack("=BBBBBBBBI", family_of(address), 8 * len(packed), 0, 0, 0, 0, 0, 0, 0) + attribute(1, packed)
    (answer,) = route.request([Message(_GETROUTE, 0, body, f"find the route to {address}")])
    return answer[7] == _LOCAL


def peer_index(route: Socket, index: int) -> int:
    """The index of a veth's other end, in the namespace where that is. Raises OSError if there is no such device."""
    (answer,) = route.request([Message(_GETLINK, 0, _link(index, up=False), "find the other end of eth0")])
    peer: int = struct.unpack("=I", attributes(answer[16:])[5])[0]
    return peer
