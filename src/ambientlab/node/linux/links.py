"""The rtnetlink messages of a node: links, addresses, routes and rules (rtnetlink(7)). IPv4 only."""

from __future__ import annotations

import socket
import struct

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
_NEWROUTE, _DELROUTE = 24, 25
_NEWRULE, _DELRULE = 32, 33
_ADDRESS = struct.Struct("=BBBBI")
_UP = 1
_PROTOCOL_STATIC = 4
_UNICAST, _LOCAL, _UNREACHABLE = 1, 2, 7
_TO_TABLE = 1


def _address(text_: str) -> bytes:
    return socket.inet_aton(text_)


def _link(index: int, *, up: bool) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, _UP if up else 0, _UP if up else 0)


def set_up(index: int) -> Message:
    return Message(_NEWLINK, ACK, _link(index, up=True), f"set link {index} up")


def add_veth(index: int, name: str, peer_index: int, peer_name: str, peer_netns: int) -> Message:
    """A pair: one end here and up, the other in the network namespace of descriptor `peer_netns`, still down (the
    kernel refuses to bring up an end whose partner is not there yet)."""
    peer = nested(1, _link(peer_index, up=False) + text(3, peer_name) + number(28, peer_netns))
    info = nested(18, text(1, "veth"), nested(2, peer))
    body = _link(index, up=True) + text(3, name) + info
    return Message(_NEWLINK, ACK | CREATE | EXCL, body, f"add veth {name}")


def set_group(index: int, group: int) -> Message:
    """A number that packet filters can match a device by (0 by default)."""
    return Message(_NEWLINK, ACK, _link(index, up=False) + number(27, group), f"set group of link {index}")


def delete_link(index: int) -> Message:
    return Message(_DELLINK, ACK, _link(index, up=False), f"delete link {index}")


def add_address(index: int, address: str, scope: int = SCOPE_UNIVERSE) -> Message:
    body = _ADDRESS.pack(socket.AF_INET, 32, 0, scope, index)
    body += attribute(2, _address(address)) + attribute(1, _address(address))
    return Message(_NEWADDR, ACK | CREATE | EXCL, body, f"add address {address}")


def _route(
    prefix: str, *, device: int = 0, gateway: str = "", source: str = "", scope: int, table: int, kind: int
) -> bytes:
    network, _, length = prefix.partition("/")
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, int(length), 0, 0, table, _PROTOCOL_STATIC, scope, kind, 0)
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
    """Destinations nobody has answer "no route to host" at once."""
    body = _route(prefix, scope=SCOPE_UNIVERSE, table=TABLE_MAIN, kind=_UNREACHABLE)
    return Message(_NEWROUTE, ACK | CREATE | EXCL, body, f"add unreachable {prefix}")


def local_table(table: int, *, remove: bool = False) -> Message:
    """`local default dev lo` in a table of its own: what is looked up there is delivered here."""
    body = _route("0.0.0.0/0", device=LOOPBACK, scope=SCOPE_HOST, table=table, kind=_LOCAL)
    return Message(_DELROUTE if remove else _NEWROUTE, _change(remove), body, f"local route in table {table}")


def mark_rule(mark: int, mask: int, table: int, priority: int, *, remove: bool = False) -> Message:
    """`ip rule fwmark MARK/MASK lookup TABLE`."""
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, table, 0, 0, _TO_TABLE, 0)
    body += number(6, priority) + number(10, mark) + number(16, mask)
    return Message(_DELRULE if remove else _NEWRULE, _change(remove), body, f"rule for mark {mark:#x}")


def _change(remove: bool) -> int:
    return ACK if remove else ACK | CREATE | EXCL


def peer_index(route: Socket, index: int) -> int:
    """The index of a veth's other end, in the namespace where that is. Raises OSError if there is no such device."""
    (answer,) = route.request([Message(_GETLINK, 0, _link(index, up=False), "find the other end of eth0")])
    peer: int = struct.unpack("=I", attributes(answer[16:])[5])[0]
    return peer
