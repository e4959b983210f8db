"""A route change: from sending the write to the API until a request through the waypoint is answered the new way.

A client in the lab's pod asks in one keep-alive loop and notes the moment each reply came, on the monotonic clock that
every namespace of a machine shares. An HTTPRoute sends everything to one version, then to the other.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

from ambientlab.host.paths import MeshPaths
from bench.report import Row, timing
from bench.world import Api, kubectl, mesh, script, shell

ROUNDS = 60
ROUTE = "/apis/gateway.networking.k8s.io/v1/namespaces/hello/httproutes/split"

CLIENT = """
import http.client, sys, time
connection = http.client.HTTPConnection("helloworld.hello", 5000)
last = b""
while True:
    connection.request("GET", "/hello")
    reply = connection.getresponse()
    body = reply.read()
    if body[:18] != last:
        last = body[:18]
        print(time.monotonic(), last.decode(), flush=True)
"""

WORLD = """
kubectl apply -n hello -f helloworld.yaml
kubectl label ns hello istio.io/dataplane-mode=ambient istio.io/use-waypoint=waypoint
istioctl waypoint apply -n hello --wait
for v in v1 v2; do kubectl expose deployment helloworld-$v -n hello --port 5000; done
kubectl wait -n hello --for=condition=Available deploy --all
"""


def rows() -> list[Row]:
    with world() as paths:
        return changes(paths, "route change to first request")


@contextlib.contextmanager
def world() -> Iterator[MeshPaths]:
    """A mesh in whose namespace hello a waypoint routes to v1 or v2 of helloworld."""
    with mesh(lab=True) as paths:
        shell(WORLD)
        kubectl("apply", "-f", "-", stdin=_route())
        yield paths


def changes(paths: MeshPaths, name: str) -> list[Row]:
    return turns(paths, name, CLIENT, ROUTE, lambda version: {"spec": {"rules": [_rule(version)]}})


def turns(
    paths: MeshPaths,
    name: str,
    client_script: str,
    path: str,
    change: Callable[[str], object],
    *,
    at_most: float = 0.05,
) -> list[Row]:
    """From sending `change("v1")`, then `change("v2")`, and so on to `path`, until the client's script prints that."""
    api = Api(paths)
    seconds = []
    with script("curl", "test", client_script) as printed:
        for number in range(ROUNDS):
            version = f"v{number % 2 + 1}"
            began = time.monotonic()
            api.patch(path, change(version))
            moment = next(moment for moment, _, words in (line.partition(" ") for line in printed) if version in words)
            seconds.append(float(moment) - began)
    return [
        timing(name, seconds[1:], at_most=at_most),
        timing(name, seconds[1:], at_most=at_most, quantile=0.99),
    ]


def _rule(version: str) -> dict[str, object]:
    return {"backendRefs": [{"name": f"helloworld-{version}", "port": 5000}]}


def _route() -> str:
    return json.dumps(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "split", "namespace": "hello"},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": "helloworld", "port": 5000}],
                "rules": [_rule("v2")],
            },
        }
    )
