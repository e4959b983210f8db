"""Which way a request goes: who is captured, which waypoint, which endpoint; without any route."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ambientlab.mesh.decide import (
    Answered,
    Delivered,
    Failed,
    Reason,
    Request,
    Result,
    Why,
    by_answer,
    by_workload,
    decide,
)
from ambientlab.mesh.explain import words
from ambientlab.mesh.ir import Key, Protocol
from support import hello_rules
from support.decisions import CURL, HELLO, ask, case, indexed, objects_in, versions, world
from support.explanations import explained_in

HALF = Fraction(1, 2)
HOST = "helloworld.hello.svc.cluster.local"
WAYPOINT = Key("hello", "waypoint")
NEIGHBOUR = Key("hello", "helloworld-v1-5787f49bd8-ln7qr")
LEAVE_THE_WAYPOINT = """
apiVersion: v1
kind: Namespace
metadata: {name: hello, labels: {istio.io/dataplane-mode: ambient}}
"""
SPLIT = f"{hello_rules.SPLIT}---\n"


def test_without_a_waypoint_connections_are_spread_evenly_and_a_virtual_service_is_ignored() -> None:
    decision = ask(SPLIT + LEAVE_THE_WAYPOINT)
    assert (decision.waypoint, decision.why, decision.routing) == (None, Why.NO_WAYPOINT, None)
    assert versions(decision) == {"v1": HALF, "v2": HALF}


def test_with_a_waypoint_the_virtual_service_decides() -> None:
    decision = ask(SPLIT)
    assert (decision.waypoint, decision.why) == (WAYPOINT, Why.SERVICE)
    assert versions(decision) == {"v1": Fraction(95, 100), "v2": Fraction(5, 100)}


@pytest.mark.parametrize("client", [None, Key("httpbin", "httpbin-686d6fc899-2x7hk")])
def test_a_client_outside_the_mesh_passes_the_waypoint_by(client: Key | None) -> None:
    decision = ask(SPLIT, client=client, url="http://helloworld.hello.svc.cluster.local:5000")
    assert (decision.waypoint, decision.why) == (None, Why.NOT_CAPTURED)
    assert versions(decision) == {"v1": HALF, "v2": HALF}
    assert {result.hop.protocol for result in decision.delivered()} == {Protocol.TCP}


def test_a_waypoint_without_rules_balances_requests_evenly() -> None:
    decision = ask("")
    assert decision.routing is not None
    assert decision.routing.table is None
    assert versions(decision) == {"v1": HALF, "v2": HALF}


def test_a_canary_gets_its_share() -> None:
    canary = """
apiVersion: v1
kind: Service
metadata:
  name: helloworld
  namespace: hello
  labels: {istio.io/use-waypoint-canary: next}
  annotations: {istio.io/use-waypoint-canary-weight: "10"}
spec: {clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ports: [{name: http, port: 5000, protocol: TCP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: next, namespace: hello}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.96.0.8}]}
---
"""
    instance = """
