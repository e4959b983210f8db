"""Ending other processes' TCP connections: sock_diag(7) and its SOCK_DESTROY, `ss --kill`'s way.

The owner of such a socket reads ECONNABORTED, its peer a reset. Both families, since a socket of IPv6 may carry IPv4.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ambientlab.node.linux.netlink import ACK, Message, Socket, attributes

NETLINK_SOCK_DIAG = 4

_BY_FAMILY = 20
_DESTROY = 21
_DUMP = 0x300
_LISTEN = 10
_EVERY_STATE = 0xFFF & ~(1 << _LISTEN)
_REQUEST = struct.Struct("=BBBBI48s")  # linux/inet_diag.h: inet_diag_req_v2 with its inet_diag_sockid
_ANSWER = struct.Struct("=BBBB48s20s")  # inet_diag_msg
_LOCAL_PORT = struct.Struct(">H")  # what the sockid begins with
_MARK = 15


@dataclass(frozen=True, slots=True)
class Connection:
    """`mark` is its SO_MARK. `id` is the kernel's name for it."""

    family: int
    local_port: int
    mark: int
    id: bytes


def end(chosen: Callable[[Connection], bool]) -> int:
    """End the chosen connections of this thread's network namespace; how many there were. Raises OSError, EOPNOTSUPP
    where the kernel is built without SOCK_DESTROY."""
    diag = Socket(NETLINK_SOCK_DIAG)
    try:
        found = [connection for connection in _connections(diag) if chosen(connection)]
        for connection in found:
            _end(diag, connection)
        return len(found)
    finally:
        diag.close()


def _connections(diag: Socket) -> Iterator[Connection]:
    for family in (socket.AF_INET, socket.AF_INET6):
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE, bytes(48))
        try:
            answers = diag.request([Message(_BY_FAMILY, _DUMP, body, "list connections")])
        except FileNotFoundError:
            continue  # a kernel without that family
        for answer in answers:
            _, _, _, _, identity, _ = _ANSWER.unpack_from(answer)
            (port,) = _LOCAL_PORT.unpack_from(identity)
            mark = attributes(answer[_ANSWER.size :]).get(_MARK, bytes(4))
            yield Connection(family, port, int.from_bytes(mark, sys.byteorder), identity)


def _end(diag: Socket, connection: Connection) -> None:
    body = _REQUEST.pack(connection.family, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE, connection.id)
    try:
        diag.request([Message(_DESTROY, ACK, body, "end a connection")])
    except FileNotFoundError:
        return  # it has ended by itself
