"""A change costs the same however large the mesh around it is: what runs again for it, and what is told to whom."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.mesh.capture import Captured
from ambientlab.mesh.index import MeshIndex
from ambientlab.mesh.ir import Key
from ambientlab.mesh.status import Statuses
from ambientlab.mesh.xds.proxies import Proxies
from ambientlab.mesh.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, NODE_PROXY, ROUTES, Owned

WAYPOINT = Key("app", "waypoint")
SIZES = (3, 40)
EVERYBODY = 99
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """Services behind a waypoint and others without one, each with two captured pods and a route to the next one; and
    one that all of them are behind."""

    def __init__(self, services: int) -> None:
        self.index = MeshIndex()
        self.proxies = Proxies(self.index.graph, self.index.mesh)
        self.statuses = Statuses(self.index)
        self.proxies.waypoints.served.set(WAYPOINT, WAYPOINT)
        self.told: set[Owned] = set()
        self.proxies.resources.watch(lambda owned, _: self.told.add(owned))
        for name, labels in (("app", {"istio.io/use-waypoint": "waypoint"}), ("plain", {})):
            self.put(kinds.NAMESPACE, {"metadata": {"name": name, "labels": labels}})
        spec: dict[str, Any] = {"controllerName": "istio.io/mesh-controller"}
        self.put(kinds.GATEWAYCLASS, {"metadata": {"name": "istio-waypoint"}, "spec": spec})
        spec = {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        }
        status = {"addresses": [{"type": "IPAddress", "value": "10.96.255.1"}]}
        self.put(kinds.GATEWAY, {"metadata": WAYPOINT._asdict(), "spec": spec, "status": status})
        for number in range(services):
            for namespace, network in (("app", 1), ("plain", 2)):
                self.put(kinds.SERVICE, service(namespace, number, f"10.96.{network}.{number}"))
                for replica in (1, 2):
                    obj = pod(namespace, number, replica)
                    self.put(kinds.POD, obj)
                    self.capture(obj)
                self.put(kinds.ENDPOINTSLICE, slice_of(namespace, number, 1, 2))
            self.put(kinds.HTTPROUTE, route(number, (number + 1) % services))
        self.put(kinds.SERVICE, service("plain", EVERYBODY, "10.96.4.1"))
        self.put(kinds.ENDPOINTSLICE, self.everybody())
        self.settle()

    def put(self, resource: Resource, obj: Object) -> None:
        self.index.put(resource, copy.deepcopy(obj))

    def capture(self, obj: Object) -> None:
        meta, ip = obj["metadata"], obj["status"]["podIP"]
        identity = f"spiffe://cluster.local/ns/{meta['namespace']}/sa/default"
        pod = Captured(meta["name"], meta["namespace"], meta["name"], ip, f"/run/netns/{meta['name']}", identity)
        self.proxies.ztunnel.captured.set(Key(pod.namespace, pod.name), pod)

    def everybody(self) -> Object:
        endpoints = [{"addresses": [pod["status"]["podIP"]]} for pod in self.index.sources[kinds.POD].values()]
        return slice_of("plain", EVERYBODY) | {"endpoints": endpoints}

    def settle(self) -> tuple[int, set[Owned], set[str]]:
        """How often a function ran, which resources became different, and whose statuses may be to be written."""
        self.told.clear()
        runs = self.index.settle()
        return runs, set(self.told), {f"{resource.kind} {key}" for resource, key in self.statuses.news(NOW)}


def service(namespace: str, number: int, address: str) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    spec = {"clusterIP": address, "clusterIPs": [address], "ports": ports}
    return {"metadata": {"name": f"s{number}", "namespace": namespace}, "spec": spec}


def pod(namespace: str, number: int, replica: int) -> Object:
    metadata = {
        "name": f"s{number}-{replica}",
        "namespace": namespace,
        "annotations": {"ambient.istio.io/redirection": "enabled"},
    }
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"podIP": ip(namespace, number, replica)}}


def ip(namespace: str, number: int, replica: int) -> str:
    return f"10.244.{replica if namespace == 'app' else 10 + replica}.{number + 1}"


def slice_of(namespace: str, number: int, *replicas: int) -> Object:
    return {
        "metadata": {
            "name": f"s{number}-a",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": f"s{number}"},
        },
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [ip(namespace, number, replica)]} for replica in replicas],
    }


def route(of: int, to: int, weight: int = 1) -> Object:
    backends = [{"name": f"s{of}", "port": 80, "weight": weight}, {"name": f"s{to}", "port": 80, "weight": 1}]
    parents = [{"group": "", "kind": "Service", "name": f"s{of}"}]
    spec = {"parentRefs": parents, "rules": [{"backendRefs": backends}]}
    return {"metadata": {"name": f"r{of}", "namespace": "app"}, "spec": spec}


Change = Callable[[World], None]


def weights(world: World) -> None:
    world.put(kinds.HTTPROUTE, route(0, 1, 9))


def status(world: World) -> None:
    world.put(kinds.HTTPROUTE, route(1, 2) | {"status": {"parents": []}})


def fewer_endpoints(world: World) -> None:
    world.put(kinds.ENDPOINTSLICE, slice_of("plain", 0, 1))


def fewer_endpoints_behind_the_waypoint(world: World) -> None:
    world.put(kinds.ENDPOINTSLICE, slice_of("app", 0, 1))


def another_pod(world: World) -> None:
    world.put(kinds.POD, pod("plain", 1, 3))
    world.put(kinds.ENDPOINTSLICE, slice_of("plain", 1, 1, 2, 3))


def another_endpoint_of_everybody(world: World) -> None:
    world.put(kinds.POD, pod("plain", 2, 3))
    world.put(kinds.ENDPOINTSLICE, world.everybody())


def another_captured_pod(world: World) -> None:
    world.capture(pod("plain", 0, 3))


def another_service(world: World) -> None:
    world.put(kinds.SERVICE, service("plain", 200, "10.96.3.1"))


def a_policy(world: World) -> None:
    spec = {"targetRefs": [{"kind": "Service", "name": "s0"}], "action": "DENY", "rules": [{}]}
    world.put(kinds.AUTHORIZATIONPOLICY, {"metadata": {"name": "p", "namespace": "app"}, "spec": spec})


def a_traffic_policy(world: World) -> None:
    spec = {"host": "s0", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}}
    world.put(kinds.DESTINATIONRULE, {"metadata": {"name": "r", "namespace": "app"}, "spec": spec})


INBOUND = "inbound-vip|80|http|s0.app.svc.cluster.local"
POD = f"ip|{ip('plain', 1, 3)}"
CHANGES: dict[Change, set[Owned]] = {
    weights: {(WAYPOINT, ROUTES, INBOUND)},
    status: set(),
    fewer_endpoints: {(NODE_PROXY, ENDPOINTS, "vip|10.96.2.0:80"), (NODE_PROXY, ROUTES, "inbound|plain/s0-2")},
    fewer_endpoints_behind_the_waypoint: {
        (WAYPOINT, ENDPOINTS, INBOUND),
        (NODE_PROXY, ROUTES, "inbound|app/s0-2"),
    },
    another_pod: {
        (NODE_PROXY, ENDPOINTS, "vip|10.96.2.1:80"),
        (NODE_PROXY, ENDPOINTS, POD),
        (NODE_PROXY, CLUSTER, POD),
    },
    another_endpoint_of_everybody: {
        (NODE_PROXY, ENDPOINTS, "vip|10.96.4.1:80"),
        (NODE_PROXY, ENDPOINTS, f"ip|{ip('plain', 2, 3)}"),
        (NODE_PROXY, CLUSTER, f"ip|{ip('plain', 2, 3)}"),
    },
    another_captured_pod: {
        *((NODE_PROXY, LISTENER, f"{listener}|plain/s0-3") for listener in ("out", "inplain", "inhbone")),
        (NODE_PROXY, ROUTES, "inbound|plain/s0-3"),
    },
    a_policy: {(WAYPOINT, EXTENSION, "http|s0.app.svc.cluster.local")},
    a_traffic_policy: {(WAYPOINT, CLUSTER, INBOUND)},
    another_service: {(NODE_PROXY, CLUSTER, "vip|10.96.3.1:80"), (NODE_PROXY, ENDPOINTS, "vip|10.96.3.1:80")},
}
NEWS: dict[Change, set[str]] = {
    weights: {"HTTPRoute app/r0"},
    status: {"HTTPRoute app/r1"},
    a_policy: {"AuthorizationPolicy app/p"},
    a_traffic_policy: {"DestinationRule app/r"},
    another_service: {"Service plain/s200"},
}


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [World(size) for size in SIZES]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_the_same_in_a_large_mesh(worlds: list[World], change: Change) -> None:
    found = []
    for world in worlds:
        change(world)
        found.append(world.settle())
    (_, told, news), in_large = found
    assert told == CHANGES[change]
    assert news == NEWS.get(change, set())
    assert in_large == found[0]