apiVersion: v1
kind: Pod
metadata: {name: next-1, namespace: hello, labels: {gateway.networking.k8s.io/gateway-name: next}}
spec: {serviceAccountName: next, nodeName: ambientlab}
status: {phase: Running, podIP: 10.244.0.8, conditions: [{type: Ready, status: "True"}]}
---
"""

    def shares(objects: str) -> dict[str, Fraction]:
        decision = ask(SPLIT + objects)
        assert decision.waypoint == WAYPOINT
        assert versions(decision) == {"v1": Fraction(95, 100), "v2": Fraction(5, 100)}
        return decision.distribution(lambda end: end.hop.source_identity if isinstance(end, Delivered) else "")

    waypoint, following = (f"spiffe://cluster.local/ns/hello/sa/{name}" for name in ("waypoint", "next"))
    assert shares(canary) == {waypoint: 1}, "one without instances gets none"
    assert shares(canary + instance) == {waypoint: Fraction(9, 10), following: Fraction(1, 10)}


def test_both_legs_are_tunnels_with_the_identities_of_their_ends() -> None:
    decision = ask("")
    [passage] = decision.passages
    hop = passage.hop
    assert (hop.protocol, hop.endpoint, hop.waypoint) == (Protocol.HBONE, "10.96.0.9:15008", WAYPOINT)
    assert hop.source_identity == "spiffe://cluster.local/ns/test/sa/curl"
    assert hop.target_identity == "spiffe://cluster.local/ns/hello/sa/waypoint"
    last = {result.hop for result in decision.delivered()}
    assert {(leg.protocol, leg.source_identity, leg.target_identity) for leg in last} == {
        (Protocol.HBONE, hop.target_identity, "spiffe://cluster.local/ns/hello/sa/default")
    }
    assert {leg.endpoint for leg in last} == {"10.244.0.11:5000", "10.244.0.12:5000"}


def test_an_endpoint_outside_the_mesh_is_reached_in_plain_tcp() -> None:
    [outcome] = ask("", "http://httpbin.httpbin:8000/get").outcomes
    assert isinstance(outcome.result, Delivered)
    assert outcome.result.hop.protocol is Protocol.TCP
    assert outcome.result.hop.endpoint == "10.244.0.31:8080"


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("helloworld.hello", True),
        ("helloworld.hello.svc", True),
        ("HelloWorld.hello.svc.cluster.local", True),
        ("helloworld.hello.svc.cluster.local.", True),
        ("10.96.0.20", True),
        ("helloworld", False),
        ("helloworld.hello.", False),
    ],
)
def test_names_are_looked_up_as_in_the_clients_pod(host: str, found: bool) -> None:
    decision = ask("", f"http://{host}:5000")
    assert (decision.target.service != "") is found
    if not found:
        [outcome] = decision.outcomes
        assert outcome.result == Failed(Reason.UNRESOLVED)


def test_the_address_of_a_pod_is_no_service() -> None:
    decision = ask(SPLIT, "http://10.244.0.12:5000")
    assert (decision.why, decision.routing) == (Why.NO_WAYPOINT, None)
    assert decision.target.workload == Key("hello", "helloworld-v2-6746879bdd-l2qgw")
    assert versions(decision) == {"v2": 1}


def test_a_pod_with_a_waypoint_of_its_own_is_reached_through_it_and_routed_by_nothing() -> None:
    for_all = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: hello, labels: {istio.io/waypoint-for: all}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
status: {addresses: [{type: IPAddress, value: 10.96.0.9}]}
"""
    decision = ask(f"{SPLIT}{for_all}", "http://10.244.0.12:5000")
    assert (decision.waypoint, decision.why, decision.routing) == (WAYPOINT, Why.WORKLOAD, None)
    assert versions(decision) == {"v2": 1}


def test_a_name_without_an_address_of_its_own_stands_for_its_endpoints() -> None:
    headless = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello, labels: {istio.io/use-waypoint: none}}
spec: {clusterIP: None, clusterIPs: [None], ports: [{name: http, port: 5000, protocol: TCP}]}
"""
    assert versions(ask(headless)) == {"v1": HALF, "v2": HALF}


def test_a_headless_service_is_reached_past_its_waypoint() -> None:
    headless = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello}
spec: {clusterIP: None, clusterIPs: [None], ports: [{name: http, port: 5000, protocol: TCP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all-to-v1, namespace: hello}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld, port: 5000}]
  rules: [{backendRefs: [{name: helloworld-v1, port: 5000}]}]
"""
    decision = ask(headless)
    assert (decision.waypoint, decision.why, versions(decision)) == (None, Why.NO_WAYPOINT, {"v1": HALF, "v2": HALF})
    index = indexed(*world(), *objects_in(headless))
    said = [one.message for one in index.diagnostics() if one.object.kind == "HTTPRoute"]
    assert said == [f"no effect on {HOST}: it is headless, and connections to its pods go past the waypoint"]
    found = explained_in(index, "http://helloworld.hello:5000/hello")
    assert [each.message for each in found.ignored] == said
    assert found.waypoint.why == "it is headless, and connections to its pods go past the waypoint"


