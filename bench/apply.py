"""`kubectl apply` of a pod: from starting kubectl to the event that says Running."""

from __future__ import annotations

import json
import subprocess
import threading
import time

from ambientlab.host import tools
from ambientlab.host.paths import MeshPaths
from bench.report import Row, timing
from bench.world import Api, kubectl, mesh

ROUNDS = 25


def rows() -> list[Row]:
    with mesh(lab=False) as paths:
        seconds = [_one(paths, number) for number in range(ROUNDS)]
        return [timing("kubectl apply of a pod to Running", seconds[1:], at_most=0.15)]


def _one(paths: MeshPaths, number: int) -> float:
    name = f"pod-{number}"
    running = threading.Event()
    moment = 0.0
    api = Api(paths)  # before the clock starts: TLS credentials are read
    api.connect()

    def follow() -> None:
        nonlocal moment
        path = f"/api/v1/namespaces/default/pods?watch=true&fieldSelector=metadata.name%3D{name}"
        for event in api.watch(path):
            if event["object"].get("status", {}).get("phase") == "Running":
                moment = time.perf_counter()
                running.set()
                return

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "curl", "image": "curlimages/curl", "command": ["sleep", "infinity"]}]},
    }
    began = time.perf_counter()
    subprocess.run(
        [str(tools.kubectl()), "apply", "-f", "-"], input=json.dumps(pod).encode(), check=True, capture_output=True
    )
    if not running.wait(30):
        raise RuntimeError(f"{name} did not run: {kubectl('describe', 'pod', name)}")
    kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
    return moment - began
