"""nftables over netlink: tables, chains, rules, sets and maps, changed in atomic batches.

No nft or iptables program is needed. A batch takes effect as a whole or, when any message is refused, not at all.
Expressions of rules are in `nft_expr`. Numbers are those of linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ambientlab.node.linux.netlink import (
    ACK,
    APPEND,
    CREATE,
    NETLINK_NETFILTER,
    Message,
    Socket,
    attribute,
    nested,
    pad,
    text,
)
from ambientlab.node.linux.nft_expr import Family, Verdict, data, verdict_data

_ENOENT = 2

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN = 0, 1, 2, 3
_NEWRULE = 6
_NEWSET, _NEWSETELEM, _DELSETELEM = 9, 12, 14
_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_SET_MAP = 8
_VERDICT_TYPE = 0xFFFFFF00
_ACCEPT = 1
_PER_MESSAGE = 500  # elements; a netlink attribute holds 64 KiB


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain sits: `kind` is filter, nat or route."""

    kind: str
    name: str
    priority: int


@dataclass(frozen=True, slots=True)
class Goto:
    """The value of a verdict map's element."""

    chain: str


Value = bytes | Goto | None


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def concatenate(*parts: bytes) -> bytes:
    """A concatenated key or value: each part fills whole 32-bit registers."""
    return b"".join(pad(part) for part in parts)


def octets(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def port(number: int) -> bytes:
    return struct.pack(">H", number)


class Batch:
    """Changes to one table, in order."""

    def __init__(self, table: str, family: Family = Family.IPV4) -> None:
        self._table = table
        self._family = family
        self.messages: list[Message] = []
        self._set_ids = 0

    def _add(self, kind: int, flags: int, body: bytes, what: str) -> None:
        header = struct.pack(">BBH", self._family, 0, 0)
        self.messages.append(Message(_SUBSYSTEM | kind, flags, header + body, f"nftables {self._table}: {what}"))

    def add_table(self) -> None:
        """No error if it exists."""
        self._add(_NEWTABLE, CREATE, text(1, self._table), "add table")

    def delete_table(self) -> None:
        """With all it holds."""
        self._add(_DELTABLE, 0, text(1, self._table), "delete table")

    def add_chain(self, name: str, hook: Hook | None = None) -> None:
        """A base chain with `hook` (policy accept), otherwise one to jump to."""
        body = text(1, self._table) + text(3, name)
        if hook is not None:
            place = _u32(1, _HOOKS[hook.name]) + attribute(2, struct.pack(">i", hook.priority))
            body += nested(4, place) + _u32(5, _ACCEPT) + text(7, hook.kind)
        self._add(_NEWCHAIN, CREATE, body, f"add chain {name}")

    def add_rule(self, chain: str, *expressions: bytes) -> None:
        body = text(1, self._table) + text(2, chain) + nested(4, *expressions)
        self._add(_NEWRULE, CREATE | APPEND, body, f"add rule to {chain}")

    def add_set(self, name: str, key: int, value: int | type[Goto] | None = None) -> None:
        """`key` and `value` are lengths in bytes; with a value it is a map, with `Goto` a verdict map."""
        self._set_ids += 1
        body = text(1, self._table) + text(2, name) + _u32(3, 0 if value is None else _SET_MAP)
        body += _u32(4, 0) + _u32(5, key)
        if isinstance(value, int):
            body += _u32(6, 0) + _u32(7, value)
        elif value is not None:
            body += _u32(6, _VERDICT_TYPE)
        self._add(_NEWSET, CREATE, body + _u32(10, self._set_ids), f"add set {name}")

    def add_elements(self, name: str, elements: Iterable[tuple[bytes, Value]]) -> None:
        for some in _chunks([_element(key, value) for key, value in elements]):
            self._elements(_NEWSETELEM, CREATE, name, some)

    def delete_elements(self, name: str, keys: Iterable[bytes]) -> None:
        for some in _chunks([_element(key, None) for key in keys]):
            self._elements(_DELSETELEM, 0, name, some)

    def _elements(self, kind: int, flags: int, name: str, elements: list[bytes]) -> None:
        body = text(1, self._table) + text(2, name) + nested(3, *elements)
        self._add(kind, flags, body, f"{'delete' if kind == _DELSETELEM else 'add'} elements of {name}")


def _element(key: bytes, value: Value) -> bytes:
    parts = [nested(1, data(key))]
    if isinstance(value, Goto):
        parts.append(nested(2, verdict_data(Verdict.GOTO, value.chain)))
    elif value is not None:
        parts.append(nested(2, data(value)))
    return nested(1, *parts)


def _chunks(elements: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(elements), _PER_MESSAGE):
        yield elements[start : start + _PER_MESSAGE]


class Nft:
    """A connection to the nftables of one network namespace: the one it is made in."""

    def __init__(self) -> None:
        self._socket = Socket(NETLINK_NETFILTER)

    def close(self) -> None:
        self._socket.close()

    def commit(self, *batches: Batch) -> None:
        """All of it or nothing. No message asks for an acknowledgement: thousands would overflow the socket.

        Raises OSError saying which message was refused.
        """
        marker = struct.pack(">BBH", 0, 0, 10)
        changes = [message for batch in batches for message in batch.messages]
        self._socket.request(
            [Message(_BATCH_BEGIN, 0, marker, "nftables"), *changes, Message(_BATCH_END, 0, marker, "nftables")]
        )

    def has_table(self, table: str, family: Family = Family.IPV4) -> bool:
        body = struct.pack(">BBH", family, 0, 0) + text(1, table)
        try:
            self._socket.request([Message(_SUBSYSTEM | _GETTABLE, ACK, body, f"nftables: read table {table}")])
        except OSError as error:
            if error.errno == _ENOENT:
                return False
            raise
        return True
