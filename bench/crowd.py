"""Many enrolled pods in one mesh: how long they take, what one weighs, and ztunnel's restart among them."""

from __future__ import annotations

import json
import time

from ambientlab.host import inspect, process
from ambientlab.host.paths import MeshPaths
from bench import restart
from bench.report import Row
from bench.world import kubectl, mesh, shell

PODS = 200
ROUNDS = 3


def rows() -> list[Row]:
    with mesh(lab=False) as paths:
        shell(restart.WORLD)
        before, proxy = _weights(paths)
        began = time.perf_counter()
        kubectl("apply", "-f", "-", stdin=_deployment())
        kubectl("rollout", "status", "-n", "restart", "deployment/crowd", "--timeout=300s")
        seconds = time.perf_counter() - began
        after, grown = _weights(paths)
        enrolled = kubectl("get", "pods", "-n", "restart", "-l", "app=crowd", "-o", "json")
        marks = [pod["metadata"]["annotations"] for pod in json.loads(enrolled)["items"]]
        assert [each["ambient.istio.io/redirection"] for each in marks] == ["enabled"] * PODS
        return [
            Row(f"{PODS} enrolled pods, applied to Ready", round(seconds, 2), "s"),
            Row("memory of an enrolled pod (PSS)", round((after - before) / PODS / 1024), "KB", detail="sleep in it"),
            Row("of which in ztunnel", round((grown - proxy) / PODS / 1024), "KB", detail=f"{grown >> 20} MB in all"),
            *restart.rounds(paths, f"ztunnel killed among {PODS} pods", ROUNDS),
        ]


def _weights(paths: MeshPaths) -> tuple[int, int]:
    """Of everything, and of the node proxy."""
    found = process.running(paths)
    assert found is not None
    return inspect.memory(found.pid), inspect.memory(restart.ztunnel(paths))


def _deployment() -> str:
    labels = {"app": "crowd"}
    container = {"name": "sleep", "image": "busybox", "command": ["sleep", "infinity"]}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "crowd", "namespace": "restart"},
            "spec": {
                "replicas": PODS,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
                },
            },
        }
    )
