"""The same topology twice: a mesh of ours, and Envoys configured by hand (`bench.handwritten`)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ambientlab.host import process
from bench import compare, ports
from bench.compare import SECONDS, Compared, Run, Side
from bench.handwritten import BULK, RULES, SERVER_ARGUMENTS, HandWritten
from bench.report import Row
from bench.world import kubectl, mesh, shell

WAYPOINT = """
istioctl waypoint apply -n bench --wait
kubectl wait pod --all -n bench --for=condition=Ready
kubectl wait pod --all -n outside --for=condition=Ready
"""


@dataclass(frozen=True, slots=True)
class Topology:
    """`urls` are of the mesh: service, waypoint, rules, pod, node. `root` is its launcher."""

    urls: dict[str, str]
    root: int
    by_hand: HandWritten

    def side(self, path: str, namespace: str = "bench") -> Side:
        """From a client of that namespace."""
        return Side(in_pod(namespace), self.urls[path], self.root)

    def compare(self, name: str, path: str, least: float | None = None, *, bulk: bool = False) -> list[Row]:
        return compare.rows(name, [self.turns(path, bulk=bulk)], least, bulk=bulk)

    def turns(self, path: str, options: Sequence[str] = (), *, bulk: bool = False, seconds: int = SECONDS) -> Compared:
        ours = self.side(path)
        hand = Side(self.by_hand.run, self.by_hand.urls[path], self.by_hand.pid)
        if bulk:
            ours, hand = (replace(side, url=side.url + BULK) for side in (ours, hand))
        return compare.turns(ours, hand, options, seconds=seconds)


@contextlib.contextmanager
def both() -> Iterator[Topology]:
    with mesh(lab=False) as paths, HandWritten() as by_hand:
        kubectl("apply", "-f", "-", stdin=_world())
        shell(WAYPOINT)
        found = process.running(paths)
        assert found is not None
        for root in (found.pid, by_hand.pid):
            ports.reuse(root)
        yield Topology(_urls(), found.pid, by_hand)


def in_pod(namespace: str) -> Run:
    return lambda argv: kubectl("exec", "client", "-n", namespace, "--", *argv)


def _urls() -> dict[str, str]:
    services = json.loads(kubectl("get", "service", "-n", "bench", "-o", "json"))["items"]
    addresses = {each["metadata"]["name"]: each["spec"]["clusterIP"] for each in services}
    pods = json.loads(kubectl("get", "pod", "-n", "outside", "-o", "json"))["items"]
    outside = {each["metadata"]["name"]: each["status"]["podIP"] for each in pods}
    return {
        "service": f"http://{addresses['service']}:8080/",
        "waypoint": f"http://{addresses['service-with-waypoint']}:8080/",
        "rules": f"http://{addresses['service-with-rules']}:8080{RULES[-1]}",
        "pod": f"http://{outside['server']}:8080/",
        "node": f"http://{outside['node']}:8080/",
    }


def _world() -> str:
    """A client and a server in the mesh, the same outside of it, and a server at the node's address, which is nobody's
    for ztunnel; services without a waypoint, with one, and with one that has many rules to try."""
    behind_waypoint = {"istio.io/use-waypoint": "waypoint"}
    objects = [
        _object("Namespace", "bench", labels={"istio.io/dataplane-mode": "ambient"}),
        _object("Namespace", "outside"),
        _service("service"),
        _service("service-with-waypoint", behind_waypoint),
        _service("service-with-rules", behind_waypoint),
        _rules("service-with-rules"),
    ]
    server = {"image": "envoyproxy/envoy", "args": SERVER_ARGUMENTS}
    for namespace in ("bench", "outside"):
        objects.append(_pod("client", namespace, {"image": "curlimages/curl", "command": ["sleep", "infinity"]}))
        objects.append(_pod("server", namespace, server))
    objects.append(_pod("node", "outside", server, hostNetwork=True))
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _object(kind: str, name: str, **metadata: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **metadata}}


def _pod(name: str, namespace: str, container: Mapping[str, object], **spec: object) -> dict[str, object]:
    pod = _object("Pod", name, namespace=namespace, labels={"app": name})
    return {**pod, "spec": {"containers": [{"name": name, **container}], **spec}}


def _service(name: str, labels: dict[str, str] | None = None) -> dict[str, object]:
    ports = [{"name": "http", "port": 8080}]
    service = _object("Service", name, namespace="bench", labels=labels or {})
    return {**service, "spec": {"selector": {"app": "server"}, "ports": ports}}


def _rules(service: str) -> dict[str, object]:
    http = [{"match": [{"uri": {"prefix": path}}], "route": [{"destination": {"host": service}}]} for path in RULES]
    rules = _object("VirtualService", service, namespace="bench")
    return {**rules, "apiVersion": "networking.istio.io/v1", "spec": {"hosts": [service], "http": http}}
