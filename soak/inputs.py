"""Bad inputs, of every kind and everywhere, at a mesh whose traffic goes on."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ambientlab.api import kinds
from ambientlab.api.objects import labels_of
from ambientlab.cluster import DNS_IP, NODE_IP, ROOT_NAMESPACE
from bench.world import kubectl, shell
from soak import held, intruder, ledger, logs, said
from soak.answers import complaint, failed
from soak.commands import Commands
from soak.faults import Faults
from soak.meshconfig import MeshConfigs
from soak.objects import Objects
from soak.samples import namespaces
from soak.samples import world as objects_of_world
from soak.wire import Wire
from soak.world import NAMESPACE, World, restarts, traffic
from soak.xds import Xds

ROUND = 1000
"""Inputs between two looks at the logs."""
SHARES = {"objects": 0.6, "wire": 0.22, "ports": 0.11, "xds": 0.045, "meshes": 0.02, "commands": 0.005}

WORLD = """set -e
kubectl label namespace hello istio.io/dataplane-mode=ambient istio.io/use-waypoint=waypoint
kubectl run helloworld -n hello --image=gcr.io/k8s-staging-gateway-api/echo-advanced --labels=app=helloworld,version=v1
kubectl wait -n hello --for=condition=Ready pod/helloworld --timeout=60s
istioctl waypoint apply -n hello --wait
"""


def portion(mesh: World, count: int, seed: int, faults: Faults) -> Counter[str]:
    """`count` inputs; how many of each kind, and how many of them were taken or refused."""
    kubectl("run", "outsider", "-n", "default", "--image=busybox", "--", "sleep", "infinity")
    done = _Portion(mesh, seed, faults)  # reads the samples while the pod starts
    kubectl("wait", "-n", "default", "--for=condition=Ready", "pod/outsider", "--timeout=60s")
    done.run(count)
    kubectl("delete", "pod", "outsider", "-n", "default", "--now")
    return done.tally


class _Portion:
    def __init__(self, mesh: World, seed: int, faults: Faults) -> None:
        self._dice = dice = random.Random(seed)
        self._mesh = mesh
        self._faults = faults
        self._logs = logs.Logs(mesh.paths, faults)
        self._objects = Objects(dice)
        self._wire = Wire(dice, self._objects)
        self._commands = Commands(dice, self._objects, mesh.root, faults)
        self._meshes = MeshConfigs(dice, mesh.api)
        self._ledger = ledger.Ledger()
        self.tally: Counter[str] = Counter()

    def run(self, count: int) -> None:
        mesh, faults = self._mesh, self._faults
        kept = ledger.snapshot(mesh.api)
        with traffic(faults) as answers:
            before = held.held(mesh.paths)
            self._make_world()
            for start in range(0, count, ROUND):
                self._round(start, min(ROUND, count - start))
                self._restarts()
                self._logs.check()
                said.check(mesh.api, faults)
            self.tally["acknowledged writes read again"] = self._ledger.check(mesh.api, faults)
            self._remove_world()
            for what, (was, now) in held.leaks(mesh.paths, before).items():
                faults.add(f"leak of {what}", f"{was} before, {now} after {count} inputs")
        self.tally["requests answered meanwhile"] = answers.total()
        ledger.compare(mesh.api, kept, faults)
        self._logs.check()
        self.tally["resources that proxies refused"] = len(self._logs.refusals)

    def _make_world(self) -> None:
        for name in namespaces():
            self._make("/api/v1/namespaces", {"metadata": {"name": name}})
        for sample in objects_of_world():
            self._make(sample.collection, sample.object)
        shell(WORLD)

    def _make(self, collection: str, obj: Any) -> None:
        answer = self._mesh.api.send("POST", collection, obj)
        if answer.status != 201:
            raise RuntimeError(f"POST {collection}: {answer.status} {answer.body[:300].decode(errors='replace')}")

    def _restarts(self) -> None:
        """Of proxies, and of what nobody touched: there are none."""
        for pod in self._mesh.api.get("/api/v1/pods")["items"]:
            own = pod["metadata"]["namespace"] in (NAMESPACE, ROOT_NAMESPACE)
            if restarts(pod) and (own or kinds.GATEWAY_NAME_LABEL in labels_of(pod)):
                self._faults.add(f"restart of {pod['metadata']['name']}", json.dumps(pod["status"]))

    def _remove_world(self) -> None:
        self._meshes.restore()
        kubectl("delete", "customresourcedefinitions", "soaks.example.com", "--ignore-not-found")
        kubectl("delete", "gateways", "--all", "-n", "hello")
        kubectl("delete", "pods", "--all", "-n", "hello", "--now")
        kubectl("delete", "namespaces", *namespaces(), "--timeout=120s")

    def _round(self, start: int, count: int) -> None:
        drawn = self._dice.choices(list(SHARES), list(SHARES.values()), k=count)
        todo = Counter(drawn)
        self.tally.update(todo)
        one = {
            "objects": self._object,
            "wire": self._bytes,
            "meshes": self._mesh_config,
            "commands": self._commands.run,
        }
        for self._faults.number, kind in enumerate(drawn, start):
            if kind in one:
                one[kind]()
        if todo["ports"]:
            self._ports(todo["ports"])
        xds = Xds(self._dice, self._mesh.paths)
        for _ in range(todo["xds"]):
            xds.send()
        xds.close()

    def _object(self) -> None:
        sample, request = self._objects.request()
        answer = self._mesh.api.ask(request)
        self.tally["taken" if 200 <= answer.status < 300 else "refused"] += 1
        if said := complaint(answer):
            self._faults.add(f"{sample.resource.kind} {request.method}: {said}", f"{answer.body[:2500]!r}\n{request}")
        self._ledger.heard(sample, request, answer)

    def _mesh_config(self) -> None:
        answer = self._meshes.send()
        if answer.status != 200:
            self._faults.add(f"a configuration of the mesh is answered {answer.status}", answer.body[:1500])

    def _bytes(self) -> None:
        sent = self._wire.some()
        answer = self._mesh.api.raw(sent.data, encrypted=sent.encrypted, patience=sent.patience)
        self.tally["answered" if answer.status else "let go"] += 1
        if failed(answer):
            self._faults.add(f"bytes are answered {answer.status}", f"{answer.body[:1500]!r}\n{sent}")

    def _ports(self, count: int) -> None:
        """From pods within the mesh and outside of it, both at a time."""
        source, targets = Path(intruder.__file__).read_text(), self._targets()

        def intrude(namespace: str, pod: str, seed: int) -> dict[str, int]:
            command = ("python3", "-", str(seed), str((count + 1) // 2), *targets)
            came: dict[str, int] = json.loads(kubectl("exec", "-i", pod, "-n", namespace, "--", *command, stdin=source))
            return came

        pods = ((NAMESPACE, "deploy/client"), ("default", "outsider"))
        seeds = [self._dice.randrange(1 << 32) for _ in pods]
        with ThreadPoolExecutor() as both:
            for came in both.map(intrude, *zip(*pods, strict=True), seeds):
                self.tally.update({f"ports {what}": number for what, number in came.items()})

    def _targets(self) -> list[str]:
        pods = self._mesh.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        addresses = [pod["status"]["podIP"] for pod in pods]
        found = [f"{address}:{port}" for address in addresses for port in (15001, 15006, 15008, 15020, 15021, 5000)]
        return [*found, f"{DNS_IP}:53", *(f"{NODE_IP}:{port}" for port in (15012, 15010, 15014, 15020, 6443))]
