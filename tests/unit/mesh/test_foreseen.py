"""A cluster as it would be with files applied: what of it stays, and what controllers will make of what is new."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from ambientlab.api.objects import Object, copy
from ambientlab.host.merging import as_kubectl
from ambientlab.mesh.foreseen import foreseen
from ambientlab.mesh.index import MeshIndex, index
from ambientlab.mesh.ir import Key, Protocol
from support.decisions import objects_in, world
from support.findings import by_resource

HELLO = "helloworld.hello.svc.cluster.local"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: hello}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      serviceAccountName: echo
      containers: [{name: echo, image: echo, ports: [{name: web, containerPort: 8080}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: hello}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: web}]}
"""


def after(text: str, *more: str, live: Sequence[Object] | None = None) -> MeshIndex:
    """The mesh with these objects applied to the world; `more` are workloads."""
    before = by_resource(world() if live is None else live)
    kept = {resource: [copy(obj) for obj in some] for resource, some in before.items()}
    workloads = [obj for each in more for obj in objects_in(each)]
    found = foreseen(before, by_resource(objects_in(text)), as_kubectl, workloads)
    assert before == kept
    return index(found)


def test_a_new_workload_has_a_pod_that_a_service_finds() -> None:
    mesh = after(SERVICE, DEPLOYMENT).mesh
    pod = mesh.workloads[Key("hello", "echo-0")]
    assert (pod.protocol, pod.ready, pod.identity) == (Protocol.HBONE, True, "spiffe://cluster.local/ns/hello/sa/echo")
    service = mesh.services["echo.hello.svc.cluster.local"]
    [endpoint] = service.endpoints
    assert (endpoint.workload, endpoint.target(80), len(service.vips)) == (pod, 8080, 1)


def test_a_workload_that_runs_keeps_its_pods() -> None:
    live = [copy(obj) for obj in world()]
    [pod] = [obj for obj in live if obj["metadata"]["name"].startswith("helloworld-v1-") and obj["kind"] == "Pod"]
    owner = {"kind": "ReplicaSet", "name": "helloworld-v1-5787f49bd8", "controller": True}
    pod["metadata"] |= {"ownerReferences": [owner]}
    pod["metadata"]["labels"]["pod-template-hash"] = "5787f49bd8"
    runs = DEPLOYMENT.replace("name: echo, namespace", "name: helloworld-v1, namespace")
    assert set(after("", runs, live=live).mesh.workloads) == set(after("").mesh.workloads)


TEMPLATES = """
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: echo, namespace: hello}
spec: {encryptedData: {a: b}, template: {metadata: {labels: {app: echo}}, type: Opaque}}
---
apiVersion: example.com/v1
kind: Page
metadata: {name: echo, namespace: hello}
spec: {template: "Hello {{name}}"}
"""


def test_what_is_no_template_for_pods_brings_none() -> None:
    assert set(after("", TEMPLATES).mesh.workloads) == set(after("").mesh.workloads)


def test_pods_of_a_foreign_workload_are_known_by_their_labels() -> None:
    """Argo's Rollouts have ReplicaSets, as Deployments have."""
    live = [copy(obj) for obj in world()]
    rollout = DEPLOYMENT.replace("apps/v1", "argoproj.io/v1alpha1").replace("kind: Deployment", "kind: Rollout")
    assert Key("hello", "echo-0") in after("", rollout, live=live).mesh.workloads
    for obj in live:
        if obj["kind"] == "Pod" and obj["metadata"]["name"].startswith("helloworld-v1-"):
            obj["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "x-1", "controller": True}]
    runs = rollout.replace("app: echo", "app: helloworld")
    assert set(after("", runs, live=live).mesh.workloads) == set(after("", live=live).mesh.workloads)


@pytest.mark.parametrize(("mode", "protocol"), [("ambient", Protocol.HBONE), ("none", Protocol.TCP)])
def test_a_namespaces_label_takes_its_pods_along(mode: str, protocol: Protocol) -> None:
    labels = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: NAME, labels: {{istio.io/dataplane-mode: {mode}}}}}\n"
    mesh = after("---\n".join(labels.replace("NAME", name) for name in ("httpbin", "hello"))).mesh
    pods = [Key("httpbin", "httpbin-686d6fc899-2x7hk"), Key("hello", "helloworld-v1-5787f49bd8-ln7qr")]
    assert [mesh.workloads[key].protocol for key in pods] == [protocol, protocol]
    assert mesh.workloads[Key("test", "curl")].protocol is Protocol.HBONE


def test_what_only_the_cluster_knows_stays() -> None:
    text = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: helloworld, namespace: hello}\nspec: {ports: [{port: 81}]}\n"
    )
    service = after(text).mesh.services[HELLO]
    assert (service.vips, sorted(port.number for port in service.ports)) == (("10.96.0.20",), [81, 5000])
    assert service.waypoint == Key("hello", "waypoint")


@pytest.mark.parametrize(("by_kubectl", "waypoint"), [(False, Key("hello", "waypoint")), (True, None)])
def test_labels_of_others_stay_and_those_taken_back_go(by_kubectl: bool, waypoint: Key | None) -> None:
    """As kubectl does with what it applied last."""
    live = [copy(obj) for obj in world()]
    [home] = [obj for obj in live if (obj["kind"], obj["metadata"]["name"]) == ("Namespace", "hello")]
    if by_kubectl:
        written = json.dumps({"metadata": {"labels": home["metadata"]["labels"]}})
        home["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": written}
    mesh = after("apiVersion: v1\nkind: Namespace\nmetadata: {name: hello}\n", live=live).mesh
    assert mesh.services[HELLO].waypoint == waypoint


def test_a_waypoints_gateway_comes_to_be_used() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: httpbin}
spec: {gatewayClassName: CLASS, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: httpbin, labels: {istio.io/use-waypoint: waypoint}}
"""
    mesh = after(text.replace("CLASS", "istio-waypoint")).mesh
    assert mesh.services["httpbin.httpbin.svc.cluster.local"].waypoint == Key("httpbin", "waypoint")
    [member] = mesh.waypoints[Key("httpbin", "waypoint")].members
    assert member.identity == "spiffe://cluster.local/ns/httpbin/sa/waypoint"
    mesh = after(text.replace("CLASS", "another")).mesh
    assert mesh.services["httpbin.httpbin.svc.cluster.local"].waypoint is None


def test_a_pod_of_a_file_is_taken_to_run() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: new, namespace: test}\nspec: {containers: []}\n"
    pod = after(text).mesh.workloads[Key("test", "new")]
    assert (pod.ready, pod.protocol) == (True, Protocol.HBONE)


@pytest.mark.parametrize("addresses", ["x", "[x, 1, {host: 1, value: [2]}, {host: api.example.com}]", "{a: b}"])
def test_addresses_of_a_file_may_be_anything(addresses: str) -> None:
    """Istio's CRD has no schema of them."""
    mesh = after(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: hello}}
spec: {{hosts: [api.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: DNS}}
status: {{addresses: {addresses}}}
""").mesh
    [address] = mesh.services["api.example.com"].vips
    assert address
