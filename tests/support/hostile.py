"""What a pod that means harm tries from within, as a program for its own Python: each attempt and how it ended.

It prints a JSON object of attempts, with the name of the error that ended each or "done". Each is made as the pod's
root, as root of a user namespace of its own, which has every capability there, and with a network of its own besides.
The argument is an address to take.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial

NEWUSER, NEWNET = 0x10000000, 0x40000000
MS_BIND, MS_REMOUNT = 4096, 32
PTRACE_ATTACH, NS_GET_PARENT = 16, 0xB702
ETH0 = 2
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
REQUEST, ACK, CREATE = 0x1, 0x4, 0x400

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    call("setns", descriptor, 0)


def enter_parent() -> None:
    """The user namespace around the pod's."""
    parent = fcntl.ioctl(os.open("/proc/1/ns/user", os.O_RDONLY), NS_GET_PARENT)
    call("setns", parent, NEWUSER)


def come_back() -> None:
    """Into the pod's network, from a namespace of one's own, with all its capabilities."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    call("unshare", NEWUSER | NEWNET)
    call("setns", home, NEWNET)


def attach_to_others() -> None:
    """Processes of no other pod have a number here."""
    for pid in range(2, 400):
        if pid != os.getpid() and pid != os.getppid():
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                continue
            call("ptrace", PTRACE_ATTACH, pid, 0, 0)
            return
    raise ProcessLookupError(errno.ESRCH, "nobody")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def mount(source: str, target: str, kind: str, flags: int) -> None:
    call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes, flags: int = REQUEST | ACK | CREATE) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def ask(protocol: int, *messages: bytes) -> None:
    """Raises the first error in the kernel's answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as kernel:
        kernel.settimeout(5)
        kernel.send(b"".join(messages))
        code = -struct.unpack_from("=i", kernel.recv(65536), 16)[0]
    if code:
        raise OSError(code, "netlink")


def add_address(ip: str) -> None:
    address = socket.inet_aton(ip)
    ask(NETLINK_ROUTE, message(20, struct.pack("=BBBBI", 2, 32, 0, 0, ETH0) + attribute(2, address)))


def add_route(ip: str) -> None:
    body = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 4, 253, 1, 0) + attribute(1, socket.inet_aton(ip))
    ask(NETLINK_ROUTE, message(24, body + attribute(4, struct.pack("=I", ETH0))))


def change_hardware_address() -> None:
    ask(NETLINK_ROUTE, message(16, struct.pack("=BBHiII", 0, 0, 0, ETH0, 0, 0) + attribute(1, b"\2\0\0\0\0\1")))


def remove_capture() -> None:
    """The tables that redirect a captured pod's connections (nftables)."""
    batch = struct.pack(">BBH", 0, 0, 10)
    table = struct.pack(">BBH", 2, 0, 0) + attribute(1, b"istio-ambient-nat\0")
    removal = message(10 << 8 | 2, table, REQUEST | ACK)
    ask(NETLINK_NETFILTER, message(0x10, batch, REQUEST), removal, message(0x11, batch, REQUEST))


ATTEMPTS: dict[str, Callable[[], object]] = {
    **{f"enter {kind} of pid 1": partial(enter, f"/proc/1/ns/{kind}") for kind in ("net", "mnt", "pid", "uts", "ipc")},
    "enter the user namespace around": enter_parent,
    "come back with capabilities": come_back,
    "attach to processes of others": attach_to_others,
    "make sysctls writable": lambda: mount("none", "/proc/sys", "proc", MS_REMOUNT),
    "write sysctls": lambda: write("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    "bind over the resolver": lambda: mount("/tmp", "/etc", "", MS_BIND),
    "open the machine's disk": lambda: os.mknod("/dev/shm/disk", 0o60600, os.makedev(254, 0)),
    "add an address": lambda: add_address(sys.argv[1]),
    "add a route": lambda: add_route(sys.argv[1]),
    "change the hardware address": change_hardware_address,
    "remove the capture": remove_capture,
}


def outcome(attempt: Callable[[], object], first: Callable[[], object]) -> str:
    """In a process of its own."""
    readable, writable = os.pipe()
    if not (child := os.fork()):
        said = "a fault of its own"
        try:
            first()
            attempt()
            said = "done"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, repr(error))
        finally:
            os.write(writable, said.encode())
            os._exit(0)
    os.close(writable)
    os.waitpid(child, 0)
    with os.fdopen(readable) as stream:
        return stream.read()


def outcomes() -> Iterator[tuple[str, list[str]]]:
    for name, attempt in ATTEMPTS.items():
        ways = (lambda: None, partial(call, "unshare", NEWUSER), partial(call, "unshare", NEWUSER | NEWNET))
        yield name, [outcome(attempt, first) for first in ways]


if __name__ == "__main__":
    print(json.dumps(dict(outcomes())))
