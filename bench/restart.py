"""kill -9 of the node proxy while pods talk, until it is Ready again and until they are answered again.

A container that ends for the second time waits ten seconds, as a kubelet has it, so each round has a pod of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

from ambientlab.dataplane.bootstrap import CONFIG
from ambientlab.host import inspect, process
from ambientlab.host.paths import MeshPaths
from bench.report import Row, timing
from bench.world import Api, kubectl, mesh, script, shell

ROUNDS = 9
AT_MOST = 0.3
PODS = "/api/v1/namespaces/istio-system/pods?watch=true&labelSelector=app%3Dztunnel"

# prints when it began each request that was answered
CLIENT = """
import time, urllib.request
while True:
    began = time.monotonic()
    try:
        urllib.request.urlopen("http://server.restart:8080/", timeout=5).read()
        print(began, flush=True)
    except OSError:
        pass
    time.sleep(0.001)
"""

WORLD = """
kubectl create namespace restart
kubectl label namespace restart istio.io/dataplane-mode=ambient
kubectl run server --image=gcr.io/k8s-staging-gateway-api/echo-advanced --port=8080 --expose -n restart
kubectl run client --image=busybox -n restart -- sleep infinity
kubectl wait pod --all -n restart --for=condition=Ready
"""


def rows() -> list[Row]:
    with mesh(lab=False) as paths:
        shell(WORLD)
        return rounds(paths, "ztunnel killed", ROUNDS)


def rounds(paths: MeshPaths, name: str, count: int) -> list[Row]:
    """In a mesh that has the pods of `WORLD`."""
    ready, answered = [], []
    with script("client", "restart", CLIENT) as printed:
        moments = map(float, printed)
        for _ in range(count):
            watch = _Watch(paths)
            watch.known.wait()
            pid = ztunnel(paths)
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            ready.append(watch.ready_again() - began)
            answered.append(next(moment for moment in moments if moment > began) - began)
            kubectl("delete", "pod", "-n", "istio-system", "-l", "app=ztunnel")
            kubectl("rollout", "status", "-n", "istio-system", "daemonset/ztunnel")
    return [
        timing(f"{name} to Ready", ready, at_most=AT_MOST),
        timing(f"{name} to Ready", ready, at_most=AT_MOST, quantile=1.0),
        timing(f"{name} to the next connection answered", answered, at_most=AT_MOST),
    ]


def ztunnel(paths: MeshPaths) -> int:
    """In a mesh without waypoints."""
    found = process.running(paths)
    assert found is not None
    return next(pid for pid in inspect.tree(found.pid) if CONFIG.encode() in _command(pid))


def _command(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


class _Watch:
    """Follows the ztunnel pod: `known` once it is seen, `ready_again` after its container has been restarted."""

    def __init__(self, paths: MeshPaths) -> None:
        self.known = threading.Event()
        self._ready = threading.Event()
        self._moment = 0.0
        self._api = Api(paths)
        threading.Thread(target=self._follow, daemon=True).start()

    def ready_again(self) -> float:
        """The moment."""
        if not self._ready.wait(60):
            raise RuntimeError(f"ztunnel does not come back: {kubectl('get', 'pods', '-n', 'istio-system')}")
        return self._moment

    def _follow(self) -> None:
        restarts = None
        for event in self._api.watch(PODS):
            [status] = event["object"].get("status", {}).get("containerStatuses") or [{}]
            if restarts is None:
                restarts = status["restartCount"]
                self.known.set()
            elif status["restartCount"] > restarts and status["ready"]:
                self._moment = time.monotonic()
                self._ready.set()
                return
