"""Waypoints: requests against Envoys configured by hand, and a mesh with many routes.

Many rules are tried in order, so a request that follows the last of a thousand shows what each costs.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from datetime import UTC, datetime

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.api.resources import Resource
from ambientlab.mesh.index import index
from ambientlab.mesh.ir import Key
from ambientlab.mesh.status import Statuses
from ambientlab.mesh.xds.proxies import Proxies
from bench import route
from bench.report import Row, at_most
from bench.topology import both
from bench.world import kubectl

SERVICES = 200
ROUTES_PER_SERVICE = 5
LEAST_RATIO = 0.95
BUILDS = 5
WAYPOINT = Key("hello", "waypoint")
CROWD = f"{SERVICES * ROUTES_PER_SERVICE} HTTPRoutes on {SERVICES} Services"


def rows() -> list[Row]:
    with both() as topology:
        found = topology.compare("waypoint", "waypoint", least=LEAST_RATIO)
        found += topology.compare("waypoint, last of 1000 rules,", "rules", least=LEAST_RATIO)
    found.append(_full_build())
    with route.world() as paths:
        kubectl("apply", "--server-side", "-f", "-", stdin=_listed(_services()))
        kubectl("apply", "--server-side", "-f", "-", stdin=_listed(_routes()))
        found += route.changes(paths, f"route change among {CROWD}")
    return found


def _full_build() -> Row:
    """From lists of objects to everything the proxies and the objects' statuses are told."""
    hello = {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}
    waypoint = {
        "gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    }
    listed: dict[Resource, list[Object]] = {
        kinds.NAMESPACE: [{"metadata": {"name": "hello", "labels": hello}}],
        kinds.GATEWAYCLASS: [
            {"metadata": {"name": "istio-waypoint"}, "spec": {"controllerName": "istio.io/mesh-controller"}}
        ],
        kinds.GATEWAY: [
            {
                "metadata": {"name": "waypoint", "namespace": "hello", "generation": 1},
                "spec": waypoint,
                "status": {"addresses": [{"type": "IPAddress", "value": "10.96.255.1"}]},
            }
        ],
        kinds.SERVICE: _services(),
        kinds.HTTPROUTE: _routes(),
    }
    seconds = []
    for _ in range(BUILDS):
        gc.collect()  # what the last round left is not this one's
        began = time.perf_counter()
        built = index(listed)
        proxies = Proxies(built.graph, built.mesh)
        proxies.waypoints.served.set(WAYPOINT, WAYPOINT)
        statuses = Statuses(built)
        built.settle()
        resources = proxies.told(WAYPOINT)
        statuses.wanted(datetime.now(UTC))
        seconds.append(time.perf_counter() - began)
        assert sum(map(len, resources.values())) > 3 * SERVICES
    return at_most(f"full build of {CROWD}", statistics.median(seconds), "s", 2, f"n={BUILDS}")


def _services() -> list[Object]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"crowd-{number}", "namespace": "hello"},
            "spec": {
                "clusterIP": f"10.97.0.{number}",
                "clusterIPs": [f"10.97.0.{number}"],
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            },
        }
        for number in range(1, SERVICES + 1)
    ]


def _routes() -> list[Object]:
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": f"crowd-{service}-{number}", "namespace": "hello"},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": f"crowd-{service}"}],
                "rules": [
                    {
                        "matches": [{"path": {"type": "PathPrefix", "value": f"/{number}/{rule}"}}],
                        "backendRefs": [
                            {"name": f"crowd-{service}", "port": 80, "weight": 9},
                            {"name": f"crowd-{service % SERVICES + 1}", "port": 80, "weight": 1},
                        ],
                    }
                    for rule in range(3)
                ],
            },
        }
        for service in range(1, SERVICES + 1)
        for number in range(ROUTES_PER_SERVICE)
    ]


def _listed(objects: list[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