def test_what_cannot_work_fails_with_a_reason() -> None:
    gone = """
apiVersion: v1
kind: Pod
metadata:
  name: waypoint-7d9f-xxxxx
  namespace: hello
  labels: {gateway.networking.k8s.io/gateway-name: waypoint}
spec: {serviceAccountName: waypoint, nodeName: ambientlab}
status: {phase: Running, podIP: 10.244.0.9, conditions: [{type: Ready, status: "False"}]}
"""
    for text, url, reason in [
        ("", "http://helloworld.hello:81", Reason.NO_PORT),
        (LEAVE_THE_WAYPOINT, "http://helloworld.hello:81", Reason.NO_PORT),
        (gone, HELLO, Reason.NO_ENDPOINT),
        ("", "https://helloworld.hello:5000", Reason.PROTOCOL),
        ("", "http://nowhere.hello", Reason.UNRESOLVED),
    ]:
        [outcome] = ask(text, url).outcomes
        assert outcome.result == Failed(reason)
        assert by_answer(outcome.result) == "000"


def test_tls_passes_a_waypoint_where_the_protocol_is_found_out() -> None:
    unnamed = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello}
spec: {clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ports: [{name: http, port: 5000, appProtocol: unknown}]}
"""
    text = SPLIT + unnamed
    assert ask(text, "http://helloworld.hello:5000").routing is not None
    decision = ask(text, "https://helloworld.hello:5000")
    assert (decision.waypoint, decision.routing) == (WAYPOINT, None)
    assert versions(decision) == {"v1": HALF, "v2": HALF}


def test_an_outside_address_is_passed_through() -> None:
    decision = ask("", "http://192.0.2.7/")
    assert decision.why is Why.OUTSIDE
    assert decision.distribution(by_workload) == {"192.0.2.7": 1}


def test_who_asks_must_be_somebody() -> None:
    with pytest.raises(KeyError):
        decide(indexed(*world()).mesh, Key("test", "nobody"), Request.to(HELLO))
    with pytest.raises(ValueError, match="no URL"):
        Request.to("ftp://helloworld.hello")
    assert objects_in("") == []
    assert ask("", client=CURL).source.captured


@pytest.mark.parametrize(
    ("name", "url", "ends"),
    [
        ("serviceentry_dns", "http://api.example.com/", {"api.example.com:8080": Fraction(1)}),
        (
            "serviceentry_dns",
            "http://mirror.example.com/",
            {n: Fraction(1, 3) for n in ("eu.example.com:8001", "us.example.com:80", "192.0.2.9:80")},
        ),
        ("serviceentry_none", "http://legacy.example.com/", {"198.51.100.7:8080": Fraction(1)}),
        ("serviceentry_none", "http://198.51.100.8/", {"198.51.100.8:8080": Fraction(1)}),
    ],
)
def test_a_serviceentry_with_a_waypoint(name: str, url: str, ends: dict[str, Fraction]) -> None:
    decision = ask(case(name), url)
    assert (decision.waypoint, decision.why) == (WAYPOINT, Why.SERVICE)
    assert decision.distribution(far_end) == ends


@pytest.mark.parametrize(
    ("name", "url", "end"),
    [
        ("serviceentry_dns", "http://one.example.net/", "one.example.net:80"),
        ("serviceentry_none", "http://direct.example.com/", "198.51.100.9:80"),
    ],
)
def test_a_serviceentry_without_a_waypoint(name: str, url: str, end: str) -> None:
    decision = ask(case(name), url)
    assert (decision.waypoint, decision.why) == (None, Why.NO_WAYPOINT)
    assert decision.distribution(far_end) == {end: 1}


@pytest.mark.parametrize(
    ("client", "url", "ends"),
    [
        (CURL, "http://shared.example.com/", {"192.0.2.21:80": 1}),
        (NEIGHBOUR, "https://shared.example.com/", {"shared.example.com:443": 1}),
        (NEIGHBOUR, "http://240.240.0.21/", {"192.0.2.21:80": 1}),
        (CURL, "https://240.240.0.22/", {"shared.example.com:443": 1}),
        (CURL, "http://helloworld.hello.svc.cluster.local:5000/", {"192.0.2.31:5000": 1}),
        (CURL, "http://helloworld.hello:5000/", {"192.0.2.31:5000": 1}),
        (NEIGHBOUR, "http://helloworld:5000/", {"192.0.2.42:80": HALF, "192.0.2.43:80": HALF}),
        (CURL, "http://routed.example.com/", {"192.0.2.41:80": 1}),
        (NEIGHBOUR, "http://routed.example.com/", {"192.0.2.43:80": 1}),
        (CURL, "http://240.240.0.42/", {"192.0.2.43:80": 1}),
    ],
)
def test_a_name_means_what_the_clients_namespace_says(client: Key, url: str, ends: dict[str, Fraction]) -> None:
    """istio/ztunnel, src/state/service.rs, get_best_by_host; an address means the same to all."""
    assert ask(case("serviceentry_meanings"), url, client=client).distribution(far_end) == ends


def test_a_serviceentry_means_nothing_outside_the_mesh() -> None:
    decision = ask(case("serviceentry_none"), "http://legacy.example.com/", client=None)
    assert (decision.waypoint, decision.why) == (None, Why.NOT_CAPTURED)
    assert decision.distribution(far_end) == {"198.51.100.7:80": 1}


def far_end(result: Result) -> str:
    return result.hop.endpoint if isinstance(result, Delivered) else by_answer(result)


def test_connections_are_shared_by_a_tcp_route_and_closed_where_it_names_nothing() -> None:
    tcp = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello}
spec: {clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ports: [{name: tcp, port: 5000, protocol: TCP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: helloworld, namespace: hello}
spec:
  hosts: [helloworld]
  tcp:
  - route:
    - {destination: {host: helloworld-v1}, weight: 70}
    - {destination: {host: helloworld-v9}, weight: 30}
"""
    decision = ask(tcp)
    [passage] = decision.passages
    assert passage.routing is None
    assert passage.connections is not None
    assert passage.connections.origin == ("VirtualService", Key("hello", "helloworld"))
    assert versions(decision) == {"v1": Fraction(7, 10), "000": Fraction(3, 10)}


