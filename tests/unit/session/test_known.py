"""What a session knows of its proxy: what it runs, what it has refused, and whether that is all."""

from __future__ import annotations

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from ambientlab.mesh.session import Fault, Rejected
from ambientlab.mesh.xds.types import CLUSTER, LISTENER, ROUTES
from support.peer import Peer, cluster, listener, routes


def test_who_is_synced_runs_all_that_it_asks_for(peer: Peer) -> None:
    seen = []

    def look() -> None:
        seen.append(peer.session.synced)

    peer.session.update(LISTENER, {"l": listener("l")})
    peer.take("LDS")
    look()
    peer.session.update(LISTENER, {"l": listener("l")})
    look()
    peer.session.update(LISTENER, {}, removed=["l"])
    look()
    peer.sent()
    look()
    peer.ack("LDS")
    look()
    assert seen == [True, True, False, False, True]


def test_what_a_proxy_runs_and_how_far_it_is(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r"), "s": routes("s")})
    assert peer.session.progress(ROUTES) is None
    peer.request("RDS", "r")
    peer.sent()
    assert peer.session.progress(ROUTES) == ("1", "")
    assert not peer.session.in_force(ROUTES, "r")
    peer.ack("RDS")
    assert peer.session.progress(ROUTES) == ("1", "1")
    assert peer.session.in_force(ROUTES, "r")
    assert peer.session.wanted(ROUTES).keys() == {"r"}
    peer.session.update(ROUTES, {"r": routes("r", "2")})
    assert not peer.session.in_force(ROUTES, "r")


def test_an_empty_answer_may_be_refused(peer: Peer) -> None:
    peer.request("LDS")
    assert peer.sent() == ["LDS"]
    peer.nack("LDS")
    assert peer.session.rejections == []
    peer.session.update(LISTENER, {"l": listener("l")})
    assert peer.sent() == ["LDS +l"]


def test_an_answer_that_comes_twice_is_a_fault(peer: Peer) -> None:
    peer.session.update(LISTENER, {"l": listener("l")})
    peer.take("LDS")
    [fault] = peer.session.receive(DeltaDiscoveryRequest(type_url=LISTENER, response_nonce="1"))
    assert isinstance(fault, Fault)
    assert peer.session.held(LISTENER).keys() == {"l"}


def test_who_gives_up_the_wildcard_keeps_what_it_named(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a"), "b": cluster("b")})
    peer.take("CDS", "*", "a")
    peer.request("CDS", unsubscribe=("*",))
    assert peer.session.held(CLUSTER).keys() == {"a"}


def test_unsubscribing_from_what_was_not_named_changes_nothing(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a")})
    peer.take("CDS")
    peer.request("CDS", unsubscribe=("a",))
    assert peer.session.held(CLUSTER).keys() == {"a"}
    assert peer.sent() == []


def test_what_is_gone_before_it_is_refused_is_no_rejection(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a", "bad")})
    peer.request("CDS")
    peer.sent()
    peer.session.update(CLUSTER, {}, removed=["a"])
    [event] = peer.nack("CDS")
    assert isinstance(event, Rejected)
    assert peer.session.rejections == []


def test_a_rejection_ends_when_the_proxy_asks_no_more(peer: Peer) -> None:
    """As of a credential, for as long as the waypoint drains what was made with it."""
    peer.session.update(ROUTES, {"r": routes("r", "bad")})
    peer.request("RDS", "r")
    peer.sent()
    peer.nack("RDS")
    assert [rejected.name for rejected in peer.session.rejections] == ["r"]
    peer.request("RDS", unsubscribe=("r",))
    assert peer.session.rejections == []


def test_what_is_refused_says_nothing_of_the_version_after_it(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r", "bad")})
    peer.request("RDS", "r")
    peer.sent()
    peer.nack("RDS")
    assert peer.session.rejection(ROUTES, "r") is not None
    peer.session.update(ROUTES, {"r": routes("r", "better")})
    assert peer.session.rejection(ROUTES, "r") is None


def test_a_rejection_ends_with_the_resource(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r", "bad")})
    peer.request("RDS", "r")
    peer.sent()
    peer.nack("RDS")
    peer.session.update(ROUTES, {}, removed=["r"])
    assert peer.session.rejections == []


def test_what_is_taken_back_before_it_is_refused_is_no_rejection(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a"), "b": cluster("b")})
    peer.take("CDS")
    peer.session.update(CLUSTER, {"a": cluster("a", "bad")})
    peer.sent()
    peer.session.update(CLUSTER, {"a": cluster("a")})
    [event] = peer.nack("CDS")
    assert isinstance(event, Rejected)
    assert peer.session.rejections == []
    assert peer.session.in_force(CLUSTER, "a")
