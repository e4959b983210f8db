"""Netlink: attributes, requests and answers, and sockets inside another network namespace.

A socket belongs for life to the namespace it was made in, whoever uses it. So a thread visits the namespace once to
open one, and everything after that happens from anywhere. The handful of messages a node needs is written by hand:
importing a netlink library costs more than starting the whole network.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ambientlab.node.linux import syscalls

REQUEST = 0x01
ACK = 0x04
EXCL = 0x200
CREATE = 0x400
APPEND = 0x800

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_ERROR = 2
_DONE = 3
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_BUFFER = 4 << 20
_READ = 1 << 17

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """`what` says what the message does, for the error a person reads."""

    type: int
    flags: int
    body: bytes
    what: str = ""


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return pad(struct.pack("=HH", 4 + len(value), kind) + value)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """A u32 in the machine's byte order, as rtnetlink wants it; nfnetlink's are big-endian."""
    return attribute(kind, struct.pack("=I", value))


class Socket:
    """One netlink socket. The kernel works through a request within send(), so nothing here waits."""

    def __init__(self, protocol: int, inner: socket.socket | None = None) -> None:
        self._socket = inner or open_socket(protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # errors come without a copy of the request
        self._socket.setblocking(False)
        self._sequence = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        self._socket.close()

    def request(self, messages: Iterable[Message]) -> list[bytes]:
        """Send all in one datagram; the bodies of what was answered. Raises OSError for the first that was refused."""
        with self._lock:
            first = self._sequence + 1
            sent = []
            packed = []
            for message in messages:
                self._sequence += 1
                sent.append(message)
                header = _HEADER.pack(16 + len(message.body), message.type, message.flags | REQUEST, self._sequence, 0)
                packed.append(pad(header + message.body))
            self._socket.send(b"".join(packed))
            return self._answers(first, sent)

    def _answers(self, first: int, sent: list[Message]) -> list[bytes]:
        bodies: list[bytes] = []
        failure: OSError | None = None
        while True:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                break
            for kind, sequence, body in _split(data):
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", body)
                    if code and failure is None and 0 <= sequence - first < len(sent):
                        failure = OSError(-code, f"{sent[sequence - first].what}: {os.strerror(-code)}")
                elif kind != _DONE:
                    bodies.append(body)
        if failure is not None:
            raise failure
        return bodies


def _split(data: bytes) -> Iterable[tuple[int, int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by number, flags removed; the last of a repeated one."""
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def open_socket(protocol: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    made.bind((0, 0))
    return made


class Visitor:
    """A thread that enters network namespaces on behalf of the event loop, which must not change its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "netns")

    async def run(self, netns: str, work: Callable[[], T]) -> T:
        """`work` with `netns` (a path) as the thread's network namespace; "" for the node's own."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _visit, netns, work)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _visit(netns: str, work: Callable[[], T]) -> T:
    if not netns:
        return work()
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(there, syscalls.NEWNET)
        finally:
            os.close(there)
        try:
            return work()
        finally:
            syscalls.setns(home, syscalls.NEWNET)
    finally:
        os.close(home)


visitor = Visitor()


async def socket_in(netns: str, family: int, kind: int) -> socket.socket:
    """A non-blocking socket that lives in the network namespace at `netns`; connect or bind it from the event loop."""
    made = await visitor.run(netns, lambda: socket.socket(family, kind))
    made.setblocking(False)
    return made
