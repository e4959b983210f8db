"""`ambientlab plan`: from typing it to its end, on the lab's mesh and on a cluster of 5,000 objects, for a change that
concerns one service and for one that concerns all."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from ambientlab.api.objects import Object
from bench.explain import ROUNDS, crowd, seconds, served
from bench.report import Row, at_most, timing
from bench.route import world

_CHANGES = (0, 2)
"""Exit codes: traffic stays as it is, or changes."""


def rows() -> list[Row]:
    with TemporaryDirectory() as directory:
        split = _written(Path(directory) / "split.json", _route("hello", "other", "helloworld", "helloworld-v2", 5000))
        with world():
            taken = seconds("plan", "-f", split, codes=_CHANGES)
        found = [timing("plan on the lab's mesh", taken, at_most=0.5)]
        objects = crowd()
        one = _written(Path(directory) / "one.json", _route("ns-0", "other", "service-0", "service-1", 80))
        every = _written(Path(directory) / "every.json", _strict())
        with served(objects) as kubeconfig:
            for file, concerned in ((one, "one service"), (every, "all services")):
                taken = seconds("plan", "-f", file, "--kubeconfig", str(kubeconfig), codes=_CHANGES)
                name = f"plan on {len(objects)} objects, a change for {concerned}"
                found.append(at_most(name, statistics.median(taken), "s", 3, f"n={ROUNDS}"))
    return found


def _written(file: Path, obj: Object) -> str:
    file.write_text(json.dumps(obj))
    return str(file)


def _route(namespace: str, name: str, service: str, backend: str, port: int) -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": service}],
            "rules": [
                {
                    "matches": [{"path": {"type": "Exact", "value": "/planned"}}],
                    "backendRefs": [{"name": backend, "port": port}],
                }
            ],
        },
    }


def _strict() -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "istio-system"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }
