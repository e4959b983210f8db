"""The whole lab, and what all processes weigh with it deployed."""

from __future__ import annotations

import time

from ambientlab.host import inspect, process
from bench.report import Row, at_most
from bench.world import ambientlab, mesh, shell

DEPLOY = """
kubectl apply -n hello -f helloworld.yaml
kubectl apply -n httpbin -f httpbin.yaml
for ns in hello httpbin; do
  kubectl label ns $ns istio.io/dataplane-mode=ambient istio.io/use-waypoint=waypoint
  istioctl waypoint apply -n $ns --wait
  kubectl wait -n $ns --for=condition=Available deploy --all
done
for i in 1 2 3 4 5; do
  kubectl exec curl -n test -- curl -s helloworld.hello:5000/hello
  kubectl exec curl -n test -- curl -s -o /dev/null httpbin.httpbin:8000/get
done
"""


def rows() -> list[Row]:
    began = time.perf_counter()
    ambientlab("lab", "run", "--isolated", "traffic-management")
    seconds = time.perf_counter() - began
    with mesh(lab=True) as paths:
        shell(DEPLOY)
        found = process.running(paths)
        assert found is not None
        pids = inspect.tree(found.pid)
        memory = inspect.memory(found.pid) / (1 << 20)
    return [
        at_most("the whole lab, injected delays included", seconds, "s", 60),
        at_most("memory of all processes, lab deployed (PSS)", memory, "MB", 300, f"{len(pids)} processes"),
    ]
