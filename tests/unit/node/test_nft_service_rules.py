"""What a Service and its slices become: map elements, and the differences between two states."""

from __future__ import annotations

import socket
import struct
import sys
from collections import Counter

import pytest

from ambientlab.node.linux.nft import Batch, Goto, concatenate, octets, port
from ambientlab.node.network import Addresses, AddressesExhausted
from ambientlab.node.proxy import Pool, Rules, _Changes, service_rules

TCP, UDP = b"\x06", b"\x11"


def service(ip="10.96.1.2", ports=((None, "TCP", 80),), **spec):
    named = [
        {"port": number, "protocol": protocol} | ({"name": name} if name else {}) for name, protocol, number in ports
    ]
    return {"metadata": {"name": "s", "namespace": "n"}, "spec": {"clusterIP": ip, "ports": named, **spec}}


def slice_of(*addresses, ports=((None, "TCP", 8080),), kind="IPv4", **conditions):
    named = [
        {"port": number, "protocol": protocol} | ({"name": name} if name else {}) for name, protocol, number in ports
    ]
    return {
        "addressType": kind,
        "ports": named,
        "endpoints": [{"addresses": [address], "conditions": conditions} for address in addresses],
    }


def key(ip, protocol, number, index=None):
    made = concatenate(octets(ip), protocol, port(number))
    return made if index is None else made + index.to_bytes(4, sys.byteorder)


def targets(rules):
    return sorted(
        (socket.inet_ntoa(value[:4]), struct.unpack_from(">H", value, 4)[0]) for value in rules.endpoints.values()
    )


def test_one_element_per_endpoint():
    rules = service_rules(service(), [slice_of("10.244.0.5", "10.244.0.6")])
    assert rules.services == {key("10.96.1.2", TCP, 80): Pool(2)}
    assert rules.endpoints == {
        key("10.96.1.2", TCP, 80, 0): concatenate(octets("10.244.0.5"), port(8080)),
        key("10.96.1.2", TCP, 80, 1): concatenate(octets("10.244.0.6"), port(8080)),
    }
    assert rules.hairpins == {octets(ip) * 2 for ip in ("10.244.0.5", "10.244.0.6")}


def test_ports_meet_by_name_and_protocol():
    ports = (("http", "TCP", 80), ("dns", "UDP", 53), ("dns", "TCP", 53), ("other", "TCP", 1), ("sctp", "SCTP", 2))
    behind = slice_of("10.244.0.5", ports=(("http", "TCP", 8080), ("dns", "UDP", 5353), ("dns", "TCP", 5454)))
    rules = service_rules(service(ports=ports), [behind])
    assert set(rules.services) == {key("10.96.1.2", TCP, 80), key("10.96.1.2", UDP, 53), key("10.96.1.2", TCP, 53)}
    assert targets(rules) == [("10.244.0.5", 5353), ("10.244.0.5", 5454), ("10.244.0.5", 8080)]


@pytest.mark.parametrize("number", [-1, 0, 65536])
def test_what_is_no_port_is_not_behind_one(number):
    behind = slice_of("10.244.0.5", ports=((None, "TCP", number),))
    assert targets(service_rules(service(), [behind, slice_of("10.244.0.6")])) == [("10.244.0.6", 8080)]


def test_only_those_that_serve():
    ready, gone = slice_of("10.244.0.5"), slice_of("10.244.0.6", ready=False)
    leaving = slice_of("10.244.0.7", ready=False, serving=True, terminating=True)
    six = slice_of("fd00::1", kind="IPv6")
    assert targets(service_rules(service(), [ready, gone, leaving, six])) == [("10.244.0.5", 8080)]
    assert targets(service_rules(service(), [gone, leaving])) == [("10.244.0.7", 8080)]
    assert service_rules(service(), [gone]) == Rules()
    assert targets(service_rules(service(publishNotReadyAddresses=True), [gone])) == [("10.244.0.6", 8080)]
    assert targets(service_rules(service(), [ready, slice_of("10.244.0.5")])) == [("10.244.0.5", 8080)]


