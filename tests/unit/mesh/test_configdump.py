"""The mesh as ztunnel's dump shows it, from objects on to what istioctl makes of it."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.cli.ztunnel_config import tables
from ambientlab.cli.ztunnel_config.dump import Dump
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.configdump import AVAILABLE, INITIALIZING, Certificates, Connection, Connections, Seen, dump
from ambientlab.mesh.index import index
from ambientlab.mesh.serve.ca import CertificateAuthority

WORLD = Path(__file__).parents[2] / "golden/worlds/hello.yaml"
KINDS = {(r.api_version, r.kind): r for r in (*kinds.CORE, *kinds.SHIPPED_CRDS)}
CURL = Captured("uid-curl", "test", "curl", "10.244.0.10", "/run/netns/curl", "spiffe://cluster.local/ns/test/sa/curl")
OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: hello}
spec:
  hosts: [db.example]
  addresses: [192.0.2.1]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.9, ports: {tcp: 15432}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: anywhere, namespace: hello}
spec:
  hosts: [anywhere.example]
  addresses: [198.51.100.0/24]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: NONE
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: default}
spec:
  trafficDistribution: PreferSameNode
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1]
  ports: [{name: https, port: 443}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: api, namespace: default, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.1], conditions: {ready: true}}]
ports: [{name: https, port: 6443}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: hello}
spec:
  selector: {matchLabels: {version: v1}}
  action: DENY
  rules:
  - from: [{source: {notNamespaces: ["te*"], ipBlocks: [10.1.2.3/16]}}]
    to: [{operation: {ports: ["5000"]}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: hello}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "trustDomain: lab.example"}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-x, namespace: istio-system, labels: {app: ztunnel}}
spec: {hostNetwork: true, serviceAccountName: ztunnel, nodeName: ambientlab}
status: {phase: Running, podIP: 10.244.0.1}
"""


@cache
def seen() -> dict[str, Any]:
    listed: dict[Any, list[Object]] = {}
    for text in (WORLD.read_text(), OUTSIDE):
        for obj in yaml.safe_load_all(text):
            listed.setdefault(KINDS[obj["apiVersion"], obj["kind"]], []).append(obj)
    ca = CertificateAuthority.create()
    svid = ca.issue(CURL.identity)
    connections = Connections(
        [Connection("10.244.0.11:4", "", "10.244.0.10:80", "HBONE")],
        [Connection("10.244.0.10:5", "10.96.0.20:5000", "10.244.0.9:15008", "HBONE")],
    )
    certificates = (
        Certificates("spiffe://cluster.local/ns/z/sa/z", INITIALIZING),
        Certificates(CURL.identity, AVAILABLE, svid.chain_pem, ca.root_pem),
    )
    made = index(listed)
    return dump(Seen(made.mesh, made.at_node.values(), [CURL], certificates, {CURL.uid: connections}))


def named(kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in seen()[kind] if one["name"] == name]
    return found


def test_workloads_are_pods_and_what_services_speak_of() -> None:
    pod = named("workloads", "helloworld-v1-5787f49bd8-ln7qr")
    assert pod | {"services": []} == {
        "uid": "Kubernetes//Pod/hello/helloworld-v1-5787f49bd8-ln7qr",
        "workloadIps": ["10.244.0.11"],
        "protocol": "HBONE",
        "networkMode": "Standard",
        "name": "helloworld-v1-5787f49bd8-ln7qr",
        "namespace": "hello",
        "trustDomain": "lab.example",
        "serviceAccount": "default",
        "workloadName": pod["workloadName"],
        "workloadType": "pod",
        "canonicalName": pod["canonicalName"],
        "canonicalRevision": pod["canonicalRevision"],
        "node": "ambientlab",
        "status": "Healthy",
        "clusterId": "Kubernetes",
        "locality": {"region": "", "zone": "", "subzone": ""},
        "capacity": 1,
        "services": [],
        "authorizationPolicies": ["hello/callers", "istio-system/istio_converted_static_strict"],
    }
    assert "hello/helloworld.hello.svc.cluster.local" in pod["services"]
    assert named("workloads", "db")["workloadIps"] == ["192.0.2.9"]
    assert {one["trustDomain"] for one in seen()["workloads"]} == {"lab.example"}
    assert named("workloads", "api")["workloadIps"] == ["10.244.0.1"]
    node = named("workloads", "ztunnel-x")
    assert (node["networkMode"], node["workloadIps"], node["protocol"]) == ("HostNetwork", ["10.244.0.1"], "TCP")


