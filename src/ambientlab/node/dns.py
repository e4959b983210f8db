"""The cluster's DNS server: CoreDNS's role, on UDP and TCP port 53 of 10.96.0.10.

Names outside the cluster are not resolved: a node has no way to the outside, and no pod could connect anyway. They
answer SERVFAIL, which a resolver reports at once and does not take for "no such name". But a name of one label, and
one whose last label is a namespace or `svc`, can only be a service's that is not there (clients try it as it is after
their search list): those answer NXDOMAIN, so that a mistyped service does not look like an outage.

Captured pods are answered for the hosts of ServiceEntries as well, which is ztunnel's work elsewhere, and who counts
for ztunnel is told what they ask. And the machine that the mesh runs on has a name.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from ambientlab.api.client import Client, Event, Unsubscribe
from ambientlab.api.kinds import POD
from ambientlab.api.objects import annotations_of, has_ended, name, namespace, pod_ips
from ambientlab.cluster import DNS_IP, HOST_IP, HOST_NAME
from ambientlab.node.dnswire import (
    CLASS_IN,
    TYPE_A,
    TYPE_AAAA,
    TYPE_ANY,
    TYPE_CNAME,
    Malformed,
    Query,
    Rcode,
    answer,
    decode_name,
    parent,
    parse,
    refuse,
    type_name,
)
from ambientlab.node.meshnames import MeshNames
from ambientlab.node.services import Key, ServiceIndex
from ambientlab.node.zone import APEX, REVERSE, Zone, pod_records, service_records

PORT = 53
_IDLE_SECONDS = 10.0
_SVC = b"\x03svc\0"
_MACHINE = MeshNames()
_MACHINE.put(HOST_NAME, [HOST_IP])
_REDIRECTION, _CAPTURE = "ambient.istio.io/redirection", "ambient.istio.io/dns-capture"
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""For Go's strconv.ParseBool; with anything else the annotation is not heeded."""


def respond(
    zone: Zone, packet: bytes, *, datagram: bool, mesh: MeshNames | None = None, namespace: str = ""
) -> bytes | None:
    """The answer to one message, None for what deserves none. Never raises. `mesh` is for a captured pod's, which is in
    `namespace`."""
    query = parse(packet)
    if query is None:
        return None
    if isinstance(query, Malformed):
        return refuse(query)
    limit = query.udp_size if datagram else 0
    if query.qclass != CLASS_IN:
        return answer(query, Rcode.REFUSED, authoritative=False)
    meant = None
    if mesh is not None:
        meant = mesh.find(query.name, query.type, namespace, taken=zone.is_service(query.name))
    if meant is None:
        meant = _MACHINE.find(query.name, query.type)
    if meant is not None:
        return answer(query, Rcode.NOERROR, meant, limit=limit)
    if not _ours(query.name):
        absent = _only_a_service(zone, query.name)
        return answer(query, Rcode.NXDOMAIN if absent else Rcode.SERVFAIL, authoritative=False)
    found = zone.find(query.name, query.type)
    if len(found) > 1:
        found = random.sample(found, len(found))
    if found:
        return answer(query, Rcode.NOERROR, found, limit=limit)
    alias = zone.find(query.name, TYPE_CNAME)
    if alias and query.type != TYPE_ANY:
        return _follow(zone, query, alias, limit)
    rcode = Rcode.NOERROR if zone.exists(query.name) else Rcode.NXDOMAIN
    return answer(query, rcode, (), zone.authority, limit=limit)


def _ours(name_: bytes) -> bool:
    return any(_below(name_, apex) for apex in (APEX, *REVERSE))


def _below(name_: bytes, apex: bytes) -> bool:
    while len(name_) > len(apex):
        name_ = parent(name_)
    return name_ == apex


def _only_a_service(zone: Zone, name_: bytes) -> bool:
    if name_ == b"\0":
        return False
    last = name_
    while parent(last) != b"\0":
        last = parent(last)
    return last in (name_, _SVC) or zone.is_namespace(last[:-1])


def _follow(zone: Zone, query: Query, alias: list[bytes], limit: int) -> bytes:
    """An ExternalName: its records too if it leads back into the cluster; otherwise there is no way to know them."""
    target = alias[0][12:]
    if not _ours(target):
        return answer(query, Rcode.SERVFAIL, alias, limit=limit)
    records = [target + found[2:] for found in zone.find(target, query.type)]
    return answer(query, Rcode.NOERROR, [*alias, *records], limit=limit)