def test_traffic_for_this_node_stays_on_it():
    here, there = slice_of("10.244.0.5"), slice_of("192.0.2.5")
    here["endpoints"][0]["nodeName"] = "ambientlab"
    local = service(internalTrafficPolicy="Local")
    assert targets(service_rules(local, [here, there])) == [("10.244.0.5", 8080)]
    assert service_rules(local, [there]) == Rules(elsewhere=frozenset({key("10.96.1.2", TCP, 80)}))
    assert service_rules(local, []) == Rules()


@pytest.mark.parametrize(
    "nothing",
    [
        service("None"),
        service(""),
        service("fd00::1"),
        service("garbage"),
        service("10.96.0.10"),
        service(type="ExternalName"),
    ],
)
def test_services_that_have_no_address_here(nothing):
    assert service_rules(nothing, [slice_of("10.244.0.5")]) == Rules()


def test_malformed_endpoints_are_left_out():
    assert targets(service_rules(service(), [slice_of("nonsense", "10.244.0.5")])) == [("10.244.0.5", 8080)]


def test_affinity_needs_a_choice():
    assert Pool(2, True).chain == "sticky-2"
    assert Pool(1, True).chain == "endpoints-1"
    assert Pool(2).chain == "endpoints-2"


def changes(old, new, hairpins):
    made = _Changes()
    made.replace(old, new, hairpins)
    return {name: keys for name, keys in made._delete.items() if keys}, {n: e for n, e in made._add.items() if e}


def test_a_change_touches_what_differs():
    hairpins: Counter[bytes] = Counter()
    one = service_rules(service(), [slice_of("10.244.0.5")])
    both = service_rules(service(), [slice_of("10.244.0.5", "10.244.0.6")])
    assert changes(Rules(), Rules(), hairpins) == ({}, {})
    changes(Rules(), one, hairpins)
    assert changes(one, one, hairpins) == ({}, {})
    vip = key("10.96.1.2", TCP, 80)
    deleted, added = changes(one, both, hairpins)
    assert deleted == {"services": [vip]}
    assert added == {
        "services": [(vip, Goto("endpoints-2"))],
        "endpoints": [(key("10.96.1.2", TCP, 80, 1), concatenate(octets("10.244.0.6"), port(8080)))],
        "hairpin": [(octets("10.244.0.6") * 2, None)],
    }
    other = service_rules(service("10.96.1.3"), [slice_of("10.244.0.5")])
    assert "hairpin" not in changes(Rules(), other, hairpins)[1], "already there for the first service"
    assert changes(both, Rules(), hairpins)[0]["hairpin"] == [octets("10.244.0.6") * 2]
    assert changes(other, Rules(), hairpins)[0]["hairpin"] == [octets("10.244.0.5") * 2]
    assert not hairpins


def test_large_changes_are_split_with_services_last():
    made = _Changes()
    hairpins: Counter[bytes] = Counter()
    for index in range(1500):
        rules = service_rules(service(f"10.97.{index // 250}.{index % 250}"), [slice_of("10.244.0.5", "10.244.0.6")])
        made.replace(Rules(), rules, hairpins)
    batches = list(made.batches(set()))
    assert len(batches) == 4
    assert [message.what for message in batches[-1].messages][-1] == "nftables kube-proxy: add elements of services"
    assert all(sum(len(message.body) for message in batch.messages) < 400_000 for batch in batches)


def test_an_attribute_never_outgrows_its_length_field():
    batch = Batch("t")
    batch.add_elements("m", [(index.to_bytes(16, "big"), bytes(8)) for index in range(3000)])
    assert len(batch.messages) == 6
    assert max(len(message.body) for message in batch.messages) < 65535


def test_addresses_are_reused_last():
    addresses = Addresses("10.244.0.0/29")
    first = [addresses.allocate() for _ in range(4)]
    assert first == [f"10.244.0.{index}" for index in range(2, 6)]
    with pytest.raises(AddressesExhausted, match="no free pod address among 4"):
        addresses.allocate()
    addresses.release("10.244.0.4")
    addresses.release("10.244.0.2")
    addresses.release("10.244.0.2")
    addresses.release("192.0.2.1")
    assert [addresses.allocate(), addresses.allocate()] == ["10.244.0.4", "10.244.0.2"]
    with pytest.raises(AddressesExhausted):
        addresses.allocate()
