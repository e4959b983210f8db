"""Whom proxies take, as the mesh's trust domain and its aliases say, and what a change of them touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext

from ambientlab.api.kinds import CONFIGMAP
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.index.trustdomains import migrated
from ambientlab.mesh.ir import AuthorizationPolicy, Condition, Key, PolicyAction, PolicyRule, TrustDomains
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import CLUSTER, LISTENER, NODE_PROXY, Owned, Resources

WAYPOINT = Key("hello", "waypoint")
POD = Captured("1", "test", "curl", "10.244.0.10", "/run/netns/curl", "spiffe://mesh.example/ns/test/sa/curl")


class Mesh:
    def __init__(self, config: str) -> None:
        self.index = MeshIndex()
        self.proxies = Proxies(self.index.graph, self.index.mesh)
        self.proxies.ztunnel.captured.set(Key("test", "curl"), POD)
        self.proxies.waypoints.served.set(WAYPOINT, WAYPOINT)
        self.configure(config)

    def configure(self, config: str) -> None:
        place = {"name": "istio", "namespace": "istio-system"}
        self.index.put(CONFIGMAP, {"kind": "ConfigMap", "metadata": place, "data": {"mesh": config}})
        self.index.settle()

    def peers(self) -> dict[str, list[str]]:
        """Beginnings of the identities that each TLS context of the two proxies takes."""
        found = {}
        for proxy, key in (("ztunnel", NODE_PROXY), ("", WAYPOINT)):
            for name, context in contexts(self.proxies.told(key)):
                sans = context.combined_validation_context.default_validation_context.match_typed_subject_alt_names
                found[f"{proxy} {name}".strip()] = [san.matcher.prefix for san in sans]
        return found


def contexts(resources: Resources) -> Iterator[tuple[str, CommonTlsContext]]:
    up, down = UpstreamTlsContext(), DownstreamTlsContext()
    found: dict[str, Mapping[str, Any]] = dict(resources)
    for name, cluster in found[CLUSTER].items():
        if cluster.transport_socket.typed_config.Unpack(up):
            yield name, up.common_tls_context
    for name, listener in found[LISTENER].items():
        for chain in listener.filter_chains:
            if chain.transport_socket.typed_config.Unpack(down):
                yield name, down.common_tls_context


def test_ztunnel_takes_peers_of_its_own_trust_domain_and_waypoints_those_of_aliases_too() -> None:
    mesh = Mesh("{trustDomain: mesh.example, trustDomainAliases: [old.example, mesh.example]}")
    own, old = "spiffe://mesh.example/", "spiffe://old.example/"
    assert mesh.peers() == {
        "ztunnel connect_originate": [own],
        "ztunnel inhbone|test/curl": [own],
        "connect_originate": [own, old],
        "connect_terminate": [own, old],
    }
    mesh.configure("{}")
    assert {name: sans for name, sans in mesh.peers().items() if "originate" in name} == {
        "ztunnel connect_originate": ["spiffe://cluster.local/"],
        "connect_originate": ["spiffe://cluster.local/"],
    }


def test_an_invalid_configuration_leaves_the_mesh_its_identity() -> None:
    mesh = Mesh("trustDomain: mesh.example")
    drain = "{trustDomain: other.example, defaultConfig: {drainDuration: 1.5s}}"
    for broken in ("trustDomain: not_a.domain", "trustDomain: [", "mesh.example", "trustDomain: ''", drain):
        mesh.configure(broken)
        assert mesh.index.mesh.trust.own == "mesh.example"
        [said] = [one.text for one in mesh.index.diagnostics() if one.reason == "Invalid"]
        assert said.startswith("data.mesh is invalid, and the mesh goes on with what it said before: ")
    mesh.configure("{}")
    assert mesh.index.mesh.trust.own == "cluster.local"
    assert Mesh("trustDomain: not_a.domain").index.mesh.trust.own == "cluster.local"


def test_of_the_proxies_defaults_what_is_not_followed_is_said() -> None:
    mesh = Mesh("{defaultConfig: {drainDuration: 7s, concurrency: 3}}")
    said = [one.field for one in mesh.index.diagnostics() if one.reason == "Unsupported"]
    assert said == ["mesh.defaultConfig.concurrency"]


def test_other_settings_of_the_mesh_touch_nothing() -> None:
    mesh = Mesh("trustDomain: mesh.example")
    touched: list[Owned] = []
    mesh.proxies.resources.watch(lambda owned, _: touched.append(owned))
    mesh.configure("{trustDomain: mesh.example, accessLogFile: ''}")
    assert [owned for owned in touched if owned[0] == NODE_PROXY] == []


@pytest.mark.parametrize(
    ("trust", "principal", "expected"),
    [
        (("cluster.local",), "cluster.local/ns/foo/sa/bar", "cluster.local/ns/foo/sa/bar"),
        (("td2", "td1"), "td1/ns/foo/sa/bar", "td2/ns/foo/sa/bar td1/ns/foo/sa/bar"),
        (("td2", "td1"), "cluster.local/ns/foo/sa/bar", "td2/ns/foo/sa/bar td1/ns/foo/sa/bar"),
        (("td2", "foo-td1"), "*-td1/ns/foo/sa/bar", "td2/ns/foo/sa/bar *-td1/ns/foo/sa/bar"),
        (("new-td", "old-td"), "*-td/ns/foo/sa/bar", "*-td/ns/foo/sa/bar"),
        (("td-new", "x"), "td-*/ns/foo/sa/bar", "td-new/ns/foo/sa/bar x/ns/foo/sa/bar"),
        (("td1", "td2"), "some-td/ns/foo/sa/bar", "some-td/ns/foo/sa/bar"),
        (("td1", "td2"), "*/ns/foo/sa/bar", "*/ns/foo/sa/bar"),
        (("td1", "td2"), "*", "*"),
        (("td1", "td2"), "td1/ns/foo/sa/*", "td1/ns/foo/sa/* td2/ns/foo/sa/*"),
        (("td1", "td2"), "td1/sa/bar", "td1/sa/bar"),
    ],
)
def test_a_principal_stands_for_itself_in_every_trust_domain(
    trust: tuple[str, ...], principal: str, expected: str
) -> None:
    """As pilot/pkg/security/trustdomain/bundle_test.go has it."""
    conditions = (Condition("source.principal", (principal,)), Condition("source.namespace", (principal,)))
    policy = AuthorizationPolicy(Key("a", "b"), PolicyAction.ALLOW, (PolicyRule((conditions,), ((),)),))
    [[found, untouched]] = migrated(policy, TrustDomains(trust[0], trust[1:])).rules[0].sources
    assert " ".join(found.values) == expected
    assert untouched.values == (principal,)


def test_a_trust_domain_stands_for_every_one_of_the_meshs() -> None:
    """ExpandTrustDomainAliases."""
    condition = Condition("source.trustDomain", ("td2", "*", "other"), ("td1", "td2"))
    policy = AuthorizationPolicy(Key("a", "b"), PolicyAction.DENY, (PolicyRule(((condition,),), ((),)),))
    [[found]] = migrated(policy, TrustDomains("td1", ("td2",))).rules[0].sources
    assert found == Condition("source.trustDomain", ("td1", "td2", "*", "other"), ("td1", "td2"))
