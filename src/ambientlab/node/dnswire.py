"""DNS messages (RFC 1035, EDNS of RFC 6891): as much as an authoritative server needs, and no more.

Names are handled in wire form, lower case: that is how they arrive, and a dictionary of them needs no decoding.
Nothing here raises for what a stranger may send.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

CLASS_IN = 1
TYPE_A, TYPE_CNAME, TYPE_SOA, TYPE_PTR, TYPE_TXT, TYPE_AAAA, TYPE_SRV = 1, 5, 6, 12, 16, 28, 33
TYPE_ANY = 255
_TYPE_NAMES = {
    0: "ZERO", 1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT",
    24: "SIG", 25: "KEY", 28: "AAAA", 33: "SRV", 35: "NAPTR", 37: "CERT", 41: "OPT", 43: "DS", 44: "SSHFP",
    46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 59: "CDS", 60: "CDNSKEY",
    61: "OPENPGPKEY", 62: "CSYNC", 64: "SVCB", 65: "HTTPS", 250: "TSIG", 251: "IXFR", 252: "AXFR", 255: "ANY",
    257: "CAA", 65305: "ANAME",
}  # fmt: skip
_TYPE_OPT = 41

_MAX_NAME = 255
_PLAIN_UDP = 512
_MOST_UDP = 1232  # avoids IP fragmentation (dnsflagday.net/2020)
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED = 0x8000, 0x0400, 0x0200, 0x0100
_POINTER_TO_QUESTION = b"\xc0\x0c"


class Rcode(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


@dataclass(frozen=True, slots=True)
class Query:
    """`name` is in lower case for looking up; `question` is echoed as it came (its case is a client's nonce)."""

    id: bytes
    flags: int
    question: bytes
    name: bytes
    type: int
    qclass: int
    udp_size: int
    edns: bool


@dataclass(frozen=True, slots=True)
class Malformed:
    """What can still be answered with an error: a header, at most."""

    id: bytes
    flags: int
    rcode: Rcode
    question: bytes = b""
    edns: bool = False


def parse(packet: bytes) -> Query | Malformed | None:
    """None for what must not be answered at all: fragments of a header, and answers (which might answer us back)."""
    if len(packet) < 12:
        return None
    ident, (flags, questions, answers, authorities, additional) = packet[:2], struct.unpack_from(">5H", packet, 2)
    if flags & _RESPONSE:
        return None
    if flags & 0x7800:
        return Malformed(ident, flags, Rcode.NOTIMP)
    end = _name_end(packet)
    if questions != 1 or end is None or len(packet) < end + 4:
        return Malformed(ident, flags, Rcode.FORMERR)
    qtype, qclass = struct.unpack_from(">2H", packet, end)
    question = packet[12 : end + 4]
    size, edns = _PLAIN_UDP, False
    if additional and not answers and not authorities and len(packet) >= end + 15 and packet[end + 4] == 0:
        kind, offered, _, version = struct.unpack_from(">HHBB", packet, end + 5)
        if kind == _TYPE_OPT:
            if version:
                return Malformed(ident, flags, Rcode.BADVERS, question, edns=True)
            size, edns = min(max(offered, _PLAIN_UDP), _MOST_UDP), True
    return Query(ident, flags, question, packet[12:end].lower(), qtype, qclass, size, edns)


def _name_end(packet: bytes) -> int | None:
    """The offset after the first question's name; a compression pointer has nothing to point at there."""
    offset = 12
    while offset < len(packet):
        length = packet[offset]
        offset += length + 1
        if length > 63 or offset - 12 > _MAX_NAME:
            return None
        if length == 0:
            return offset
    return None


def refuse(bad: Malformed) -> bytes:
    count = 1 if bad.question else 0
    flags = _RESPONSE | (bad.flags & (0x7800 | _RECURSION_DESIRED)) | (bad.rcode & 0xF)
    header = bad.id + struct.pack(">5H", flags, count, 0, 0, int(bad.edns))
    return header + bad.question + (_opt(bad.rcode) if bad.edns else b"")


def answer(
    query: Query,
    rcode: Rcode,
    answers: Sequence[bytes] = (),
    authority: bytes = b"",
    *,
    authoritative: bool = True,
    limit: int = 0,
) -> bytes:
    """`limit` is the size a datagram may have: what is larger comes back empty and truncated, for TCP to fetch."""
    flags = _RESPONSE | (query.flags & _RECURSION_DESIRED) | rcode
    if authoritative:
        flags |= _AUTHORITATIVE
    tail = _opt(Rcode.NOERROR) if query.edns else b""
    body = b"".join((query.question, *answers, authority, tail))
    if limit and len(body) + 12 > limit:
        header = query.id + struct.pack(">5H", flags | _TRUNCATED, 1, 0, 0, int(query.edns))
        return header + query.question + tail
    counts = struct.pack(">5H", flags, 1, len(answers), int(bool(authority)), int(query.edns))
    return query.id + counts + body


def _opt(rcode: Rcode) -> bytes:
    return b"\0" + struct.pack(">HHBBHH", _TYPE_OPT, _MOST_UDP, rcode >> 4, 0, 0, 0)


def record(kind: int, ttl: int, data: bytes, owner: bytes = _POINTER_TO_QUESTION) -> bytes:
    return owner + struct.pack(">HHIH", kind, CLASS_IN, ttl, len(data)) + data


def encode_name(name: str) -> bytes:
    """Wire form, lower case. Raises ValueError for a name DNS cannot carry."""
    labels = name.lower().rstrip(".").split(".") if name.rstrip(".") else []
    encoded = b"".join(bytes([len(raw)]) + raw for raw in (label.encode() for label in labels)) + b"\0"
    if any(not 0 < len(label.encode()) <= 63 for label in labels) or len(encoded) > _MAX_NAME:
        raise ValueError(f"not a domain name: {name!r}")
    return encoded


def decode_name(wire: bytes) -> str:
    """As people write it, with the dot at its end."""
    labels = []
    while length := wire[0]:
        labels.append(wire[1 : length + 1].decode("latin-1"))
        wire = wire[length + 1 :]
    return ".".join([*labels, ""]) or "."


def type_name(kind: int) -> str:
    """As ztunnel's library has it (hickory-proto, rr/record_type.rs). Those that it does not know have one name, so
    that a client cannot make up as many as there are numbers."""
    return _TYPE_NAMES.get(kind, "Unknown")


def parent(name: bytes) -> bytes:
    """The name without its first label; the root is its own parent."""
    return name[name[0] + 1 :] or name