@pytest.mark.parametrize(
    ("subset", "shares"),
    [
        ("by-distance", {"near": Fraction(1)}),
        ("not-at-all", {n: Fraction(1, 5) for n in ("near", "same-zone", "same-region", "far", "farther")}),
        (
            "by-share",
            {
                "near": Fraction(35, 100),
                "same-zone": Fraction(35, 100),
                "same-region": Fraction(20, 100),
                "far": Fraction(10, 100),
            },
        ),
    ],
)
def test_endpoints_are_preferred_by_where_they_are(subset: str, shares: dict[str, Fraction]) -> None:
    route = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: helloworld, namespace: hello}}
spec: {{hosts: [helloworld], http: [{{route: [{{destination: {{host: helloworld, subset: {subset}}}}}]}}]}}
"""
    decision = ask(case("destinationrule_localities") + route)
    assert decision.distribution(by_workload) == {f"hello/{name}": share for name, share in shares.items()}


def test_a_wildcard_takes_what_the_request_is_for_and_nothing_else() -> None:
    name = case("serviceentry_wildcard")
    decision = ask(name, "http://a.example.com/")
    assert (decision.target.service, decision.waypoint) == ("*.example.com", WAYPOINT)
    assert decision.distribution(far_end) == {"a.example.com:80": 1}
    assert ask(name, "http://a.example.com/", headers={"Host": "other.org"}).distribution(by_answer) == {"404": 1}


def test_only_a_waypoint_passes_connections_through_as_a_destinationrule_asks() -> None:
    rule = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: helloworld, namespace: hello}
spec: {host: helloworld, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
"""
    assert ask(rule).distribution(far_end) == {"10.96.0.20:5000": 1}
    assert versions(ask(LEAVE_THE_WAYPOINT + rule)) == {"v1": HALF, "v2": HALF}


