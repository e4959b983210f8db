"""Hosts of ServiceEntries, as the DNS server tells captured pods of them."""

from __future__ import annotations

import socket
import struct

import pytest

from ambientlab.node.dns import known_to_ztunnel, respond
from ambientlab.node.dnswire import TYPE_A, TYPE_AAAA, TYPE_SRV, Query, encode_name, parse
from ambientlab.node.meshnames import MeshNames
from ambientlab.node.zone import Zone, service_records

NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


@pytest.fixture
def names() -> MeshNames:
    made = MeshNames()
    made.put("api.example.com", ["240.240.0.1"])
    made.put("*.example.com", ["240.240.0.2"])
    made.put("two.example.org", ["192.0.2.1", "192.0.2.2"])
    made.put("both.example.org", ["240.240.0.3", "2001:2::3"])
    return made


def question(name: str, kind: int) -> bytes:
    return b"\x12\x34" + struct.pack(">5H", 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack(">HH", kind, 1)


def ask(
    names: MeshNames | None, name: str, kind: int = TYPE_A, zone: Zone | None = None, namespace: str = ""
) -> tuple[int, list[str]]:
    """rcode and addresses."""
    packet = question(name, kind)
    reply = respond(zone or Zone(), packet, datagram=True, mesh=names, namespace=namespace)
    assert reply is not None
    flags, _, answers, _, _ = struct.unpack_from(">5H", reply, 2)
    records = reply[len(packet) :]
    size = len(records) // max(answers, 1)
    return flags & 0xF, [_text(records[size * i + 12 : size * i + size]) for i in range(answers)]


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


CASES = [
    ("both.example.org", TYPE_A, (NOERROR, ["240.240.0.3"])),
    ("both.example.org", TYPE_AAAA, (NOERROR, ["2001:2::3"])),
    ("api.example.com", TYPE_A, (NOERROR, ["240.240.0.1"])),
    ("API.Example.com", TYPE_A, (NOERROR, ["240.240.0.1"])),
    ("other.example.com", TYPE_A, (NOERROR, ["240.240.0.2"])),
    ("deep.er.example.com", TYPE_A, (NOERROR, ["240.240.0.2"])),
    ("two.example.org", TYPE_A, (NOERROR, ["192.0.2.1", "192.0.2.2"])),
    ("api.example.com", TYPE_AAAA, (NOERROR, [])),
    ("api.example.com", TYPE_SRV, (SERVFAIL, [])),
    ("example.com", TYPE_A, (SERVFAIL, [])),
    ("api.example.com.hello.svc.cluster.local", TYPE_A, (NXDOMAIN, [])),
]


@pytest.mark.parametrize(("name", "kind", "expected"), CASES)
def test_answers(names: MeshNames, name: str, kind: int, expected: tuple[int, list[str]]) -> None:
    assert ask(names, name, kind) == expected


def test_who_is_not_captured_knows_nothing_of_them(names: MeshNames) -> None:
    assert ask(None, "api.example.com") == (SERVFAIL, [])


def test_a_host_that_lost_its_addresses_is_gone(names: MeshNames) -> None:
    names.put("api.example.com", [])
    assert ask(names, "api.example.com") == (NOERROR, ["240.240.0.2"])
    names.put("*.example.com", [])
    assert ask(names, "api.example.com") == (SERVFAIL, [])


def test_a_name_that_dns_cannot_carry_is_left_out(names: MeshNames) -> None:
    names.put("a" * 64 + ".example.com", ["240.240.0.9"])
    assert ask(names, "a.example.com") == (NOERROR, ["240.240.0.2"])


def test_a_wildcard_leaves_services_alone() -> None:
    names, zone = MeshNames(), Zone()
    names.put("*.hello.svc.cluster.local", ["240.240.0.1"])
    service = {"metadata": {"name": "web", "namespace": "hello"}, "spec": {"clusterIP": "10.96.0.5"}}
    zone.replace("web", service_records(service, []))
    assert ask(names, "web.hello.svc.cluster.local", zone=zone) == (NOERROR, ["10.96.0.5"])
    assert ask(names, "other.hello.svc.cluster.local", zone=zone) == (NOERROR, ["240.240.0.1"])


def test_a_name_may_mean_something_else_in_a_namespace(names: MeshNames) -> None:
    names.put("api.example.com", ["240.240.0.7"], "partner")
    names.put("*.example.org", ["240.240.0.8"], "partner")
    assert ask(names, "api.example.com", namespace="partner") == (NOERROR, ["240.240.0.7"])
    assert ask(names, "api.example.com", namespace="test") == (NOERROR, ["240.240.0.1"])
    assert ask(names, "other.example.com", namespace="partner") == (NOERROR, ["240.240.0.2"])
    assert ask(names, "any.example.org", namespace="partner") == (NOERROR, ["240.240.0.8"])
    assert ask(names, "any.example.org", namespace="test") == (SERVFAIL, [])
    names.put("api.example.com", [], "partner")
    assert ask(names, "api.example.com", namespace="partner") == (NOERROR, ["240.240.0.1"])


@pytest.mark.parametrize(
    ("name", "kind", "known"),
    [
        ("api.example.com", TYPE_A, True),
        ("any.example.com", TYPE_AAAA, True),
        ("api.example.com", TYPE_SRV, False),
        ("example.net", TYPE_A, False),
        ("web.hello.svc.cluster.local", TYPE_A, True),
        ("web.hello.svc.cluster.local", TYPE_AAAA, True),
        ("_http._tcp.web.hello.svc.cluster.local", TYPE_SRV, False),
        ("hello.svc.cluster.local", TYPE_A, False),
        ("outside.hello.svc.cluster.local", TYPE_A, False),
    ],
)
def test_what_ztunnel_would_ask_another_server_for(names: MeshNames, name: str, kind: int, known: bool) -> None:
    zone = Zone()
    port = {"name": "http", "port": 80}
    for spec in ({"clusterIP": "10.96.0.5", "ports": [port]}, {"type": "ExternalName", "externalName": "example.net"}):
        own = "outside" if "type" in spec else "web"
        zone.replace(own, service_records({"metadata": {"name": own, "namespace": "hello"}, "spec": spec}, []))
    query = parse(question(name, kind))
    assert isinstance(query, Query)
    assert known_to_ztunnel(zone, names, query) == known
