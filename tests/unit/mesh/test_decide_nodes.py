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