def connection_policy(spec: str, kind: str = "AuthorizationPolicy") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: {kind}
metadata: {{name: p, namespace: hello}}
spec: {spec}
---
"""


V1 = "selector: {matchLabels: {version: v1}}"


def test_ztunnel_refuses_what_a_policy_of_the_workload_denies() -> None:
    rules = "[{from: [{source: {namespaces: [other]}}]}, {from: [{source: {namespaces: [test]}}]}]"
    spec = f"{{{V1}, action: DENY, rules: {rules}}}"
    decision = ask(connection_policy(spec) + LEAVE_THE_WAYPOINT)
    assert versions(decision) == {"v2": HALF, "000": HALF}
    (refused,) = (o.result for o in decision.outcomes if isinstance(o.result, Failed))
    assert (refused.reason, str(refused.admission)) == (Reason.DENIED, "explicitly denied by: hello/p")
    assert refused.admission.rule == 1
    (passed,) = decision.delivered()
    assert str(passed.admission) == "no policy"


def test_a_waypoint_shows_its_own_identity_to_the_workload() -> None:
    """What was written for the client's shuts the waypoint out, and the client sees a 503."""
    spec = f"{{{V1}, rules: [{{from: [{{source: {{serviceAccounts: [test/curl]}}}}]}}]}}"
    decision = ask(connection_policy(spec))
    assert versions(decision) == {"v2": HALF, "503": HALF}
    spec = f"{{{V1}, rules: [{{from: [{{source: {{serviceAccounts: [waypoint]}}}}]}}]}}"
    decision = ask(connection_policy(spec))
    assert versions(decision) == {"v1": HALF, "v2": HALF}
    assert {str(passed.admission) for passed in decision.delivered()} == {"allowed by: hello/p", "no policy"}
    direct = ask(connection_policy(spec) + LEAVE_THE_WAYPOINT)
    assert versions(direct) == {"v2": HALF, "000": HALF}


def test_strict_mtls_shuts_out_who_is_not_in_the_mesh() -> None:
    strict = connection_policy("{mtls: {mode: STRICT}}", "PeerAuthentication")
    url = "http://helloworld.hello.svc.cluster.local:5000"
    decision = ask(strict + LEAVE_THE_WAYPOINT, client=Key("httpbin", "httpbin-686d6fc899-2x7hk"), url=url)
    assert versions(decision) == {"000": Fraction(1)}
    reasons = {str(o.result.admission) for o in decision.outcomes if isinstance(o.result, Failed)}
    assert reasons == {"explicitly denied by: istio-system/istio_converted_static_strict"}
    assert versions(ask(strict + LEAVE_THE_WAYPOINT)) == {"v1": HALF, "v2": HALF}


def test_nothing_is_enforced_before_a_workload_outside_the_mesh() -> None:
    deny = "{action: DENY, rules: [{}]}"
    decision = ask(
        connection_policy(deny).replace("namespace: hello", "namespace: httpbin"), url="http://httpbin.httpbin:8000"
    )
    assert {by_answer(outcome.result) for outcome in decision.outcomes} == {"delivered"}


def test_the_port_is_the_workloads() -> None:
    deny = f"{{{V1}, action: DENY, rules: [{{to: [{{operation: {{ports: ['%d']}}}}]}}]}}"
    for port, expected in ((5000, {"v2": HALF, "000": HALF}), (5001, {"v1": HALF, "v2": HALF})):
        assert versions(ask(connection_policy(deny % port) + LEAVE_THE_WAYPOINT)) == expected


DISTRIBUTED = """
apiVersion: v1
kind: Node
metadata: {name: ambientlab, labels: {topology.kubernetes.io/region: us, topology.kubernetes.io/zone: z1}}
---
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: hello}
spec:
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20]
  ports: [{name: http, port: 5000, protocol: TCP}]
  %s
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: elsewhere, namespace: hello, labels: {kubernetes.io/service-name: helloworld}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.9], conditions: {ready: true}}]
ports: [{name: http, port: 5000, protocol: TCP}]
---
"""


@pytest.mark.parametrize("waypoint", [True, False])
@pytest.mark.parametrize("field", ["trafficDistribution: PreferClose", "internalTrafficPolicy: Local"])
def test_endpoints_that_are_near_come_before_others(field: str, waypoint: bool) -> None:
    decision = ask(DISTRIBUTED % field + ("" if waypoint else LEAVE_THE_WAYPOINT))
    assert {result.endpoint.address for result in decision.delivered()} == {"10.244.0.11", "10.244.0.12"}


@pytest.mark.parametrize(
    ("field", "addresses"), [("trafficDistribution: PreferClose", 3), ("internalTrafficPolicy: Local", 2)]
)
def test_the_node_knows_no_distance(field: str, addresses: int) -> None:
    decision = ask(DISTRIBUTED % field, client=None, url="http://helloworld.hello.svc.cluster.local:5000")
    assert len({result.endpoint.address for result in decision.delivered()}) == addresses


