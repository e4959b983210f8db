"""Connections that the node proxy carries into pods, seen and ended from outside: Envoy offers no way to end one.

On the proxy's side of the application each is a socket in the pod's network namespace, from the client's address to the
pod's. Shutting it down ends the tunnel's stream as well; of a plain connection the client's side is another socket
there, which would stay half open for as long as the client says nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from ambientlab.cluster import HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, PROXY_PORTS
from ambientlab.dataplane.policywatcher import Carried
from ambientlab.dataplane.ztunnel_young import Held
from ambientlab.mesh.ir import with_port
from ambientlab.mesh.xds.health import STATUS_PORT
from ambientlab.mesh.xds.messages import TUNNELLED_PRIORITY
from ambientlab.node.linux import syscalls
from ambientlab.node.linux.netlink import visitor

_PROGRAM = "envoy"
_OPEN = frozenset({1, 4, 5, 8})
"""Established, or closed by one end alone (include/net/tcp_states.h)."""
_LISTEN = 10
_ORIGINAL_DST = 80
"""SO_ORIGINAL_DST: what a redirected connection was for."""
_FAMILIES = {socket.AF_INET: (socket.SOL_IP, 16, 4), socket.AF_INET6: (socket.IPPROTO_IPV6, 28, 8)}
"""Where that is asked, the length of the answer, and where in it the address is."""
_PATIENCE = 5.0
"""Seconds for an answer of the proxy."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Of proc_net_tcp(5)."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: int
    inode: int


class NodeConnections:
    """`CarriedConnections` of the node."""

    async def caught_up(self) -> None:
        """The worker hears in order: what it answers now, it answers after what it was told before."""
        with suppress(OSError, TimeoutError):  # no proxy, no connections
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", STATUS_PORT)
                try:
                    writer.write(b"GET /healthz/ready HTTP/1.1\r\nhost: ztunnel\r\n\r\n")
                    await reader.readline()
                finally:
                    writer.close()

    async def opened(self) -> Opened:
        return await visitor.run("", Opened)

    async def held(self, netns: str, ips: Sequence[str]) -> Held:
        """Of all connections that a captured pod has through the proxy."""
        return await visitor.run(netns, lambda: _held(ips))


def _held(ips: Sequence[str]) -> Held:
    opened = [row for row in _table() if row.state in _OPEN]
    taken = (row.remote for row in opened if row.local[1] == OUTBOUND_PORT)
    given = (row for row in opened if row.remote[0] in ips and row.remote[0] != row.local[0] and not _own(row))
    return Held(frozenset(map(_text, taken)), frozenset((_text(row.local), _text(row.remote)) for row in given))


def _text(end: tuple[str, int]) -> str:
    return with_port(*end)


class Opened:
    """`OpenedConnections` of the node's processes that may be the proxy: by their name, which a pod's program may have
    as well, and by their network. Which it is, its sockets tell."""

    def __init__(self) -> None:
        self._processes: list[_Sockets] = []
        home = _network(os.getpid())
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdigit() and _read(f"/proc/{name}/comm").strip() == _PROGRAM and _network(int(name)) == home:
                    self._processes.append(_Sockets(int(name)))

    def close(self) -> None:
        for process in self._processes:
            process.close()

    async def into(self, netns: str, ips: Sequence[str]) -> list[Carried]:
        """None if there is no proxy."""
        return await visitor.run(netns, lambda: list(self._into(ips)))

    def _into(self, ips: Sequence[str]) -> Iterator[Carried]:
        rows = list(_table())
        opened = [row for row in rows if row.state in _OPEN]
        outgoing = [row for row in opened if row.remote[0] in ips and not _own(row)]
        incoming = [row for row in opened if row.local[1] == INBOUND_PLAINTEXT_PORT]
        listening = {row.inode for row in rows if row.state == _LISTEN and row.local[1] == HBONE_PORT}
        sockets = next((process for process in self._processes if process.any_of(listening)), None)
        if sockets is None:
            return
        for row in outgoing:
            if (sock := sockets.copy(row.inode)) is not None:
                with sock:
                    tunnelled = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == TUNNELLED_PRIORITY
                yield Carried(*row.local, *row.remote, row.inode, tunnelled)
        for row in incoming:
            if (sock := sockets.copy(row.inode)) is not None:
                with sock, suppress(OSError):
                    yield Carried(*row.remote, *_asked_for(sock), row.inode, False, incoming=True)

    def cut(self, inode: int, say: Callable[[], None]) -> None:
        for process in self._processes:
            if (sock := process.copy(inode)) is not None:
                with sock, suppress(OSError):
                    say()
                    sock.shutdown(socket.SHUT_RDWR)
                return


def _asked_for(sock: socket.socket) -> tuple[str, int]:
    level, length, at = _FAMILIES[sock.family]
    told = sock.getsockopt(level, _ORIGINAL_DST, length)
    (port,) = struct.unpack_from("!H", told, 2)
    return str(ip_address(told[at : at + (4 if at == 4 else 16)])), port


class _Sockets:
    """Of another process. Raises OSError where it is gone."""

    def __init__(self, pid: int) -> None:
        self._process = os.pidfd_open(pid)
        try:
            self._descriptors = dict(_descriptors(pid))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._process)

    def any_of(self, inodes: Set[int]) -> bool:
        return not inodes.isdisjoint(self._descriptors)

    def copy(self, inode: int) -> socket.socket | None:
        """None if it is not the process's, or was closed meanwhile."""
        descriptor = self._descriptors.get(inode)
        if descriptor is None:
            return None
        try:
            copied = syscalls.pidfd_getfd(self._process, descriptor)
        except OSError:
            return None
        if os.fstat(copied).st_ino != inode:
            os.close(copied)
            return None
        return socket.socket(fileno=copied)


def _network(pid: int) -> int:
    """What tells the network namespace of a process, not of one of its threads, from others."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def _descriptors(pid: int) -> Iterator[tuple[int, int]]:
    """Inode and descriptor of each socket."""
    directory = f"/proc/{pid}/fd"
    for name in os.listdir(directory):
        with suppress(OSError):
            target = os.readlink(f"{directory}/{name}")
            if target.startswith("socket:["):
                yield int(target[8:-1]), int(name)


def _table() -> Iterator[_Row]:
    """Of the thread's network namespace."""
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # a kernel without that family
            for line in _read(f"/proc/thread-self/net/{table}").splitlines()[1:]:
                fields = line.split()
                yield _Row(_address(fields[1]), _address(fields[2]), int(fields[3], 16), int(fields[9]))


def _own(row: _Row) -> bool:
    """Whether one end is a listener of the proxy's: a connection as it comes to the proxy, or leaves for another."""
    return row.local[1] in PROXY_PORTS or row.remote[1] in PROXY_PORTS


def _address(text: str) -> tuple[str, int]:
    """Written as numbers of four bytes each, in the machine's order."""
    address, _, port = text.partition(":")
    words = struct.unpack(f">{len(address) // 8}I", bytes.fromhex(address))
    return str(ip_address(struct.pack(f"={len(words)}I", *words))), int(port, 16)


def _read(path: str) -> str:
    """Whatever bytes a pod's program has made its name of."""
    with open(path, errors="replace") as file:
        return file.read()
