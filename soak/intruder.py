"""Garbage for ports of the mesh, as a program for a pod's own Python: `intruder.py SEED COUNT HOST:PORT ...`.

Prints what came of it, a JSON object of counts.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import struct
import sys
from collections import Counter

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DNS = 53
LINES = (
    b"CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n",
    b"CONNECT [::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://x:99999/ HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    b"GET / HTTP/1.1\r\nHost: x\r\nBaggage: " + b"k8s." * 20_000 + b"\r\n\r\n",
    b"SSH-2.0-x\r\n",
    b"\x16\x03\x01\xff\xff",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"\r\n\r\n\x00\x01\x02",
)


def frames(dice: random.Random) -> bytes:
    """HTTP/2 frames whose fields are anything."""
    found = []
    for _ in range(dice.randrange(1, 8)):
        body = dice.randbytes(dice.choice((0, 1, 5, 8, 40, 300)))
        length = len(body) if dice.random() < 0.9 else dice.randrange(1 << 24)
        stream = dice.choice((0, 1, 1, 3, 2**31 - 1))
        found.append(
            struct.pack(">I", length)[1:]
            + bytes((dice.randrange(12), dice.randrange(256)))
            + struct.pack(">I", stream)
            + body
        )
    return PREFACE + struct.pack(">I", 0)[1:] + bytes((4, 0)) + struct.pack(">I", 0) + b"".join(found)


def hello(dice: random.Random) -> bytes:
    """The beginning of a TLS handshake with bytes of it changed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="a.b").do_handshake()
    data = bytearray(outgoing.read())
    for _ in range(dice.randrange(1, 9)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data[: dice.randrange(1, len(data) + 1)])


def garbage(dice: random.Random) -> bytes:
    match dice.randrange(5):
        case 0:
            return dice.choice(LINES)
        case 1:
            return frames(dice)
        case 2:
            return hello(dice)
        case 3:
            return dice.choice(LINES)[: dice.randrange(30)] + dice.randbytes(dice.randrange(2000))
    return dice.randbytes(dice.choice((1, 30, 1000, 70_000)))


def query(dice: random.Random) -> bytes:
    """A question to the DNS, spoilt."""
    name = dice.choice(
        (
            b"\x0ahelloworld\x05hello\x00",
            b"\x3f" + b"a" * 63 + b"\x00",
            b"\xc0\x0c",
            b"\x05ab",
            b"\xff" * 5,
            b"\x01*\x00",
            b"\x02\xff\xfe\x00",
        )
    )
    head = struct.pack(
        ">6H",
        dice.randrange(65536),
        dice.choice((0x100, 0, 0xFFFF, 0x8180)),
        *(dice.choice((1, 1, 0, 65535)) for _ in range(4)),
    )
    data = bytearray(head + name + struct.pack(">2H", dice.choice((1, 28, 33, 255, 65535)), dice.choice((1, 3, 65535))))
    for _ in range(dice.choice((0, 0, 1, 3))):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data[: dice.randrange(len(data) + 1)] if dice.random() < 0.2 else data)


def send(dice: random.Random, host: str, port: int) -> str:
    if port == DNS and dice.random() < 0.7:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(query(dice), (host, port))
        return "datagram"
    with socket.create_connection((host, port), timeout=2) as plain:
        connection = plain
        if dice.random() < 0.3:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            connection = context.wrap_socket(plain, server_hostname="x")
        data = query(dice) if port == DNS else garbage(dice)
        if port == DNS:
            data = struct.pack(">H", dice.choice((len(data), 0, 65535))) + data
        connection.sendall(data)
        connection.settimeout(0.02)
        return "answered" if connection.recv(4096) else "closed"


def main(seed: str, count: str, *targets: str) -> None:
    dice = random.Random(int(seed))
    came: Counter[str] = Counter()
    for _ in range(int(count)):
        host, _, port = dice.choice(targets).rpartition(":")
        try:
            came[send(dice, host, int(port))] += 1
        except OSError as error:
            came[type(error).__name__] += 1
    print(json.dumps(came))


if __name__ == "__main__":
    main(*sys.argv[1:])
