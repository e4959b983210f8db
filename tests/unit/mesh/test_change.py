"""How much of the proxies' configuration a change touches."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.cluster import PROXY_PORTS
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, NODE_PROXY, ROUTES, Owned

GOLDEN = Path(__file__).parents[2] / "golden"
KINDS = {(r.api_version, r.kind): r for r in (*kinds.CORE, *kinds.SHIPPED_CRDS)}
WAYPOINT = Key("hello", "waypoint")
POD = Captured("1", "test", "curl", "10.244.0.10", "/run/netns/curl", "spiffe://cluster.local/ns/test/sa/curl")
CHAIN = "inbound-vip|5000|http|helloworld.hello.svc.cluster.local"


class Mesh:
    def __init__(self) -> None:
        self.index = MeshIndex()
        self.proxies = Proxies(self.index.graph, self.index.mesh)
        self.proxies.ztunnel.captured.set(Key("test", "curl"), POD)
        self.proxies.waypoints.served.set(WAYPOINT, WAYPOINT)
        self.proxies.resources.watch(lambda owned, _: self.news.append(owned))
        self.news: list[Owned] = []
        self.objects: dict[tuple[str, str], Object] = {}
        for name in ("worlds/hello.yaml", "cases/httproute_split.in.yaml"):
            for obj in yaml.safe_load_all((GOLDEN / name).read_text()):
                self.put(obj)
        self.changed()

    def put(self, obj: Object) -> None:
        self.objects[(obj["kind"], obj["metadata"]["name"])] = obj
        self.index.put(KINDS[(obj["apiVersion"], obj["kind"])], obj)

    def edited(self, kind: str, name: str) -> Any:
        return copy.deepcopy(self.objects[(kind, name)])

    def told(self, proxy: Key, type_url: str, name: str) -> Any:
        return self.proxies.resources[proxy, type_url, name]

    def chains(self) -> dict[str, bytes]:
        """Of the waypoint's listener for declared protocols, by name."""
        listener = self.told(WAYPOINT, LISTENER, "main_internal")
        return {chain.name: chain.SerializeToString(deterministic=True) for chain in listener.filter_chains}

    def changed(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """(type, name) of what is new, different or gone: for the node proxy, and for the waypoint."""
        self.index.settle()
        news, self.news = self.news, []
        node, waypoint = ({each[1:] for each in news if each[0] == proxy} for proxy in (NODE_PROXY, WAYPOINT))
        return node, waypoint


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


def test_new_weights_touch_one_route_configuration(mesh: Mesh) -> None:
    route = mesh.edited("HTTPRoute", "helloworld")
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = 50
    mesh.put(route)
    assert mesh.changed() == (set(), {(ROUTES, CHAIN)})


def test_a_new_split_of_connections_replaces_one_chain(mesh: Mesh) -> None:
    for obj in yaml.safe_load_all((GOLDEN / "cases/tcp_routes.in.yaml").read_text()):
        mesh.put(obj)
    mesh.changed()
    before = mesh.chains()
    split = mesh.edited("VirtualService", "echo")
    split["spec"]["tcp"][0]["route"][0]["weight"] = 50
    mesh.put(split)
    assert mesh.changed() == (set(), {(LISTENER, "main_internal")})
    after = mesh.chains()
    name = "inbound-vip|9000|tcp|echo.hello.svc.cluster.local"
    assert before.keys() == after.keys()
    assert [chain for chain, content in after.items() if content != before[chain]] == [name]


def test_a_port_of_tls_has_a_listener_of_its_own(mesh: Mesh) -> None:
    service = mesh.edited("Service", "helloworld")
    ports = [*service["spec"]["ports"], {"name": "tls", "port": 443, "protocol": "TCP"}]
    mesh.put({**service, "spec": {**service["spec"], "ports": ports}})
    _, waypoint = mesh.changed()
    added = {(LISTENER, "main_internal_tls"), (CLUSTER, "main_internal_tls")}
    assert {one for one in waypoint if "main_internal" in one[1]} == added
    mesh.put(service)
    _, waypoint = mesh.changed()
    assert {one for one in waypoint if "main_internal" in one[1]} == added
    assert (WAYPOINT, LISTENER, "main_internal_tls") not in mesh.proxies.resources


def test_statistics_of_a_route_replace_its_chain_once(mesh: Mesh) -> None:
    def counting(prefix: str) -> Object:
        route = {"match": [{"statPrefix": prefix}], "route": [{"destination": {"host": "helloworld-v2"}}]}
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "counted", "namespace": "hello"},
            "spec": {"hosts": ["helloworld-v2"], "http": [route]},
        }

    chain = "inbound-vip|5000|http|helloworld-v2.hello.svc.cluster.local"
    before = mesh.chains()
    mesh.put(counting("one"))
    assert mesh.changed() == (set(), {(LISTENER, "main_internal"), (ROUTES, chain)})
    assert [name for name, content in mesh.chains().items() if content != before[name]] == [chain]
    mesh.put(counting("another"))
    assert mesh.changed() == (set(), {(ROUTES, chain)})


