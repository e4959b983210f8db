"""nftables expressions: what a rule is made of, as netlink attributes.

A rule is a little program over 32-bit registers, numbered from 0 here. A comparison or a lookup that fails ends the
rule. Registers do not outlive a rule.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from ambientlab.node.linux.netlink import attribute, nested, text

_REGISTER_0 = 8  # NFT_REG32_00
_VERDICT_REGISTER = 0


class Verdict(IntEnum):
    DROP = 0
    ACCEPT = 1
    JUMP = -3
    GOTO = -4


class Meta(IntEnum):
    MARK = 3
    OUTPUT_NAME = 7
    SOCKET_UID = 10
    PROTOCOL = 16
    OUTPUT_GROUP = 22


class Family(IntEnum):
    """Of IP: what a table is for."""

    IPV4 = 2
    IPV6 = 10

    @property
    def registers(self) -> int:
        """How many an address fills."""
        return 1 if self is Family.IPV4 else 4


TCP = b"\x06"
UDP = b"\x11"

_CT_MARK = 3
_CT_ZONE = 17
_CT_ORIGINAL = 0
_NETWORK, _TRANSPORT = 1, 2


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def _register(kind: int, number: int) -> bytes:
    return _u32(kind, _REGISTER_0 + number)


def data(value: bytes) -> bytes:
    return attribute(1, value)


def verdict_data(verdict: int, chain: str = "") -> bytes:
    code = attribute(1, struct.pack(">i", verdict))
    return nested(2, code + text(2, chain) if chain else code)


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes))


def load_meta(key: Meta, register: int = 0) -> bytes:
    return _expression("meta", _u32(2, key), _register(1, register))


def store_meta(key: Meta, register: int = 0) -> bytes:
    return _expression("meta", _u32(2, key), _register(3, register))


def load_ct_mark(register: int = 0) -> bytes:
    return _expression("ct", _register(1, register), _u32(2, _CT_MARK))


def store_ct_mark(register: int = 0) -> bytes:
    return _expression("ct", _register(4, register), _u32(2, _CT_MARK))


def store_original_zone(register: int = 0) -> bytes:
    """The connection tracking zone in which the packets of who opened the connection are looked up; those that answer
    are in the common one."""
    direction = attribute(3, bytes([_CT_ORIGINAL]))
    return _expression("ct", _register(4, register), _u32(2, _CT_ZONE), direction)


def _payload(base: int, offset: int, length: int, register: int) -> bytes:
    return _expression("payload", _register(1, register), _u32(2, base), _u32(3, offset), _u32(4, length))


def load_source(register: int = 0, family: Family = Family.IPV4) -> bytes:
    return _payload(_NETWORK, 12, 4, register) if family is Family.IPV4 else _payload(_NETWORK, 8, 16, register)


def load_destination(register: int = 0, family: Family = Family.IPV4) -> bytes:
    return _payload(_NETWORK, 16, 4, register) if family is Family.IPV4 else _payload(_NETWORK, 24, 16, register)


def load_way_back(register: int = 0) -> bytes:
    """The device that an answer would leave by, if that is the one the packet has come from; else 0."""
    result, source, incoming = 1, 1, 8
    return _expression("fib", _register(1, register), _u32(2, result), _u32(3, source | incoming))


def load_destination_port(register: int = 0) -> bytes:
    return _payload(_TRANSPORT, 2, 2, register)


def equal(value: bytes, register: int = 0) -> bytes:
    return _compare(0, value, register)


def differ(value: bytes, register: int = 0) -> bytes:
    return _compare(1, value, register)


def _compare(operator: int, value: bytes, register: int) -> bytes:
    return _expression("cmp", _register(1, register), _u32(2, operator), nested(3, data(value)))


def mask(bits: bytes, set_bits: bytes | None = None, register: int = 0) -> bytes:
    """register = (register & bits) ^ set_bits"""
    exclusive = set_bits if set_bits is not None else bytes(len(bits))
    return _expression(
        "bitwise",
        _register(1, register),
        _register(2, register),
        _u32(3, len(bits)),
        nested(4, data(bits)),
        nested(5, data(exclusive)),
    )


def lookup(name: str, register: int = 0, into: int | None = None) -> bytes:
    """Find the key from `register` on in a set, or in a map whose value goes to register `into` and following."""
    return _expression("lookup", text(1, name), _register(2, register), *([] if into is None else [_register(3, into)]))


def lookup_verdict(name: str, register: int = 0) -> bytes:
    """Find the key from `register` on in a verdict map, and do what it says."""
    return _expression("lookup", text(1, name), _register(2, register), _u32(3, _VERDICT_REGISTER))


def immediate(value: bytes, register: int = 0) -> bytes:
    return _expression("immediate", _register(1, register), nested(2, data(value)))


def decide(verdict: Verdict, chain: str = "") -> bytes:
    return _expression("immediate", _u32(1, _VERDICT_REGISTER), nested(2, verdict_data(verdict, chain)))


def random(modulus: int, register: int = 0) -> bytes:
    return _expression("numgen", _register(1, register), _u32(2, modulus), _u32(3, 1), _u32(4, 0))


def jenkins_hash(source: int, length: int, modulus: int, register: int = 0) -> bytes:
    """The hash of `length` bytes from register `source`, below `modulus` (at least 2)."""
    return _expression(
        "hash", _register(1, source), _register(2, register), _u32(3, length), _u32(4, modulus), _u32(5, 0), _u32(7, 0)
    )


_NAT_SOURCE, _NAT_DESTINATION = 0, 1


def destination_nat(address: int, port: int, family: Family = Family.IPV4) -> bytes:
    """To the address and port in those registers."""
    return _expression("nat", _u32(1, _NAT_DESTINATION), _u32(2, family), _register(3, address), _register(5, port))


def source_nat(address: int, family: Family = Family.IPV4) -> bytes:
    return _expression("nat", _u32(1, _NAT_SOURCE), _u32(2, family), _register(3, address))


def redirect(port: int) -> bytes:
    """To this machine, at the port in that register."""
    return _expression("redir", _register(1, port))


def masquerade() -> bytes:
    return _expression("masq")


def reject_tcp() -> bytes:
    """Answer with a reset; only for TCP."""
    return _expression("reject", _u32(1, 1), attribute(2, b"\0"))


def reject(family: Family = Family.IPV4) -> bytes:
    """Answer with ICMP port unreachable."""
    return _expression("reject", _u32(1, 0), attribute(2, b"\x03" if family is Family.IPV4 else b"\x04"))