def test_services_lead_to_their_endpoints_and_waypoint() -> None:
    service = named("services", "helloworld")
    assert service["vips"] == ["/10.96.0.20"]
    assert service["ports"] == {"5000": 5000}
    assert service["waypoint"] == {"destination": "hello/waypoint.hello.svc.cluster.local", "hboneMtlsPort": 15008}
    uid = "Kubernetes//Pod/hello/helloworld-v1-5787f49bd8-ln7qr"
    assert service["endpoints"][uid] == {"workloadUid": uid, "port": {"5000": 5000}, "status": "Healthy"}
    assert named("services", "api")["ports"] == {"443": 6443}
    assert named("services", "db")["hostname"] == "db.example"
    assert named("services", "db")["ports"] == {"5432": 15432}


def test_services_say_how_endpoints_are_chosen() -> None:
    scopes = ["Network", "Region", "Zone", "Subzone", "Node"]
    wanted = {"routingPreferences": scopes, "mode": "Failover", "healthPolicy": "OnlyHealthy"}
    assert named("services", "api")["loadBalancer"] == wanted
    assert "loadBalancer" not in named("services", "helloworld")
    anywhere = named("services", "anywhere")
    assert anywhere["loadBalancer"] == {"routingPreferences": [], "mode": "Passthrough", "healthPolicy": "OnlyHealthy"}
    assert (anywhere["vips"], anywhere["cidrVips"]) == ([], ["/198.51.100.0/24"])


def test_policies_are_those_that_ztunnel_is_told() -> None:
    assert named("policies", "callers") == {
        "name": "callers",
        "namespace": "hello",
        "scope": "WorkloadSelector",
        "action": "Deny",
        "rules": [
            [
                [{"destinationPorts": [5000]}],
                [{"sourceIps": ["10.1.2.3/16"], "notNamespaces": [{"Prefix": "te"}]}],
            ]
        ],
    }
    rows = tables.policies(Dump(json.dumps(seen())), "")
    assert ["hello", "callers", "Deny", "WorkloadSelector"] in rows
    assert ["istio-system", "istio_converted_static_strict", "Deny", "WorkloadSelector"] in rows


def test_certificates_are_public_and_whole() -> None:
    available, waiting = seen()["certificates"]
    assert available["identity"] == CURL.identity
    [leaf] = available["certChain"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(leaf["pem"]))
    assert leaf["serialNumber"] == str(certificate.serial_number)
    assert len(available["rootCerts"]) == 1
    assert (waiting["state"], waiting["certChain"]) == ("Initializing", [])
    assert "PRIVATE KEY" not in base64.b64decode(leaf["pem"]).decode()


def test_istioctl_shows_it() -> None:
    found = Dump(json.dumps(seen()))
    assert ["hello", "helloworld", "10.96.0.20", "waypoint", "2/2"] in tables.services(found, "hello")
    assert ["default", "api", "10.96.0.1", "None", "1/1"] in tables.services(found, "")
    assert ["test", "curl", "10.244.0.10", "ambientlab", "None", "HBONE"] in tables.workloads(
        found, tables.WorkloadFilter("test")
    )
    assert tables.connections(found, tables.ConnectionFilter())[1:] == [
        ["curl.test", "Inbound", "curl.test:80", "helloworld-v1-5787f49bd8-ln7qr.hello:4", "", "HBONE"],
        [
            "curl.test",
            "Outbound",
            "curl.test:5",
            "waypoint-7d9f-xxxxx.hello:15008",
            "helloworld.hello.svc.cluster.local:5000",
            "HBONE",
        ],
    ]