def test_a_new_service_touches_no_listener_of_the_node_proxy(mesh: Mesh) -> None:
    service = mesh.edited("Service", "httpbin")
    service["metadata"]["name"] = "another"
    service["spec"]["clusterIP"], service["spec"]["clusterIPs"] = "10.96.0.99", ["10.96.0.99"]
    mesh.put(service)
    name = "vip|10.96.0.99:8000"
    assert mesh.changed() == ({(CLUSTER, name), (ENDPOINTS, name)}, set())


def test_an_endpoint_touches_assignments_only(mesh: Mesh) -> None:
    endpoints = mesh.edited("EndpointSlice", "helloworld-v1-a")
    endpoints["endpoints"][0]["conditions"]["ready"] = False
    mesh.put(endpoints)
    # the node proxy sends to the waypoint, whatever is behind that
    inbound = "inbound-vip|5000|http|helloworld-v1.hello.svc.cluster.local"
    assert mesh.changed() == (set(), {(ENDPOINTS, inbound)})


def test_leaving_the_waypoint_changes_where_to_but_no_cluster(mesh: Mesh) -> None:
    namespace = mesh.edited("Namespace", "hello")
    del namespace["metadata"]["labels"]["istio.io/use-waypoint"]
    mesh.put(namespace)
    node, waypoint = mesh.changed()
    assert node == {(ENDPOINTS, f"vip|10.96.0.{n}:5000") for n in (20, 21, 22)}
    assert (LISTENER, "main_internal") in waypoint


def test_a_status_changes_nothing(mesh: Mesh) -> None:
    route = mesh.edited("HTTPRoute", "helloworld")
    route["status"] = {"parents": []}
    route["metadata"]["resourceVersion"] = "7"
    mesh.put(route)
    assert mesh.changed() == (set(), set())


def test_connect_reaches_the_pod_itself_only(mesh: Mesh) -> None:
    *chosen, _ = mesh.told(NODE_PROXY, ROUTES, "inbound|test/curl").virtual_hosts[0].routes
    assert all(route.match.HasField("connect_matcher") for route in chosen)

    def status(authority: str) -> int:
        """Of the first route that fits: 0 lets it in."""
        for route in chosen:
            expressions = [(h.name, h.string_match.safe_regex.regex) for h in route.match.headers]
            assert {name for name, _ in expressions} <= {":authority"}
            if all(re.fullmatch(expression, authority) for _, expression in expressions):
                return int(route.direct_response.status)
        raise AssertionError(f"no route for {authority}")

    for port in ("1", "80", "15000", "15007", "15021", "65535"):
        assert status(f"10.244.0.10:{port}") == 0
    for port in map(str, PROXY_PORTS):
        assert status(f"10.244.0.10:{port}") == 503
    for port in ("0", "080", "65536000", ""):
        assert status(f"10.244.0.10:{port}") == 400
    for port in ("1", "80", *map(str, PROXY_PORTS)):
        assert status(f"10.244.0.1:{port}") == 400
    assert status("name:80") == 503


def test_a_pod_that_is_not_in_the_api_is_closed(mesh: Mesh) -> None:
    mesh.index.remove(kinds.POD, mesh.objects["Pod", "curl"])
    mesh.changed()
    (route,) = mesh.told(NODE_PROXY, ROUTES, "inbound|test/curl").virtual_hosts[0].routes
    assert route.direct_response.status == 503
    otherwise = mesh.told(NODE_PROXY, LISTENER, "inplain|test/curl").filter_chain_matcher.on_no_match
    assert otherwise.action.name == "no-workload"


