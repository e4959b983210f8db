"""Who is told what a waypoint refuses."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.api.kinds import (
    AUTHORIZATIONPOLICY,
    BACKENDTLSPOLICY,
    CONFIGMAP,
    DESTINATIONRULE,
    GATEWAY,
    SECRET,
    SERVICE,
    SERVICEENTRY,
)
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.ir import Key
from ambientlab.mesh.serve.rejections import Rejections
from ambientlab.mesh.session import Rejected
from ambientlab.mesh.xds import types
from ambientlab.mesh.xds.types import CLUSTER, EXTENSION

WAYPOINT = Key("hello", "waypoint")


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "hello"}, "spec": {"action": "DENY", "rules": [{}], **spec}}


@pytest.fixture
def index() -> MeshIndex:
    index = MeshIndex()
    gateway = {
        "metadata": {"name": "waypoint", "namespace": "hello"},
        "spec": {"gatewayClassName": "istio-waypoint", "listeners": [{"protocol": "HBONE", "port": 15008}]},
        "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.5"}]},
    }
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
    index.put(GATEWAY, gateway)
    index.put(AUTHORIZATIONPOLICY, policy("of-it", targetRefs=[target]))
    index.put(AUTHORIZATIONPOLICY, policy("of-others", selector={"matchLabels": {"app": "other"}}))
    return index


@pytest.mark.parametrize("place", ["http|direct", "tcp/deny|direct"])
def test_what_stands_before_workloads_is_of_the_waypoint(index: MeshIndex, place: str) -> None:
    rejections = Rejections(index)
    rejections.heard([(WAYPOINT, Rejected(EXTENSION, place, "v", "no"))])
    index.settle()
    said = "waypoint hello/waypoint refuses the policies of its workloads, and goes on with what it had: no"
    told = (Diagnostic(ObjectRef("AuthorizationPolicy", "hello", "of-it"), "Refused", said),)
    assert list(rejections.findings.values()) == [told]
    rejections.heard([])
    index.settle()
    assert list(rejections.findings.values()) == []


def service(index: MeshIndex, name: str, ip: str) -> None:
    metadata = {"name": name, "namespace": "hello", "labels": {"istio.io/use-waypoint": "waypoint"}}
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    index.put(SERVICE, {"metadata": metadata, "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports}})


def told(index: MeshIndex, type_url: str, name: str) -> dict[ObjectRef, str]:
    rejections = Rejections(index)
    rejections.heard([(WAYPOINT, Rejected(type_url, name, "v", "no"))])
    index.settle()
    return {said.object: said.message for each in rejections.findings.values() for said in each}


def test_a_refused_credential_is_of_those_who_name_it(index: MeshIndex) -> None:
    for number, name in enumerate(("rule", "policy", "neither")):
        service(index, name, f"10.96.0.{20 + number}")
    tls = {"mode": "SIMPLE", "credentialName": "given"}
    rule = {"metadata": {"name": "r", "namespace": "hello"}, "spec": {"host": "rule", "trafficPolicy": {"tls": tls}}}
    target = {"group": "", "kind": "Service", "name": "policy"}
    ref = {"group": "", "kind": "ConfigMap", "name": "authorities"}
    validation = {"hostname": "policy.example", "caCertificateRefs": [ref]}
    policy = {
        "metadata": {"name": "p", "namespace": "hello"},
        "spec": {"targetRefs": [target], "validation": validation},
    }
    metadata = {"name": "authorities", "namespace": "hello"}
    index.put(DESTINATIONRULE, rule)
    index.put(BACKENDTLSPOLICY, policy)
    index.put(CONFIGMAP, {"metadata": metadata, "data": {"ca.crt": "-----BEGIN CERTIFICATE-----"}})
    index.put(SECRET, {"metadata": {"name": "given", "namespace": "hello"}, "data": {"ca.crt": "bm9uZQ=="}})
    index.settle()
    of_rule, of_policy = (
        next(secret for secret in one.policies[0][2].tls.secrets)  # type: ignore[union-attr]  # both have it
        for one in (index.services[f"{name}.hello.svc.cluster.local"] for name in ("rule", "policy"))
    )
    goes_on = "and goes on with what it had: no"
    said = f"waypoint hello/waypoint refuses the credential {of_rule}, {goes_on}"
    assert told(index, types.SECRET, of_rule) == {ObjectRef("DestinationRule", "hello", "r"): said}
    said = f"waypoint hello/waypoint refuses the credential {of_policy}, {goes_on}"
    assert told(index, types.SECRET, of_policy) == {ObjectRef("BackendTLSPolicy", "hello", "p"): said}
    cluster = "inbound-vip|80|http|policy.hello.svc.cluster.local"
    said = f"waypoint hello/waypoint refuses the cluster {cluster}, {goes_on}"
    assert told(index, CLUSTER, cluster) == {ObjectRef("BackendTLSPolicy", "hello", "p"): said}
    assert told(index, types.SECRET, "somebody else's") == {}


def test_a_refused_cluster_is_of_all_that_are_merged_into_it(index: MeshIndex) -> None:
    """Also where a BackendTLSPolicy's rule gives the merged one its name, and where a subset is another rule's."""
    service(index, "policy", "10.96.0.20")
    target = {"group": "", "kind": "Service", "name": "policy"}
    validation = {"hostname": "policy.example", "wellKnownCACertificates": "System"}
    index.put(
        BACKENDTLSPOLICY,
        {
            "metadata": {"name": "p", "namespace": "hello"},
            "spec": {"targetRefs": [target], "validation": validation},
        },
    )
    tls = {"mode": "MUTUAL", "clientCertificate": "/nowhere", "privateKey": "/nowhere", "caCertificates": "/nowhere"}

    def rule(name: str, created: str, **spec: Any) -> None:
        metadata = {"name": name, "namespace": "hello", "creationTimestamp": created}
        index.put(DESTINATIONRULE, {"metadata": metadata, "spec": {"host": "policy", **spec}})

    rule("pools", "2026-01-01T00:00:00Z", trafficPolicy={"connectionPool": {"tcp": {"maxConnections": 1}}})
    rule("subset", "2026-02-01T00:00:00Z", subsets=[{"name": "v1", "trafficPolicy": {"tls": tls}}])
    index.settle()

    def concerned(port: str) -> set[tuple[str, str]]:
        cluster = f"inbound-vip|80|{port}|policy.hello.svc.cluster.local"
        return {(ref.kind, ref.name) for ref in told(index, CLUSTER, cluster)}

    pools, subset, backend = ("DestinationRule", "pools"), ("DestinationRule", "subset"), ("BackendTLSPolicy", "p")
    assert concerned("http") == {pools, backend}
    assert concerned("http/v1") == {pools, subset}
    rule("pools", "2026-01-01T00:00:00Z", trafficPolicy={"tls": tls})
    index.settle()
    assert concerned("http") == {pools}


def test_a_refused_cluster_may_be_of_what_a_name_means_to_its_namespace(index: MeshIndex) -> None:
    for number, home in enumerate(("test", "hello")):
        metadata = {"name": "api", "namespace": home, "creationTimestamp": f"202{number}-01-01T00:00:00Z"}
        spec = {
            "hosts": ["api.example.com"],
            "addresses": [f"192.0.2.{number}"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
        }
        labels = {"istio.io/use-waypoint": "waypoint"}
        index.put(SERVICEENTRY, {"metadata": {**metadata, "labels": labels}, "spec": spec})
    pool = {"connectionPool": {"tcp": {"maxConnections": 1}}}
    rule = {"metadata": {"name": "r", "namespace": "hello"}, "spec": {"host": "api.example.com", "trafficPolicy": pool}}
    index.put(DESTINATIONRULE, rule)
    index.settle()
    cluster = "inbound-vip|80|http|hello/api.example.com"
    assert set(told(index, CLUSTER, cluster)) == {ObjectRef("DestinationRule", "hello", "r")}
