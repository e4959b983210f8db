"""Which endpoints are near depends on the node that the client is on: a cluster of somebody has several."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ambientlab.mesh.decide import Request, by_workload, decide
from ambientlab.mesh.ir import Key
from support.decisions import indexed, objects_in, world


def pod(name: str, node: str, ip: str) -> str:
    return f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: hello, annotations: {{ambient.istio.io/redirection: enabled}}}}
spec: {{nodeName: {node}, serviceAccountName: default}}
status: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: "True"}}]}}
"""


def node(name: str, zone: str) -> str:
    labels = f"{{topology.kubernetes.io/region: r, topology.kubernetes.io/zone: {zone}}}"
    return f"""
---
apiVersion: v1
kind: Node
metadata: {{name: {name}, labels: {labels}}}
"""


def service(spec: str) -> str:
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: near, namespace: hello, labels: {{istio.io/use-waypoint: none}}}}
spec: {{clusterIP: 10.96.0.77, clusterIPs: [10.96.0.77], ports: [{{name: http, port: 80}}], {spec}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: near-a, namespace: hello, labels: {{kubernetes.io/service-name: near}}}}
addressType: IPv4
endpoints:
- {{addresses: [10.9.0.1], nodeName: one, conditions: {{ready: true}}}}
- {{addresses: [10.9.0.2], nodeName: two, conditions: {{ready: true}}}}
ports: [{{name: http, port: 80, protocol: TCP}}]
"""


PLACES = "".join(
    [node("one", "a"), node("two", "b"), pod("first", "one", "10.9.0.1"), pod("second", "two", "10.9.0.2")]
)


@pytest.mark.parametrize(
    "spec", ["trafficDistribution: PreferClose", "trafficDistribution: PreferSameNode", "internalTrafficPolicy: Local"]
)
@pytest.mark.parametrize("client", ["first", "second"])
def test_a_client_gets_to_what_is_near_to_it(client: str, spec: str) -> None:
    mesh = indexed(*world(), *objects_in(PLACES + service(spec))).mesh
    decision = decide(mesh, Key("hello", client), Request.to("http://near.hello"))
    assert decision.distribution(by_workload) == {f"hello/{client}": Fraction(1)}


NEAR = "http://near.hello.svc.cluster.local"
STRICT = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: hello}
spec: {mtls: {mode: STRICT}}
"""


@pytest.mark.parametrize("url", [NEAR, "http://10.9.0.1", "http://10.9.0.2"])
@pytest.mark.parametrize(("client", "answering"), [("one", {"hello/first"}), ("two", {"hello/second"}), ("", set())])
def test_what_a_node_sends_to_its_own_pods_passes_their_ztunnel_by(url: str, client: str, answering: set[str]) -> None:
    """As the kubelet's probes do, whose source it gets. A pod with hostNetwork is its node."""
    mesh = indexed(*world(), *objects_in(PLACES + service("type: ClusterIP") + STRICT)).mesh
    decision = decide(mesh, None, Request.to(url), node=client)
    served = {name for name in decision.distribution(by_workload) if name.startswith("hello/")}
    asked = {"http://10.9.0.1": {"hello/first"}, "http://10.9.0.2": {"hello/second"}}.get(url, answering)
    assert served == answering & asked
    said = {str(one.admission) for one in decision.delivered()}
    assert all("its own node" in admission for admission in said)