def test_a_traffic_policy_touches_the_clusters_of_its_service_only(mesh: Mesh) -> None:
    rule: Any = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "helloworld-v1", "namespace": "hello"},
        "spec": {"host": "helloworld-v1", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}},
    }
    mesh.put(rule)
    inbound = "inbound-vip|5000|http|helloworld-v1.hello.svc.cluster.local"
    assert mesh.changed() == (set(), {(CLUSTER, inbound)})

    hashed = copy.deepcopy(rule)
    hashed["spec"]["trafficPolicy"]["loadBalancer"] = {"consistentHash": {"httpHeaderName": "x-user"}}
    mesh.put(hashed)
    # what to hash is said by the routes to it: its own, and those that another service's route leads there
    assert mesh.changed() == (set(), {(CLUSTER, inbound), (ROUTES, inbound), (ROUTES, CHAIN)})

    same = copy.deepcopy(hashed)
    same["metadata"]["labels"] = {"edited": "true"}
    mesh.put(same)
    assert mesh.changed() == (set(), set())


def test_a_new_subset_is_a_new_cluster(mesh: Mesh) -> None:
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "helloworld", "namespace": "hello"},
        "spec": {"host": "helloworld", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
    }
    mesh.put(rule)
    subset = "inbound-vip|5000|http/v1|helloworld.hello.svc.cluster.local"
    assert mesh.changed() == (set(), {(CLUSTER, subset), (ENDPOINTS, subset)})


def service_entry(**spec: Any) -> Object:
    head = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    spec = {"hosts": ["api.example.com"], "ports": ports, "resolution": "STATIC"} | spec
    status = {"addresses": [{"host": "api.example.com", "value": "240.240.0.1"}]}
    return head | {"metadata": {"name": "api", "namespace": "test"}, "spec": spec, "status": status}


def test_a_service_entry_is_a_cluster_and_an_assignment_for_all_pods(mesh: Mesh) -> None:
    mesh.put(service_entry(endpoints=[{"address": "192.0.2.1"}]))
    name = "vip|240.240.0.1:80"
    assert mesh.changed() == ({(CLUSTER, name), (ENDPOINTS, name)}, set())
    mesh.put(service_entry(endpoints=[{"address": "192.0.2.1"}, {"address": "192.0.2.2"}]))
    assert mesh.changed() == ({(ENDPOINTS, name)}, set())
    mesh.put(service_entry(resolution="DNS"))
    assert mesh.changed() == ({(CLUSTER, name), (ENDPOINTS, name)}, set())


def test_an_address_of_its_own_choice_changes_no_filter_chain(mesh: Mesh) -> None:
    """So that Envoy updates the listener in place: its socket and its connections stay."""
    before = mesh.told(NODE_PROXY, LISTENER, "out|test/curl")
    mesh.put(service_entry(addresses=["192.0.2.9"], endpoints=[{"address": "192.0.2.1"}]))
    name = "vip|192.0.2.9:80"
    assert mesh.changed() == ({(CLUSTER, name), (ENDPOINTS, name), (LISTENER, "out|test/curl")}, set())
    after = mesh.told(NODE_PROXY, LISTENER, "out|test/curl")
    assert before.filter_chains == after.filter_chains


def policy(**spec: Any) -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "viewer", "namespace": "hello"},
        "spec": {"targetRefs": [{"kind": "Service", "name": "helloworld"}], **spec},
    }


def test_a_policy_touches_one_filter_and_no_listener(mesh: Mesh) -> None:
    for action in ("DENY", "ALLOW"):
        mesh.put(policy(action=action, rules=[{}]))
        assert mesh.changed() == (set(), {(EXTENSION, "http|helloworld.hello.svc.cluster.local")})


def test_a_fault_brings_its_filter_and_touches_no_listener(mesh: Mesh) -> None:
    [faults] = yaml.safe_load_all((GOLDEN / "cases/faults.in.yaml").read_text())
    bare = copy.deepcopy(faults)
    for route in bare["spec"]["http"]:
        route.pop("fault", None)
    mesh.put(bare)
    mesh.changed()
    mesh.put(faults)
    assert mesh.changed() == (set(), {(ROUTES, CHAIN), (EXTENSION, "http|helloworld.hello.svc.cluster.local")})