class Lookup(NamedTuple):
    """What a captured pod has asked. `forwarded`: ztunnel would not have known but asked a server like this; `failed`:
    that has no such record. `type` is of the record; the protocol is in lower case; `records` are in the answer."""

    client: str
    name: str
    type: str
    protocol: str
    forwarded: bool
    failed: bool
    records: int
    seconds: float


def known_to_ztunnel(zone: Zone, mesh: MeshNames, query: Query, namespace: str = "") -> bool:
    """Addresses of services, of their endpoints and of hosts of ServiceEntries (istio/ztunnel, src/dns/server.rs), for
    a pod in `namespace`."""
    if query.type not in (TYPE_A, TYPE_AAAA):
        return False
    taken = zone.is_service(query.name)
    return zone.is_address(query.name) or mesh.find(query.name, query.type, namespace, taken=taken) is not None


class DnsServer:
    """Construct, then `start` in the node's network namespace and on the event loop; follows the API until `close`."""

    def __init__(self, client: Client, address: str = DNS_IP, port: int = PORT) -> None:
        self.zone = Zone()
        self.mesh = MeshNames()
        self.heard: Callable[[Lookup], None] = lambda lookup: None
        """Is told what captured pods ask."""
        self._addresses: dict[tuple[str, str], str] = {}
        self._captured: dict[str, str] = {}
        self._client = client
        self._address = (address, port)
        self._services = ServiceIndex(client, self._apply)
        self._watches: list[Unsubscribe] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Raises OSError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._services.start()
        self._watches = [self._client.watch(POD, self._on_pod)]
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._respond), local_addr=self._address
        )
        self._server = await asyncio.start_server(self._serve_stream, *self._address)

    def close(self) -> None:
        self._services.close()
        for stop in self._watches:
            stop()
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for stream in self._streams:
            stream.close()

    def _respond(self, packet: bytes, client: str, *, datagram: bool) -> bytes | None:
        home = self._captured.get(client)
        if home is None:
            return respond(self.zone, packet, datagram=datagram)
        began = time.perf_counter()
        reply = respond(self.zone, packet, datagram=datagram, mesh=self.mesh, namespace=home)
        query = parse(packet)
        if reply is not None and isinstance(query, Query):
            forwarded = not known_to_ztunnel(self.zone, self.mesh, query, home)
            records = int.from_bytes(reply[6:8], "big")
            self.heard(
                Lookup(
                    client,
                    decode_name(query.name),
                    type_name(query.type),
                    "udp" if datagram else "tcp",
                    forwarded,
                    forwarded and (bool(reply[3] & 0xF) or not records),
                    records,
                    time.perf_counter() - began,
                )
            )
        return reply

    def _apply(self, changed: Collection[Key]) -> None:
        for key in changed:
            service, slices = self._services.get(key)
            self.zone.replace(("service", *key), service_records(service, slices) if service else [])

    def _on_pod(self, event: Event) -> None:
        gone = event.type == "DELETED" or has_ended(event.object)
        owner = ("pod", namespace(event.object), name(event.object))
        self.zone.replace(owner, [] if gone else pod_records(event.object))
        self._captured.pop(self._addresses.pop(owner[1:], ""), None)
        addresses = pod_ips(event.object)
        if addresses and not gone and _has_mesh_names(annotations_of(event.object)):
            self._addresses[owner[1:]] = addresses[0]
            self._captured[addresses[0]] = owner[1]

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        client = (writer.get_extra_info("peername") or ("",))[0]
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                    reply = self._respond(await reader.readexactly(length), client, datagram=False)
                    if reply is None:
                        return
                    writer.write(struct.pack(">H", len(reply)) + reply)
                    await writer.drain()
                await asyncio.sleep(0)  # one that asks a thousand things at once must not keep the others waiting
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            return
        finally:
            writer.close()
            await _gone(writer)
            self._streams.discard(writer)


async def _gone(writer: asyncio.StreamWriter) -> None:
    """Whoever does not read has as long as whoever says nothing."""
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            await writer.wait_closed()
    except (TimeoutError, ConnectionError):
        writer.transport.abort()


def _has_mesh_names(annotations: Mapping[str, str]) -> bool:
    return annotations.get(_REDIRECTION) == "enabled" and annotations.get(_CAPTURE) not in _FALSE


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, respond_to: Callable[..., bytes | None]) -> None:
        self._respond = respond_to

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # typeshed: the base takes any transport
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._respond(data, addr[0], datagram=True)
        if reply is not None:
            self._transport.sendto(reply, addr)
