"""A large mesh: what it costs to make everything the proxies are told, and what one change costs among all that.

Two pods take turns as the endpoint of a Service. A client asks it on a new connection each time, and notes the moment
each reply came, on the monotonic clock that every namespace of a machine shares.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.host.paths import MeshPaths
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key
from ambientlab.mesh.status import Statuses
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import ENDPOINTS, NODE_PROXY
from bench import route
from bench.report import Row, at_most
from bench.world import kubectl, mesh, shell

SERVICES = 1000
ENDPOINTS_PER_SERVICE = 2
CAPTURED = 200
BUILDS = 5
CROWD = f"{SERVICES} Services with {SERVICES * ENDPOINTS_PER_SERVICE} endpoints"

CLIENT = """
import http.client, sys, time
last = b""
while True:
    connection = http.client.HTTPConnection("ADDRESS", 5000)
    connection.request("GET", "/hello")
    body = connection.getresponse().read()
    connection.close()
    if body[:18] != last:
        last = body[:18]
        print(time.monotonic(), last.decode(), flush=True)
"""

WORLD = """
kubectl apply -n hello -f helloworld.yaml
kubectl label ns hello istio.io/dataplane-mode=ambient
kubectl wait -n hello --for=condition=Available deploy --all
"""
SLICE = "/apis/discovery.k8s.io/v1/namespaces/hello/endpointslices/turns"


def rows() -> list[Row]:
    with _world() as paths:
        pods = _pod_addresses()
        vip = kubectl("get", "service", "turns", "-n", "hello", "-o", "jsonpath={.spec.clusterIP}")
        name, client = f"endpoint change among {CROWD} to first connection", CLIENT.replace("ADDRESS", vip)
        changes = route.turns(paths, name, client, SLICE, lambda version: _endpoints([pods[version]]))
    return [*built(), *changes]


def built() -> list[Row]:
    """What needs no running mesh."""
    seconds = []
    for _ in range(BUILDS):
        gc.collect()  # what the last round left is not this one's
        began = time.perf_counter()
        index, proxies = _build()
        seconds.append(time.perf_counter() - began)
        assert len(proxies.told(NODE_PROXY)[ENDPOINTS]) >= SERVICES * (1 + ENDPOINTS_PER_SERVICE)
    return [
        at_most(f"full build of {CROWD}", statistics.median(seconds), "s", 1.5, f"n={BUILDS}"),
        *_another_pod(index, proxies),
    ]


def _another_pod(index: MeshIndex, proxies: Proxies) -> list[Row]:
    name, address = "another", "10.244.255.1"
    index.put(kinds.POD, {**_pod(name, address), "status": {}})
    index.settle()
    pushed: list[str] = []
    proxies.resources.watch(lambda owned, _: pushed.append(owned[2]))
    proxies.ztunnel.captured.set(Key("crowd", name), _captured(name, address))
    index.settle()
    capture, pushed[:] = sorted(pushed), []
    index.put(kinds.POD, _pod(name, address))
    index.put(kinds.ENDPOINTSLICE, _slice("crowd-0", "crowd", 8080, [*_addresses()[:ENDPOINTS_PER_SERVICE], address]))
    index.settle()
    return [
        at_most(f"resources pushed to capture a pod among {CAPTURED}", len(capture), "", 4, " ".join(capture)),
        Row("resources pushed for its address and its Service", len(pushed), "", detail=" ".join(sorted(pushed))),
    ]


def _build() -> tuple[MeshIndex, Proxies]:
    """From lists of objects to everything the node proxy and the objects' statuses are told."""
    index = MeshIndex()
    proxies, statuses = Proxies(index.graph, index.mesh), Statuses(index)
    index.put(kinds.NAMESPACE, {"metadata": {"name": "crowd", "labels": {"istio.io/dataplane-mode": "ambient"}}})
    for number, address in enumerate(_addresses()):
        name = f"pod-{number}"
        index.put(kinds.POD, _pod(name, address))
        if number < CAPTURED:
            proxies.ztunnel.captured.set(Key("crowd", name), _captured(name, address))
    for obj in _crowd():
        index.put(kinds.SERVICE if obj["kind"] == "Service" else kinds.ENDPOINTSLICE, obj)
    index.settle()
    statuses.news(datetime.now(UTC))
    return index, proxies


def _pod(name: str, address: str) -> Object:
    annotations = {"ambient.istio.io/redirection": "enabled"}
    status = {"podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": name, "namespace": "crowd", "annotations": annotations}
    return {"metadata": metadata, "spec": {"nodeName": "ambientlab"}, "status": status}


def _captured(name: str, address: str) -> Captured:
    return Captured(name, "crowd", name, address, f"/run/netns/{name}", "spiffe://cluster.local/ns/crowd/sa/default")


@contextlib.contextmanager
def _world() -> Iterator[MeshPaths]:
    with mesh(lab=True) as paths:
        shell(WORLD)
        kubectl("create", "namespace", "crowd")
        own = [_service("turns", "hello", 5000), _slice("turns", "hello", 5000, [_pod_addresses()["v1"]])]
        for objects in (own, _crowd()):
            listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
            kubectl("apply", "--server-side", "-f", "-", stdin=listed)
        yield paths


def _pod_addresses() -> dict[str, str]:
    pods = json.loads(kubectl("get", "pod", "-n", "hello", "-o", "json"))["items"]
    return {pod["metadata"]["labels"]["version"]: pod["status"]["podIP"] for pod in pods}


def _addresses() -> list[str]:
    return [f"10.244.{100 + number // 250}.{1 + number % 250}" for number in range(SERVICES * ENDPOINTS_PER_SERVICE)]


def _crowd() -> list[Object]:
    found: list[Object] = []
    addresses = iter(_addresses())
    for number in range(SERVICES):
        name, vip = f"crowd-{number}", f"10.98.{number // 250}.{1 + number % 250}"
        behind = [next(addresses) for _ in range(ENDPOINTS_PER_SERVICE)]
        found += [_service(name, "crowd", 80, vip), _slice(name, "crowd", 8080, behind)]
    return found


def _service(name: str, namespace: str, port: int, vip: str = "") -> Object:
    spec: Object = {"ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
    if vip:
        spec |= {"clusterIP": vip, "clusterIPs": [vip]}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _slice(name: str, namespace: str, port: int, addresses: Sequence[str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        **_endpoints(addresses),
    }


def _endpoints(addresses: Sequence[str]) -> Object:
    return {"endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]}
