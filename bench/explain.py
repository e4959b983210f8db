"""`ambientlab explain`: from typing it to its end, on the lab's mesh and on a cluster of 5,000 objects."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ambientlab.api.objects import Object
from ambientlab.host.listing import LISTED
from bench.report import Row, at_most, timing
from bench.route import world

ROUNDS = 15
NAMESPACES, SERVICES, PODS = 23, 20, 6
"""Of each of the one before."""


def rows() -> list[Row]:
    with world():
        found = timing("explain on the lab's mesh", seconds("explain", "helloworld.hello:5000/hello"), at_most=0.3)
    objects = crowd()
    with served(objects) as kubeconfig:
        taken = seconds("explain", "service-0.ns-0:80", "--kubeconfig", str(kubeconfig))
    return [found, at_most(f"explain on {len(objects)} objects", statistics.median(taken), "s", 2, f"n={ROUNDS}")]


def seconds(*arguments: str, codes: Sequence[int] = (0,)) -> list[float]:
    """A command from typing it to its end, which is with one of the exit codes."""
    command = [sys.executable, "-P", "-m", "ambientlab.cli.main", *arguments]
    found = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True)
        found.append(time.perf_counter() - began)
        if done.returncode not in codes:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return found[1:]


def crowd() -> list[Object]:
    """Namespaces with a waypoint each, and Services with a route, endpoints and pods."""
    found: list[Object] = []
    for n in range(NAMESPACES):
        namespace = f"ns-{n}"
        labels = {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}
        found.append(_object("v1", "Namespace", namespace, "", {"labels": labels}))
        listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
        gateway = {"gatewayClassName": "istio-waypoint", "listeners": [listener]}
        status = {"addresses": [{"type": "IPAddress", "value": f"10.98.0.{n + 1}"}]}
        found.append(
            _object("gateway.networking.k8s.io/v1", "Gateway", "waypoint", namespace, {}, spec=gateway, status=status)
        )
        found.append(
            _pod("waypoint-0", namespace, f"10.200.0.{n + 1}", {"gateway.networking.k8s.io/gateway-name": "waypoint"})
        )
        for s in range(SERVICES):
            found += _service(namespace, f"service-{s}", n, s)
    return found


def _service(namespace: str, name: str, n: int, s: int) -> Iterator[Object]:
    ips = [f"10.{210 + p}.{n}.{s + 1}" for p in range(PODS)]
    vip = f"10.97.{n}.{s + 1}"
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    yield _object("v1", "Service", name, namespace, {}, spec={"clusterIP": vip, "clusterIPs": [vip], "ports": ports})
    endpoints = [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips]
    yield _object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"{name}-a",
        namespace,
        {"labels": {"kubernetes.io/service-name": name}},
        addressType="IPv4",
        endpoints=endpoints,
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
    )
    for p, ip in enumerate(ips):
        yield _pod(f"{name}-{p}", namespace, ip, {"app": name, "version": f"v{p % 2 + 1}"})
    backends = [
        {"name": name, "port": 80, "weight": 9},
        {"name": f"service-{(s + 1) % SERVICES}", "port": 80, "weight": 1},
    ]
    yield _object(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        name,
        namespace,
        {},
        spec={
            "parentRefs": [{"group": "", "kind": "Service", "name": name}],
            "rules": [
                {"matches": [{"path": {"type": "PathPrefix", "value": f"/{r}"}}], "backendRefs": backends}
                for r in range(3)
            ],
        },
    )
    subsets = [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}]
    yield _object(
        "networking.istio.io/v1", "DestinationRule", name, namespace, {}, spec={"host": name, "subsets": subsets}
    )
    target = [{"group": "", "kind": "Service", "name": name}]
    rules = [{"from": [{"source": {"namespaces": [f"ns-{n}"]}}]}]
    yield _object(
        "security.istio.io/v1",
        "AuthorizationPolicy",
        name,
        namespace,
        {},
        spec={"targetRefs": target, "action": "ALLOW", "rules": rules},
    )


def _pod(name: str, namespace: str, ip: str, labels: dict[str, str]) -> Object:
    """With as many fields that nobody asks for as pods have."""
    annotations = {} if "waypoint" in name else {"ambient.istio.io/redirection": "enabled"}
    container = {
        "name": "app",
        "image": "docker.io/istio/examples-helloworld-v1:1.0",
        "env": [{"name": f"VARIABLE_{i}", "value": "value"} for i in range(20)],
        "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
    }
    managed = [{"manager": "kubelet", "operation": "Update", "fieldsV1": {f"f:{i}": {"f:x": {}} for i in range(40)}}]
    return _object(
        "v1",
        "Pod",
        name,
        namespace,
        {"labels": labels, "annotations": annotations, "managedFields": managed},
        spec={"nodeName": "node", "serviceAccountName": "default", "containers": [container]},
        status={"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    )


def _object(api_version: str, kind: str, name: str, namespace: str, metadata: Object, **rest: object) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **where, **metadata}, **rest}


@contextlib.contextmanager
def served(objects: list[Object]) -> Iterator[Path]:
    """The kubeconfig of an API that has these objects, and takes any other as it comes."""
    lists = {
        f"{r.path}/{r.plural}": json.dumps(
            {"items": [o for o in objects if (o["apiVersion"], o["kind"]) == (r.api_version, r.kind)]}
        ).encode()
        for r in LISTED
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = lists.get(self.path, b"{}")
            self.send_response(200 if self.path in lists else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    config = {
        "current-context": "crowd",
        "contexts": [{"name": "crowd", "context": {"cluster": "crowd"}}],
        "clusters": [{"name": "crowd", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
    }
    descriptor, name = tempfile.mkstemp()
    with os.fdopen(descriptor, "w") as file:
        json.dump(config, file)
    try:
        yield Path(name)
    finally:
        Path(name).unlink()
        server.shutdown()
        server.server_close()