def test_a_waypoint_of_both_families_is_reached_by_that_of_the_address_called() -> None:
    decision = ask(case("dual_stack"), "http://[fd00:10:96::60]", client=Key("six", "web"))
    assert [passage.hop.endpoint for passage in decision.passages] == ["[fd00:10:96::70]:15008"]
    assert decision.passages[0].probability == 1
    decision = ask(case("dual_stack"), "http://helloworld.hello:5000", client=Key("six", "web"))
    assert [passage.hop.endpoint for passage in decision.passages] == ["10.96.0.9:15008"]


@pytest.mark.parametrize(
    ("client", "port", "said"),
    [
        (CURL, 15001, "ztunnel, whose own the port is: attempted recursive call to ourselves"),
        (CURL, 15008, "ztunnel, whose own the port is: attempted recursive call to ourselves"),
        (None, 15006, "ztunnel, whose own the port is: attempted recursive call to ourselves"),
        (None, 15008, "ztunnel, whose own the port is: port 15008 takes the tunnels of the mesh alone"),
    ],
)
def test_the_ports_of_ztunnel_are_nobodys(client: Key | None, port: int, said: str) -> None:
    """Whoever asks for them at a pod of the mesh, and by whatever way."""
    [outcome] = ask("", f"http://10.244.0.11:{port}", client=client).outcomes
    assert words.result(outcome.result) == f"no response ({said})"
    assert isinstance(outcome.result, Failed)
    assert outcome.result.reason is Reason.OWN_PORT
    [outside] = ask("", f"http://10.244.0.31:{port}", client=client).outcomes
    assert isinstance(outside.result, Delivered)


def test_a_waypoint_gets_no_answer_from_a_port_of_ztunnel() -> None:
    moved = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: helloworld-x, namespace: hello, labels: {kubernetes.io/service-name: helloworld}}
addressType: IPv4
ports: [{name: http, port: 15001, protocol: TCP}]
endpoints: [{addresses: [10.244.0.11], conditions: {ready: true}}]
"""
    own = [end for end in ask(moved).outcomes if isinstance(end.result, Answered)]
    assert {(end.result.status, end.result.reason) for end in own if isinstance(end.result, Answered)} == {
        (503, Reason.OWN_PORT)
    }


@pytest.mark.parametrize("client", [CURL, None])
@pytest.mark.parametrize("ip", ["10.96.0.9", "10.244.0.9"])
def test_a_waypoint_carries_nothing_to_itself(client: Key | None, ip: str) -> None:
    said = "the waypoint, whose own the port is: it carries what is meant for others, and nothing to itself"
    for scheme in ("http", "https"):
        [outcome] = ask("", f"{scheme}://{ip}:15008", client=client).outcomes
        assert words.result(outcome.result) == f"no response ({said})"
    [health] = ask("", f"http://{ip}:15021", client=client).outcomes
    assert isinstance(health.result, Delivered)
    assert health.result.hop.protocol is Protocol.TCP


def test_a_waypoint_as_the_backend_of_a_route() -> None:
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: odd, namespace: hello, generation: 1}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld}]
  rules: [{backendRefs: [{name: waypoint, port: 15008}]}]
"""
    [outcome] = ask(route).outcomes
    assert isinstance(outcome.result, Answered)
    assert (outcome.result.status, outcome.result.reason) == (503, Reason.WAYPOINT)


def test_what_a_pod_says_to_itself_meets_nothing_of_the_mesh() -> None:
    """Neither a waypoint of workloads nor policies; ports of ztunnel's stay what they are."""
    shut = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: hello, generation: 1, labels: {istio.io/waypoint-for: all}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
status:
  addresses: [{type: IPAddress, value: 10.96.0.9}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: hello}
spec: {}
"""
    v1, v2 = Key("hello", "helloworld-v1-5787f49bd8-ln7qr"), Key("hello", "helloworld-v2-6746879bdd-l2qgw")
    decision = ask(shut, "http://10.244.0.11:5000", client=v1)
    assert (decision.why, decision.waypoint, decision.passages) == (Why.ITSELF, None, ())
    [result] = decision.delivered()
    assert result.hop.protocol is Protocol.TCP
    assert ask(shut, "http://10.244.0.11:5000", client=v2).why is Why.WORKLOAD
    for port in (15006, 15008):
        [outcome] = ask("", f"http://10.244.0.11:{port}", client=v1).outcomes
        assert isinstance(outcome.result, Failed)
        assert outcome.result.reason is Reason.OWN_PORT
