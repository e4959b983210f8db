"""The DNS server's answers, message by message."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambientlab.node.dns import respond
from ambientlab.node.dnswire import TYPE_A, TYPE_AAAA, TYPE_PTR, TYPE_SRV, encode_name
from ambientlab.node.zone import Zone, pod_records, service_records

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)


def service(name="helloworld", ip="10.96.1.2", **spec):
    ports = [{"name": "http", "port": 5000, "protocol": "TCP"}]
    return {"metadata": {"name": name, "namespace": "hello"}, "spec": {"clusterIP": ip, "ports": ports, **spec}}


def endpoint_slice(*endpoints, port=8080):
    return {
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], **rest} for ip, rest in endpoints],
    }


@pytest.fixture
def zone():
    made = Zone()
    made.replace("helloworld", service_records(service(), []))
    made.replace("outside", service_records(service("outside", type="ExternalName", externalName="example.com"), []))
    alias = service("alias", type="ExternalName", externalName="helloworld.hello.svc.cluster.local")
    made.replace("alias", service_records(alias, []))
    made.replace("empty", service_records(service("empty", "None"), []))
    members = endpoint_slice(
        ("10.244.0.5", {"hostname": "db-0"}),
        ("10.244.0.6", {}),
        ("10.244.0.7", {"conditions": {"ready": False}}),
    )
    made.replace("db", service_records(service("db", "None"), [members]))
    early = service("early", "None", publishNotReadyAddresses=True)
    made.replace("early", service_records(early, [members]))
    pod = {"metadata": {"name": "p", "namespace": "hello"}, "spec": {}, "status": {"podIP": "10.244.0.9"}}
    made.replace("pod", pod_records(pod))
    return made


def ask(zone, name, kind=TYPE_A, *, qclass=1, flags=0x0100, opt=b"", wire=None):
    question = (wire or encode_name(name)) + struct.pack(">HH", kind, qclass)
    return b"\x12\x34" + struct.pack(">5H", flags, 1, 0, 0, int(bool(opt))) + question + opt


def decode(reply):
    """rcode, and (type, rdata) of the answers; the question must be echoed and the counts must fit."""
    assert reply[:2] == b"\x12\x34"
    flags, questions, answers, authorities, additional = struct.unpack_from(">5H", reply, 2)
    assert flags & 0x8000
    offset = 12
    for _ in range(questions):
        while reply[offset]:
            offset += reply[offset] + 1
        offset += 5
    found = []
    for index in range(answers + authorities + additional):
        if reply[offset] & 0xC0:
            offset += 2
        else:
            while reply[offset]:
                offset += reply[offset] + 1
            offset += 1
        kind, _, _, length = struct.unpack_from(">HHIH", reply, offset)
        if index < answers:
            found.append((kind, reply[offset + 10 : offset + 10 + length]))
        offset += 10 + length
    assert offset == len(reply)
    return flags & 0xF, found


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("helloworld.hello.svc.cluster.local", {"10.96.1.2"}),
        ("HelloWorld.Hello.SVC.cluster.local", {"10.96.1.2"}),
        ("db.hello.svc.cluster.local", {"10.244.0.5", "10.244.0.6"}),
        ("early.hello.svc.cluster.local", {"10.244.0.5", "10.244.0.6", "10.244.0.7"}),
        ("db-0.db.hello.svc.cluster.local", {"10.244.0.5"}),
        ("10-244-0-6.db.hello.svc.cluster.local", {"10.244.0.6"}),
        ("10-244-0-9.hello.pod.cluster.local", {"10.244.0.9"}),
    ],
)
def test_addresses(zone, name, addresses):
    rcode, found = decode(respond(zone, ask(zone, name), datagram=True))
    assert rcode == NOERROR
    assert {socket.inet_ntoa(data) for _, data in found} == addresses
    assert decode(respond(zone, ask(zone, name, TYPE_AAAA), datagram=True)) == (NOERROR, [])


def test_addresses_of_both_families(zone):
    vips = ["10.96.1.9", "fd00:10:96::9"]
    zone.replace("both", service_records(service("both", vips[0], clusterIPs=vips), []))
    there = endpoint_slice(("fd00:10:244::5", {"hostname": "db-0"}), ("fd00:10:244::6", {}))
    zone.replace("db6", service_records(service("db6", "None"), [{**there, "addressType": "IPv6"}]))
    ips = [{"ip": "10.244.0.8"}, {"ip": "fd00:10:244::8"}]
    pod = {"metadata": {"name": "q", "namespace": "hello"}, "spec": {}, "status": {"podIPs": ips}}
    zone.replace("pod6", pod_records(pod))
    for name, addresses in (
        ("both.hello.svc.cluster.local", {"fd00:10:96::9"}),
        ("db6.hello.svc.cluster.local", {"fd00:10:244::5", "fd00:10:244::6"}),
        ("db-0.db6.hello.svc.cluster.local", {"fd00:10:244::5"}),
        ("fd00-10-244--6.db6.hello.svc.cluster.local", {"fd00:10:244::6"}),
        ("fd00-10-244--8.hello.pod.cluster.local", {"fd00:10:244::8"}),
    ):
        rcode, found = decode(respond(zone, ask(zone, name, TYPE_AAAA), datagram=True))
        assert (rcode, {socket.inet_ntop(socket.AF_INET6, data) for _, data in found}) == (NOERROR, addresses)
    rcode, found = decode(respond(zone, ask(zone, "both.hello.svc.cluster.local"), datagram=True))
    assert [socket.inet_ntoa(data) for _, data in found] == vips[:1]
    pointer = ipaddress.ip_address(vips[1]).reverse_pointer
    found = decode(respond(zone, ask(zone, pointer, TYPE_PTR), datagram=True))
    assert found == (NOERROR, [(TYPE_PTR, encode_name("both.hello.svc.cluster.local"))])
    nobody = ipaddress.ip_address("fd00:10:96::ff").reverse_pointer
    assert decode(respond(zone, ask(zone, nobody, TYPE_PTR), datagram=True)) == (NXDOMAIN, [])


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("nope.hello.svc.cluster.local", NXDOMAIN),
        ("helloworld.other.svc.cluster.local", NXDOMAIN),
        ("10-244-0-7.db.hello.svc.cluster.local", NXDOMAIN),
        ("helloworld.hello.svc.cluster.local.hello.svc.cluster.local", NXDOMAIN),
        ("empty.hello.svc.cluster.local", NOERROR),
        ("hello.svc.cluster.local", NOERROR),
        ("svc.cluster.local", NOERROR),
        ("cluster.local", NOERROR),
        ("nope", NXDOMAIN),
        ("nope.hello", NXDOMAIN),
        ("nope.hello.svc", NXDOMAIN),
        ("example.com", SERVFAIL),
        ("", SERVFAIL),
        ("9.9.9.10.in-addr.arpa", NXDOMAIN),
        ("8.8.8.8.in-addr.arpa", SERVFAIL),
    ],
)
def test_names_without_addresses(zone, name, rcode):
    for kind in (TYPE_A, TYPE_AAAA):
        assert decode(respond(zone, ask(zone, name, kind), datagram=True)) == (rcode, [])


def test_services_and_pointers(zone):
    def srv(port, host):
        return struct.pack(">3H", 0, 100, port) + encode_name(host)

    rcode, found = decode(
        respond(zone, ask(zone, "_http._tcp.helloworld.hello.svc.cluster.local", TYPE_SRV), datagram=True)
    )
    assert (rcode, found) == (NOERROR, [(TYPE_SRV, srv(5000, "helloworld.hello.svc.cluster.local"))])
    rcode, found = decode(respond(zone, ask(zone, "_http._tcp.db.hello.svc.cluster.local", TYPE_SRV), datagram=True))
    assert {data for _, data in found} == {
        srv(8080, "db-0.db.hello.svc.cluster.local"),
        srv(8080, "10-244-0-6.db.hello.svc.cluster.local"),
    }
    rcode, found = decode(respond(zone, ask(zone, "2.1.96.10.in-addr.arpa", TYPE_PTR), datagram=True))
    assert found == [(TYPE_PTR, encode_name("helloworld.hello.svc.cluster.local"))]


def test_external_names(zone):
    rcode, found = decode(respond(zone, ask(zone, "outside.hello.svc.cluster.local"), datagram=True))
    assert (rcode, found) == (SERVFAIL, [(5, encode_name("example.com"))])
    rcode, found = decode(respond(zone, ask(zone, "alias.hello.svc.cluster.local"), datagram=True))
    assert (rcode, found) == (
        NOERROR,
        [(5, encode_name("helloworld.hello.svc.cluster.local")), (TYPE_A, socket.inet_aton("10.96.1.2"))],
    )


def test_an_object_takes_its_records_along(zone):
    zone.replace("helloworld", service_records(service(ip="10.96.1.3"), []))
    assert decode(respond(zone, ask(zone, "helloworld.hello.svc.cluster.local"), datagram=True))[1] == [
        (TYPE_A, socket.inet_aton("10.96.1.3"))
    ]
    assert decode(respond(zone, ask(zone, "2.1.96.10.in-addr.arpa", TYPE_PTR), datagram=True))[0] == NXDOMAIN
    for owner in ("helloworld", "outside", "alias", "empty", "db", "early", "pod"):
        zone.replace(owner, [])
    assert decode(respond(zone, ask(zone, "hello.svc.cluster.local"), datagram=True))[0] == NXDOMAIN
    assert not zone.is_namespace(b"\5hello")


def test_what_does_not_fit_comes_over_tcp(zone):
    members = endpoint_slice(*((f"10.244.1.{index}", {}) for index in range(1, 101)))
    zone.replace("many", service_records(service("many", "None"), [members]))
    query = ask(zone, "many.hello.svc.cluster.local")
    small = respond(zone, query, datagram=True) or b""
    assert len(small) <= 512
    assert struct.unpack_from(">H", small, 2)[0] & 0x0200
    assert decode(small) == (NOERROR, [])
    assert len(decode(respond(zone, query, datagram=False))[1]) == 100
    opt = b"\0" + struct.pack(">HHIH", 41, 4096, 0, 0)
    larger = respond(zone, ask(zone, "helloworld.hello.svc.cluster.local", opt=opt), datagram=True) or b""
    assert struct.unpack_from(">H", larger, 10) == (1,)


@pytest.mark.parametrize(
    ("packet", "rcode"),
    [
        (ask(None, "a.b", flags=0x2800), NOTIMP),
        (ask(None, "a.b", qclass=3), REFUSED),
        (ask(None, "", wire=b"\xc0\x0c"), FORMERR),
        (ask(None, "", wire=b"\x3f" + b"a" * 20), FORMERR),
        (ask(None, "", wire=(b"\x3f" + b"a" * 63) * 4 + b"\0"), FORMERR),
        (b"\x12\x34" + struct.pack(">5H", 0, 2, 0, 0, 0), FORMERR),
        (b"\x12\x34" + struct.pack(">5H", 0, 0, 0, 0, 0), FORMERR),
    ],
)
def test_malformed_queries(zone, packet, rcode):
    assert decode(respond(zone, packet, datagram=True))[0] == rcode


def test_some_packets_get_no_answer(zone):
    assert respond(zone, b"", datagram=True) is None
    assert respond(zone, b"\x12\x34\0", datagram=True) is None
    assert respond(zone, ask(zone, "a.b", flags=0x8000), datagram=True) is None


def test_an_unknown_edns_version(zone):
    opt = b"\0" + struct.pack(">HHBBHH", 41, 1232, 0, 1, 0, 0)
    reply = respond(zone, ask(zone, "helloworld.hello.svc.cluster.local", opt=opt), datagram=True) or b""
    assert decode(reply) == (0, [])
    assert reply[-6] == 1, "BADVERS is 16: the upper bits are in the OPT record"


FIXED = Zone()
FIXED.replace("helloworld", service_records(service(), []))


@given(st.binary(max_size=600))
def test_no_packet_raises(packet):
    for datagram in (True, False):
        reply = respond(FIXED, packet, datagram=datagram)
        assert reply is None or reply[:2] == packet[:2]


@given(st.binary(max_size=300), st.integers(0, 5), st.integers(0, 3), st.integers(0, 65535))
def test_no_question_raises(body, questions, additional, kind):
    header = b"\x12\x34" + struct.pack(">5H", 0x0100, questions, 0, 0, additional)
    for packet in (
        header + body,
        header + encode_name("helloworld.hello.svc.cluster.local") + struct.pack(">HH", kind, 1) + body,
    ):
        reply = respond(FIXED, packet, datagram=True)
        assert reply is not None
        decode(reply)
        assert len(reply) <= 1232


@given(st.text(max_size=300))
def test_any_name_is_encoded_or_refused(name):
    try:
        wire = encode_name(name)
    except ValueError:
        return
    assert wire.endswith(b"\0")
    assert len(wire) <= 255


def test_names_that_dns_cannot_carry_are_left_out():
    assert service_records(service("a" * 64), []) == []
    assert service_records(service("bad", type="ExternalName", externalName="a..b"), []) == []