def for_pods(name: str, namespace: str, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def test_a_policy_for_identities_touches_the_routes_of_its_pods_only(mesh: Mesh) -> None:
    """And of listeners at most that for plain connections, where its being there makes a difference to these."""

    def denying(*principals: str) -> Object:
        rules = [{"from": [{"source": {"principals": list(principals)}}]}]
        return for_pods("p", "test", action="DENY", rules=rules)

    for principals in ("a", "b"):
        mesh.put(denying(principals))
        assert mesh.changed() == ({(ROUTES, "inbound|test/curl")}, set())
    mesh.put(for_pods("p", "test", rules=[{"from": [{"source": {"principals": ["a"]}}]}]))
    before = mesh.told(NODE_PROXY, LISTENER, "inplain|test/curl")
    assert mesh.changed() == ({(ROUTES, "inbound|test/curl"), (LISTENER, "inplain|test/curl")}, set())
    after = mesh.told(NODE_PROXY, LISTENER, "inplain|test/curl")
    passing = [[chain for chain in some.filter_chains if chain.name == "plaintext"] for some in (before, after)]
    assert passing[0] == passing[1]
    mesh.put(for_pods("elsewhere", "httpbin", rules=[{}]))
    mesh.put(for_pods("nobody", "test", selector={"matchLabels": {"app": "x"}}, action="DENY", rules=[{}]))
    assert mesh.changed() == (set(), set())


def test_a_policy_among_many_concerns_its_own_pods_only() -> None:
    index = MeshIndex()
    for n in range(100):
        labels = {"app": f"app-{n % 10}", "number": str(n)}
        pod = {"metadata": {"name": f"pod-{n}", "namespace": "hello", "labels": labels}, "spec": {}}
        index.put(kinds.POD, pod)
        for policy_number in range(5):
            selector = {"matchLabels": {"app": f"app-{n % 10}", "zone": "a"}}
            index.put(kinds.AUTHORIZATIONPOLICY, for_pods(f"p-{n}-{policy_number}", "hello", selector=selector))
    index.settle()
    few = 20
    index.put(kinds.AUTHORIZATIONPOLICY, for_pods("new", "hello", selector={"matchLabels": {"number": "7"}}))
    assert index.settle() < few
    assert [policy.key.name for policy in index.mesh.enforced[Key("hello", "pod-7")]] == ["new"]
    pod = index.sources[kinds.POD][Key("hello", "pod-8")]
    index.put(kinds.POD, {**pod, "status": {"podIP": "10.244.0.9"}})
    assert index.settle() < few
    index.put(kinds.POD, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "app-8", "zone": "a"}}})
    assert index.settle() < few + 50, "it is the first pod for fifty policies"
    assert len(index.mesh.enforced[Key("hello", "pod-8")]) == 50


@pytest.mark.parametrize("protocol", ["HTTP", "TCP", ""])
def test_an_address_of_several_services_is_the_services(protocol: str) -> None:
    mesh = Mesh()
    address = mesh.objects[("Service", "helloworld")]["spec"]["clusterIP"]

    def ways() -> tuple[bytes, bytes]:
        listener = mesh.told(WAYPOINT, LISTENER, "main_internal")
        termination = mesh.told(WAYPOINT, ROUTES, "connect_terminate")
        return listener.filter_chain_matcher.SerializeToString(deterministic=True), termination.SerializeToString()

    before = ways()
    for name in ("a", "b"):
        metadata = {"name": name, "namespace": "hello", "labels": {"istio.io/use-waypoint": "waypoint"}}
        ports = [{"number": 5000, "name": "x", "protocol": protocol}]
        spec = {"hosts": [f"{name}.example"], "addresses": [address], "ports": ports, "resolution": "STATIC"}
        api = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}
        mesh.put({**api, "metadata": metadata, "spec": spec})
    mesh.changed()
    assert any("a.example" in name for name in mesh.proxies.told(WAYPOINT)[CLUSTER])
    assert ways() == before
