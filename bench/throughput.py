"""Requests per second and latencies through the mesh, as ratios to Envoys configured by hand (`bench.handwritten`).

The two run side by side and are asked in turns, so that whatever else the machine does meets both. A ratio is one of
medians. Client, proxies and server share the machine's cores: only the ratios mean something elsewhere.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence

from bench import load
from bench.handwritten import SERVER_ARGUMENTS, HandWritten
from bench.load import Load
from bench.report import Row, at_least
from bench.world import kubectl, mesh, shell

ROUNDS = 9
SECONDS = 2
LEAST_RATIO = 0.9

Run = Callable[[Sequence[str]], str]

WAYPOINT = """
istioctl waypoint apply -n bench --wait
kubectl wait pod --all -n bench --for=condition=Ready
kubectl wait pod --all -n outside --for=condition=Ready
"""


def rows() -> list[Row]:
    with mesh(lab=False), HandWritten() as by_hand:
        kubectl("apply", "-f", "-", stdin=_world())
        shell(WAYPOINT)
        urls = _urls()
        client = _in_pod("bench")
        found = []
        for path, name in (("service", "L4 HBONE"), ("waypoint", "waypoint")):
            found += _compare(name, (client, urls[path]), (by_hand.run, by_hand.urls[path]), LEAST_RATIO)
        found += _compare("passthrough", (client, urls["direct"]), (by_hand.run, by_hand.urls["passthrough"]), None)
        direct = [_once(_in_pod("outside"), urls["direct"], SECONDS) for _ in range(ROUNDS)]
        found.append(
            Row("direct req/s", round(_median(direct, "requests_per_second")), "/s", detail=_latencies(direct))
        )
        return found


def _compare(name: str, ours: tuple[Run, str], by_hand: tuple[Run, str], least: float | None) -> list[Row]:
    """Both in turns, each first in every other round."""
    results: tuple[list[Load], list[Load]] = ([], [])
    for run, url in (ours, by_hand):
        # One request alone opens the tunnels: of several that come at once to an address Envoy's original destination
        # clusters do not know, each makes a host of its own, with its own connection, which would serve all the rounds.
        run(["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", url])
        _once(run, url, 1)
    for number in range(ROUNDS):
        for side in (0, 1) if number % 2 else (1, 0):
            results[side].append(_once(*(ours, by_hand)[side], SECONDS))
    mine, theirs = results
    ratios = {field: _median(mine, field) / _median(theirs, field) for field in ("requests_per_second", "p50", "p99")}
    detail = (
        f"{_median(mine, 'requests_per_second'):.0f}/s to {_median(theirs, 'requests_per_second'):.0f}/s; "
        f"{_latencies(mine)} to {_latencies(theirs)}"
    )
    label, ratio = f"{name} req/s ratio", ratios["requests_per_second"]
    return [
        Row(label, round(ratio, 3), "", detail=detail) if least is None else at_least(label, ratio, "", least, detail),
        Row(f"{name} p50 latency ratio", round(ratios["p50"], 3), ""),
        Row(f"{name} p99 latency ratio", round(ratios["p99"], 3), ""),
    ]


def _once(run: Run, url: str, seconds: int) -> Load:
    return load.parse(run(load.command(url, seconds)))


def _median(loads: Sequence[Load], field: str) -> float:
    values: list[float] = [getattr(each, field) for each in loads]
    return statistics.median(values)


def _latencies(loads: Sequence[Load]) -> str:
    return f"p50 {_median(loads, 'p50') * 1000:.2f} p99 {_median(loads, 'p99') * 1000:.2f} ms"


def _in_pod(namespace: str) -> Run:
    return lambda argv: kubectl("exec", "client", "-n", namespace, "--", *argv)


def _urls() -> dict[str, str]:
    services = json.loads(kubectl("get", "service", "-n", "bench", "-o", "json"))["items"]
    addresses = {each["metadata"]["name"]: each["spec"]["clusterIP"] for each in services}
    direct = kubectl("get", "pod", "server", "-n", "outside", "-o", "jsonpath={.status.podIP}")
    return {
        "service": f"http://{addresses['service']}:8080/",
        "waypoint": f"http://{addresses['service-with-waypoint']}:8080/",
        "direct": f"http://{direct}:8080/",
    }


def _world() -> str:
    """A client and a server in the mesh, the same outside of it, and one service with a waypoint and one without."""
    objects = [
        _object("Namespace", "bench", labels={"istio.io/dataplane-mode": "ambient"}),
        _object("Namespace", "outside"),
        _service("service"),
        _service("service-with-waypoint", {"istio.io/use-waypoint": "waypoint"}),
    ]
    for namespace in ("bench", "outside"):
        objects.append(_pod("client", namespace, {"image": "curlimages/curl", "command": ["sleep", "infinity"]}))
        objects.append(_pod("server", namespace, {"image": "envoyproxy/envoy", "args": SERVER_ARGUMENTS}))
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _object(kind: str, name: str, **metadata: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **metadata}}


def _pod(name: str, namespace: str, container: dict[str, object]) -> dict[str, object]:
    pod = _object("Pod", name, namespace=namespace, labels={"app": name})
    return {**pod, "spec": {"containers": [{"name": name, **container}]}}


def _service(name: str, labels: dict[str, str] | None = None) -> dict[str, object]:
    ports = [{"name": "http", "port": 8080}]
    service = _object("Service", name, namespace="bench", labels=labels or {})
    return {**service, "spec": {"selector": {"app": "server"}, "ports": ports}}
