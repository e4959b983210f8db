"""A client of HBONE that says whatever a test wants said: one HTTP/2 stream with one CONNECT, by hand (RFC 9113, 7541).

Clients of the mesh are Envoys, which would not say some of it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ambientlab.mesh.serve.ca import CertificateAuthority

_DATA, _HEADERS, _RESET, _SETTINGS = 0, 1, 3, 4
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INDEXED_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
_DIGITS = {"00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4", "011011": "5", "011100": "6"} | {
    "011101": "7",
    "011110": "8",
    "011111": "9",
}
"""HPACK's Huffman code."""


class Identities:
    """Certificates by SPIFFE ID, as files, from one authority."""

    def __init__(self, directory: Path) -> None:
        self.ca = CertificateAuthority.create()
        self._directory = directory
        self._contexts: dict[str, ssl.SSLContext] = {}

    def client(self, identity: str) -> ssl.SSLContext:
        if identity not in self._contexts:
            svid = self.ca.issue(identity)
            path = self._directory / f"{len(self._contexts)}.pem"
            path.write_bytes(svid.chain_pem + svid.key_pem)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            context.load_cert_chain(path)
            self._contexts[identity] = context
        return self._contexts[identity]


@dataclass
class Tunnel:
    """`status` is that of the answer to the CONNECT; 0 is none at all."""

    status: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def echo(self, data: bytes) -> bytes:
        """What comes back, "" if the stream ends."""
        self.writer.write(_frame(_DATA, 0, 1, data))
        return await self.received()

    async def received(self) -> bytes:
        while True:
            kind, flags, payload = await _read(self.reader, self.writer)
            if kind == _DATA and payload:
                return payload
            if kind in (_RESET, -1) or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                return b""

    def close(self) -> None:
        self.writer.close()


async def connect(
    address: tuple[str, int],
    context: ssl.SSLContext,
    authority: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    source: str | None = None,
) -> Tunnel:
    local = None if source is None else (source, 0)
    return await opened(*await asyncio.open_connection(*address, ssl=context, local_addr=local), authority, headers)


async def opened(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    authority: str,
    headers: Iterable[tuple[str, str]] = (),
    method: str = "CONNECT",
) -> Tunnel:
    """A tunnel on a connection that nothing has been said on."""
    writer.write(asking(authority, headers, method))
    while True:
        kind, _, payload = await _read(reader, writer)
        if kind == _HEADERS:
            return Tunnel(_status(payload), reader, writer)
        if kind in (_RESET, -1):
            return Tunnel(0, reader, writer)


def asking(authority: str, headers: Iterable[tuple[str, str]] = (), method: str = "CONNECT") -> bytes:
    """All that a client says until it is answered."""
    block = _literal(":method", method) + _literal(":authority", authority)
    if method != "CONNECT":
        block += _literal(":scheme", "https") + _literal(":path", "/")
    block += b"".join(_literal(name, value) for name, value in headers)
    table_of_none = (1).to_bytes(2, "big") + (0).to_bytes(4, "big")
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, table_of_none)
        + _frame(_HEADERS, _END_HEADERS, 1, block)
    )


def answered(received: bytes) -> int:
    """The status in all that a server said; 0 if there is none."""
    while len(received) >= 9:
        end = 9 + int.from_bytes(received[:3], "big")
        if received[3] == _HEADERS:
            return _status(received[9:end])
        received = received[end:]
    return 0


def _literal(name: str, value: str) -> bytes:
    return b"\0" + _string(name) + _string(value)


def _string(text: str) -> bytes:
    data = text.encode()
    assert len(data) < 127
    return bytes([len(data)]) + data


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, int, bytes]:
    """The kind -1 is the end of the connection."""
    try:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return -1, 0, b""
    if head[3] == _SETTINGS and not head[4] & _ACK:
        writer.write(_frame(_SETTINGS, _ACK, 0, b""))
    return head[3], head[4], payload


def _status(block: bytes) -> int:
    while block[0] & 0xE0 == 0x20:  # the size of the dynamic table
        block = block[1:]
    if block[0] & 0x80:
        return _INDEXED_STATUS[block[0] & 0x7F]
    length, coded = block[1] & 0x7F, bool(block[1] & 0x80)
    value = block[2 : 2 + length]
    if not coded:
        return int(value)
    bits, digits = "".join(f"{byte:08b}" for byte in value), ""
    while len(digits) < 3:
        code = next(code for code in _DIGITS if bits.startswith(code))
        digits, bits = digits + _DIGITS[code], bits[len(code) :]
    return int(digits)
