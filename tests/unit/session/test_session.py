"""The delta-ADS state machine against hand-written conversations: each test is one, told in order."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from ambientlab.mesh.session import Acked, Config, Fault, Rejected, Subscribed
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from support.peer import Peer, cluster, endpoints, listener, routes


def test_a_wildcard_gets_everything_and_later_only_what_changed(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a"), "b": cluster("b")})
    assert peer.sent() == []
    peer.request("CDS")
    assert peer.sent() == ["CDS +a +b"]
    a, b = cluster("a"), cluster("b")
    assert peer.ack("CDS") == [Acked(CLUSTER, {"a": a.version, "b": b.version})]
    peer.session.update(CLUSTER, {"a": cluster("a"), "b": cluster("b", "changed"), "c": cluster("c")})
    assert peer.sent() == ["CDS +b +c"]
    peer.ack("CDS")
    peer.session.update(CLUSTER, {}, removed=["a"])
    assert peer.sent() == ["CDS -a"]
    peer.ack("CDS")
    assert peer.sent() == []
    assert peer.session.synced
    assert set(peer.session.held(CLUSTER)) == {"b", "c"}


def test_an_empty_wildcard_is_answered_so_that_a_starting_proxy_goes_on(peer: Peer) -> None:
    peer.request("LDS")
    assert peer.sent() == ["LDS"]
    peer.ack("LDS")
    assert peer.sent() == []


def test_a_starting_proxy_gets_its_listeners_at_once_or_not_yet(peer: Peer) -> None:
    peer.take("CDS")
    peer.session.update(CLUSTER, {"a": cluster("a")})
    peer.session.update(LISTENER, {"l": listener("l")})
    assert peer.sent() == ["CDS +a"]
    peer.request("LDS")
    assert peer.sent() == []
    peer.ack("CDS")
    assert peer.sent() == ["LDS +l"]


def test_only_clusters_and_listeners_take_an_empty_subscription_for_all(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r")})
    peer.request("RDS")
    assert peer.sent() == []
    peer.request("RDS", "*")
    assert peer.sent() == ["RDS +r"]


def test_names_are_answered_one_by_one_also_when_they_do_not_exist(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r"), "other": routes("other")})
    assert peer.request("RDS", "r", "missing") == [Subscribed(ROUTES, ("r", "missing"))]
    assert peer.sent() == ["RDS +r -missing"]
    peer.ack("RDS")
    peer.session.update(ROUTES, {"missing": routes("missing")})
    assert peer.sent() == ["RDS +missing"]


def test_resources_named_in_answer_to_a_subscription_go_out_with_it(peer: Peer) -> None:
    [event] = peer.request("SDS", "spiffe://x")
    assert event == Subscribed(SECRET, ("spiffe://x",))
    peer.session.update(SECRET, {"spiffe://x": cluster("any message will do")})
    assert peer.sent() == ["SDS +spiffe://x"]


def test_asking_again_is_answered_again(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r")})
    peer.take("RDS", "r")
    peer.request("RDS", "r")
    assert peer.sent() == ["RDS +r"]


def test_what_is_owed_stays_so_when_nothing_changes_meanwhile(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r")})
    peer.take("RDS", "r")
    peer.request("RDS", "r")
    peer.session.update(ROUTES, {"r": routes("r")})
    assert peer.sent() == ["RDS +r"]


def test_what_is_unsubscribed_is_not_sent(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r"), "s": routes("s")})
    peer.take("RDS", "r", "s")
    peer.request("RDS", unsubscribe=("r",))
    peer.session.update(ROUTES, {"r": routes("r", "2"), "s": routes("s", "2")})
    assert peer.sent() == ["RDS +s"]


def test_a_name_unsubscribed_below_a_wildcard_is_sent_again(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a")})
    peer.request("CDS", "*", "a", "b")
    assert peer.sent() == ["CDS +a -b"]
    peer.ack("CDS")
    peer.request("CDS", unsubscribe=("a", "b"))
    assert peer.sent() == ["CDS +a -b"]
    peer.ack("CDS")
    peer.request("CDS", unsubscribe=("*",))
    peer.session.update(CLUSTER, {"a": cluster("a", "2")})
    assert peer.sent() == []


def test_a_reconnecting_proxy_gets_only_the_difference(peer: Peer) -> None:
    same, changed = cluster("same"), cluster("changed", "new")
    peer.session.update(CLUSTER, {"same": same, "changed": changed})
    peer.request("CDS", have={"same": same.version, "changed": "old", "gone": "old"})
    assert peer.sent() == ["CDS +changed -gone"]
    peer.session.update(ROUTES, {"r": routes("r"), "s": routes("s")})
    peer.request("RDS", "r", "s", "t", have={"r": routes("r").version, "t": "old"})
    peer.ack("CDS")
    assert peer.sent() == ["RDS +s"], "t is the proxy's to give up"


def test_changes_during_a_push_wait_for_its_answer_and_coalesce(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r", "1")})
    peer.request("RDS", "r")
    assert peer.sent() == ["RDS +r"]
    for marker in ("2", "3", "4"):
        peer.session.update(ROUTES, {"r": routes("r", marker)})
        assert peer.sent() == []
    peer.ack("RDS")
    [response] = peer.session.outgoing()
    assert [r.version for r in response.resources] == [routes("r", "4").version]


def test_a_bad_resource_is_singled_out_and_takes_no_other_down(peer: Peer) -> None:
    peer.session.update(CLUSTER, {n: cluster(n) for n in "abcd"})
    peer.request("CDS")
    assert peer.sent() == ["CDS +a +b +c +d"]
    assert peer.nack("CDS") == []
    assert peer.sent() == ["CDS +a +b"]
    peer.ack("CDS")
    assert peer.sent() == ["CDS +c +d"]
    peer.nack("CDS")
    assert peer.sent() == ["CDS +c"]
    refused = Rejected(CLUSTER, "c", cluster("c").version, "Invalid duration")
    assert peer.nack("CDS", "Invalid duration\n") == [refused]
    assert peer.sent() == ["CDS +d"]
    peer.ack("CDS")
    assert peer.sent() == []
    assert peer.session.rejections == [refused]
    assert set(peer.session.held(CLUSTER)) == {"a", "b", "d"}
    peer.session.update(CLUSTER, {"c": cluster("c", "mended"), "d": cluster("d", "2")})
    assert peer.sent() == ["CDS +c +d"]
    peer.ack("CDS")
    assert peer.session.rejections == []


def test_what_a_refused_push_may_have_brought_is_removed_when_it_is_to_go(peer: Peer) -> None:
    peer.session.update(LISTENER, {n: listener(n) for n in "abc"})
    peer.request("LDS")
    assert peer.sent() == ["LDS +a +b +c"]
    peer.session.update(LISTENER, {}, removed=["b"])
    peer.nack("LDS")
    assert not peer.session.in_force(LISTENER, "b")
    assert peer.sent() == ["LDS +a"]
    peer.ack("LDS")
    assert peer.sent() == ["LDS +c"]
    peer.ack("LDS")
    assert peer.sent() == ["LDS -b"]
    peer.ack("LDS")
    assert peer.session.in_force(LISTENER, "b")
    assert peer.sent() == []


def test_what_a_refused_push_may_have_changed_is_changed_back(peer: Peer) -> None:
    peer.session.update(LISTENER, {"a": listener("a"), "b": listener("b")})
    peer.take("LDS")
    peer.session.update(LISTENER, {"a": listener("a", "2"), "b": listener("b", "bad")})
    peer.sent()
    peer.session.update(LISTENER, {"a": listener("a")})
    peer.nack("LDS")
    assert not peer.session.in_force(LISTENER, "a")
    assert peer.sent() == ["LDS +b"]
    peer.nack("LDS")
    assert peer.sent() == ["LDS +a"]
    peer.ack("LDS")
    assert peer.session.in_force(LISTENER, "a")
    assert peer.sent() == []


def test_removals_are_separated_from_a_refused_push(peer: Peer) -> None:
    peer.session.update(LISTENER, {"a": listener("a"), "b": listener("b")})
    peer.take("LDS")
    peer.session.update(LISTENER, {"b": listener("b", "bad")}, removed=["a"])
    assert peer.sent() == ["LDS +b -a"]
    peer.nack("LDS")
    assert peer.sent() == ["LDS -a"]
    peer.ack("LDS")
    assert peer.sent() == ["LDS +b"]
    peer.nack("LDS")
    assert peer.sent() == []
    assert peer.session.held(LISTENER) == {"b": listener("b").version}


def test_a_removal_does_not_wait_until_all_that_is_refused_is_found(peer: Peer) -> None:
    peer.session.update(LISTENER, {name: listener(name) for name in "abcd"})
    peer.take("LDS")
    peer.session.update(LISTENER, {name: listener(name, "bad") for name in "bcd"}, removed=["a"])
    peer.sent()
    peer.nack("LDS")
    assert peer.sent() == ["LDS -a"]


def test_going_back_to_the_version_in_force_needs_no_push(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r")})
    peer.take("RDS", "r")
    peer.session.update(ROUTES, {"r": routes("r", "bad")})
    peer.sent()
    peer.nack("RDS")
    peer.session.update(ROUTES, {"r": routes("r")})
    assert peer.sent() == []
    assert peer.session.synced
    assert peer.session.rejections == []


def test_what_the_proxy_lets_go_of_is_refused_whenever_it_says_so(peer: Peer) -> None:
    a, b = listener("a"), listener("b")
    peer.session.update(LISTENER, {"a": a, "b": b})
    peer.request("LDS")
    assert peer.sent() == ["LDS +a +b"]
    assert peer.session.lost(LISTENER, "a", "cannot listen()") == []
    lost = [Rejected(LISTENER, "a", a.version, "cannot listen()"), Rejected(LISTENER, "b", b.version, "nor that")]
    assert peer.ack("LDS")[1:] == lost[:1]
    assert peer.session.lost(LISTENER, "b", "nor that") == lost[1:]
    assert peer.session.lost(LISTENER, "b", "again") == []
    assert peer.session.rejections == lost
    assert not peer.session.held(LISTENER)
    assert peer.sent() == []
    peer.session.update(LISTENER, {}, removed=["a"])
    assert peer.sent() == []
    peer.session.update(LISTENER, {"a": a})
    assert peer.sent() == ["LDS +a"]
    assert len(peer.ack("LDS")) == 1
    assert peer.session.in_force(LISTENER, "a")


def test_what_the_proxy_lets_go_of_is_refused_although_others_are_under_way(peer: Peer) -> None:
    peer.session.update(LISTENER, {"a": listener("a")})
    peer.take("LDS")
    peer.session.update(LISTENER, {"b": listener("b")})
    assert peer.sent() == ["LDS +b"]
    assert [event.name for event in peer.session.lost(LISTENER, "a", "gone") if isinstance(event, Rejected)] == ["a"]
    assert [rejected.name for rejected in peer.session.rejections] == ["a"]


def test_clusters_wait_for_the_removal_of_listeners_that_is_under_way(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"c": cluster("c")})
    peer.session.update(LISTENER, {"l": listener("l")})
    peer.take("CDS")
    peer.take("LDS")
    peer.session.update(LISTENER, {}, removed=["l"])
    assert peer.sent() == ["LDS -l"]
    peer.session.update(CLUSTER, {}, removed=["c"])
    assert peer.sent() == []
    peer.ack("LDS")
    assert peer.sent() == ["CDS -c"]


def test_routes_wait_until_the_clusters_they_name_are_warm(peer: Peer) -> None:
    peer.request("CDS")
    peer.session.update(ROUTES, {"r": routes("r", "v1")})
    peer.sent()
    peer.ack("CDS")
    peer.take("RDS", "r")
    peer.session.update(CLUSTER, {"v2": cluster("v2", eds=True)})
    peer.session.update(ENDPOINTS, {"v2": endpoints("v2")})
    peer.session.update(ROUTES, {"r": routes("r", "v2")})
    assert peer.sent() == ["CDS +v2"]
    peer.request("EDS", "v2")
    assert peer.sent() == ["EDS +v2"]
    peer.ack("EDS")
    assert peer.sent() == []
    peer.ack("CDS")
    assert peer.sent() == ["RDS +r"]


def test_routes_wait_for_clusters_that_are_sent_once_more(peer: Peer) -> None:
    """Also while nothing but the removals of a refused push is under way."""
    peer.session.update(CLUSTER, {"a": cluster("a")})
    peer.session.update(ROUTES, {"r": routes("r")})
    peer.take("CDS")
    peer.take("LDS")
    peer.take("RDS", "r")
    peer.session.update(CLUSTER, {"b": cluster("b")}, removed=["a"])
    assert peer.sent() == ["CDS +b -a"]
    peer.session.update(ROUTES, {"r": routes("r", "b")})
    peer.nack("CDS")
    assert peer.sent() == ["CDS -a"]
    peer.ack("CDS")
    assert peer.sent() == ["CDS +b"]
    peer.ack("CDS")
    assert peer.sent() == ["RDS +r"]


def test_clusters_go_only_after_nothing_refers_to_them(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"old": cluster("old")})
    peer.session.update(ROUTES, {"r": routes("r", "old")})
    peer.take("CDS")
    peer.take("RDS", "r")
    peer.session.update(CLUSTER, {"new": cluster("new")}, removed=["old"])
    peer.session.update(ROUTES, {"r": routes("r", "new")})
    assert peer.sent() == ["CDS +new"]
    peer.ack("CDS")
    assert peer.sent() == ["RDS +r"]
    assert not peer.session.synced
    peer.nack("RDS")
    assert peer.sent() == [], "the route in force still names the old cluster"
    peer.session.update(ROUTES, {"r": routes("r", "new, mended")})
    assert peer.sent() == ["RDS +r"]
    peer.ack("RDS")
    assert peer.sent() == ["CDS -old"]


def test_what_leaves_together_leaves_when_the_proxy_has_no_use_for_it(peer: Peer) -> None:
    """Requests on connections that Envoy drains need the routes and the clusters of what has gone."""
    for service in ("a", "b"):
        peer.session.update(CLUSTER, {service: cluster(service)})
        peer.session.update(ROUTES, {service: routes(service, service)})
    peer.take("CDS")
    peer.take("RDS", "a", "b")
    for service in ("a", "b"):
        peer.session.update(CLUSTER, {}, removed=[service])
        peer.session.update(ROUTES, {}, removed=[service])
        assert peer.sent() == []
        assert peer.session.synced, "nothing waits for this"
        if service == "a":
            peer.request("RDS", unsubscribe=("a",))
            assert peer.sent() == ["CDS -a"]
            peer.ack("CDS")
    peer.session.update(CLUSTER, {"b": cluster("b", "another")})
    assert not peer.session.synced
    assert peer.sent() == ["CDS +b"]
    peer.ack("CDS")
    peer.request("RDS", unsubscribe=("b",))
    assert peer.sent() == []


def test_clusters_do_not_wait_for_what_leaves_after_them(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a")})
    peer.session.update(ROUTES, {name: routes(name, "a") for name in ("a", "b")})
    peer.take("CDS")
    peer.take("RDS", "a", "b")
    peer.session.update(CLUSTER, {}, removed=["a"])
    peer.session.update(ROUTES, {}, removed=["a"])
    assert peer.sent() == []
    peer.session.update(ROUTES, {}, removed=["b"])
    peer.request("RDS", unsubscribe=("a",))
    assert peer.sent() == ["CDS -a"]


def test_a_changed_cluster_is_sent_its_endpoints_again_to_warm(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a", eds=True), "b": cluster("b", eds=True)})
    peer.session.update(ENDPOINTS, {"a": endpoints("a"), "b": endpoints("b")})
    peer.request("CDS")
    peer.sent()
    peer.take("EDS", "a", "b")
    peer.ack("CDS")
    assert peer.sent() == []
    peer.session.update(CLUSTER, {"a": cluster("a", "changed", eds=True)})
    assert peer.sent() == ["CDS +a", "EDS +a"]


def test_a_cluster_that_finds_endpoints_in_another_way_is_removed_first_while_a_proxy_starts(peer: Peer) -> None:
    peer.session.update(CLUSTER, {"a": cluster("a", eds=True), "b": cluster("b"), "c": cluster("c")})
    peer.take("CDS")
    changed = {"a": cluster("a"), "b": cluster("b", eds=True), "c": cluster("c", "changed"), "d": cluster("d")}
    peer.session.update(CLUSTER, changed)
    assert peer.sent() == ["CDS +c +d -a -b"]
    peer.request("LDS")
    assert peer.sent() == []
    peer.ack("CDS")
    assert peer.sent() == ["CDS +a +b"]
    peer.ack("CDS")
    assert peer.sent() == ["LDS"]
    peer.session.update(CLUSTER, {"a": cluster("a", eds=True)})
    assert peer.sent() == ["CDS +a"]


@pytest.mark.parametrize(
    "request_",
    [
        DeltaDiscoveryRequest(type_url=ROUTES, response_nonce="never sent"),
        DeltaDiscoveryRequest(type_url="type.googleapis.com/of.something.Else"),
        DeltaDiscoveryRequest(),
    ],
)
def test_nonsense_is_a_fault_and_changes_nothing(peer: Peer, request_: DeltaDiscoveryRequest) -> None:
    peer.session.update(ROUTES, {"r": routes("r")})
    peer.request("RDS", "r")
    before = peer.sent()
    [fault] = peer.session.receive(request_)
    assert isinstance(fault, Fault)
    assert before == ["RDS +r"]
    assert peer.sent() == []
    assert isinstance(peer.ack("RDS")[0], Acked)


def test_a_refused_removal_is_reported_and_not_repeated(peer: Peer) -> None:
    peer.session.update(LISTENER, {"a": listener("a")})
    peer.take("LDS")
    peer.session.update(LISTENER, {}, removed=["a"])
    peer.sent()
    assert isinstance(peer.nack("LDS")[0], Fault)
    assert peer.sent() == []


def test_a_reason_is_one_line_without_the_message_it_is_about(peer: Peer) -> None:
    peer.session.update(ROUTES, {"r": routes("r", "bad")})
    peer.request("RDS", "r")
    peer.sent()
    said = 'goo.gle/debugproto  name: "r"\nvirtual_hosts {\n}\n: Proto constraint validation failed (Route: bad\n path)'
    [rejected] = peer.nack("RDS", said)
    assert isinstance(rejected, Rejected)
    assert rejected.detail == "Proto constraint validation failed (Route: bad path)"


def test_versions_depend_on_content_alone() -> None:
    assert cluster("a").version == cluster("a").version
    assert cluster("a").version != cluster("a", "x").version
    assert cluster("a", eds=True).endpoints == "a"
    named = Cluster(name="a", type=Cluster.EDS)
    named.eds_cluster_config.service_name = "b"
    assert Config.of(named).endpoints == "b"
