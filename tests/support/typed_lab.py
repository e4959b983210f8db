"""A cluster as the commands of a lab make it, so far as it matters for where traffic goes: nothing runs.

It understands what labs type: here-documents, `kubectl apply`, `label`, `patch` and `delete`, and `istioctl waypoint
apply`. Deployments have one ready pod each, and Services have addresses and endpoints.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import yaml

from ambientlab import labs
from ambientlab.api.objects import Object
from ambientlab.labs.model import Lab, Step
from ambientlab.mesh.index import MeshIndex
from support.decisions import KINDS, indexed

HERE_DOCUMENT = re.compile(r"cat > (\S+) <<'EOF'\n(.*?)\nEOF\n", re.DOTALL)
MOVED = re.compile(r"(?P<get>kubectl get [^|]*) \| (?P<sed>sed [^|]*) \| kubectl apply -f - && (?P<then>.*)")
PROGRAMS = ("kubectl", "k", "istioctl")
PLURALS = {name: r.kind for r in KINDS.values() for name in (r.plural, r.singular, *r.short_names)}
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


_SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: "{port}", port: {port}}}]}}
"""


LAB = "traffic-management"


def after(step: str) -> TypedLab:
    """The lab's cluster after a step."""
    lab = labs.load(LAB)
    typed = TypedLab(lab)
    for each in lab.steps:
        typed.type(each)
        if each.title == step:
            return typed
    raise AssertionError(step)


class TypedLab:
    def __init__(self, lab: Lab) -> None:
        self.files = {asset.name: asset.content for asset in lab.assets}
        self.objects: dict[tuple[str, str, str], Object] = {}
        for manifest in lab.manifests:
            self.apply(manifest.content)

    def type(self, step: Step) -> None:
        for command in step.commands:
            self.command(command)

    def command(self, command: str) -> None:
        for name, text in HERE_DOCUMENT.findall(f"{command}\n"):
            self.files[name] = text
        if moved := MOVED.fullmatch(command):
            got, edit = (shlex.split(moved[part]) for part in ("get", "sed"))
            obj = self.objects[(PLURALS[got[2]], _namespace(got), got[3])]
            self.apply(
                subprocess.run(edit, input=yaml.safe_dump(obj), check=True, capture_output=True, text=True).stdout
            )
            command = moved["then"]
        for words in _statements(HERE_DOCUMENT.sub("", f"{command}\n")):
            self._run(words)

    def index(self) -> MeshIndex:
        return indexed(*self.cluster())

    def _run(self, words: list[str]) -> None:
        match words:
            case ["istioctl", "waypoint", "apply", *options]:
                self._waypoint(_namespace(options), (_values(options, "--name") or ["waypoint"])[0])
            case [_, "apply", *options] if "-f" in options:
                for name in _values(options, "-f"):
                    self.apply(self.files[name], _namespace(options))
            case [_, "label", kind, *options]:
                self._label(PLURALS[kind.partition(".")[0]], options)
            case [_, "expose", "deployment", name, *options]:
                self._expose(name, _namespace(options), int(_values(options, "--port")[0]))
            case [_, "create", "service", "clusterip", name, *options]:
                port = int(_values(options, "--tcp")[0])
                self.apply(_SERVICE.format(name=name, port=port), _namespace(options))
            case [_, "patch", kind, name, *options]:
                obj = self.objects[(PLURALS[kind.partition(".")[0]], _namespace(options), name)]
                for operation in json.loads(_values(options, "-p")[0]):
                    _patch(obj, operation)
            case [_, "delete", "-f", *_]:
                for name in _values(words, "-f"):
                    for obj in yaml.safe_load_all(self.files[name]):
                        self._delete(obj["kind"], _namespace(words, obj), obj["metadata"]["name"])
            case [_, "delete", kind, name, *options]:
                self._delete(PLURALS[kind.partition(".")[0]], _namespace(options), name)

    def apply(self, text: str, namespace: str = "default") -> None:
        for obj in yaml.safe_load_all(text):
            meta = obj["metadata"]
            if obj["kind"] not in ("Namespace", "GatewayClass"):
                meta.setdefault("namespace", namespace)
            self.objects[(obj["kind"], meta.get("namespace", ""), meta["name"])] = obj

    def _delete(self, kind: str, namespace: str, name: str) -> None:
        self.objects.pop((kind, namespace, name), None)

    def _label(self, kind: str, words: list[str]) -> None:
        namespace = "" if kind == "Namespace" else _namespace(words)
        options = [word for word in words if word not in ("-n", namespace)]
        names = [word for word in options if not word.startswith("-") and "=" not in word and not word.endswith("-")]
        for name in names:
            labels = self.objects[(kind, namespace, name)]["metadata"].setdefault("labels", {})
            for word in options:
                key, equals, value = word.partition("=")
                if equals:
                    labels[key] = value
                elif word.endswith("-"):
                    labels.pop(word[:-1], None)

    def _expose(self, name: str, namespace: str, port: int) -> None:
        selector = self.objects[("Deployment", namespace, name)]["spec"]["selector"]["matchLabels"]
        self.objects[("Service", namespace, name)] = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": selector, "ports": [{"port": port}]},
        }

    def _waypoint(self, namespace: str, name: str) -> None:
        self.objects[("Gateway", namespace, name)] = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "gatewayClassName": "istio-waypoint",
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            },
            "status": {"addresses": [{"type": "IPAddress", "value": "10.96.1.1"}]},
        }

    def cluster(self) -> Iterator[Object]:
        """The objects, and what controllers would make of them."""
        pods: list[Object] = []
        for (kind, namespace, name), obj in copy.deepcopy(self.objects).items():
            if kind == "Deployment":
                template = obj["spec"]["template"]
                pod = self._pod(f"{name}-5b89ff7bbd-w6c72", namespace, template["metadata"]["labels"], len(pods))
                owner = {"kind": "ReplicaSet", "name": f"{name}-5b89ff7bbd", "controller": True}
                pod["metadata"] |= {"ownerReferences": [owner]}
                pod["metadata"]["labels"] = {**pod["metadata"]["labels"], "pod-template-hash": "5b89ff7bbd"}
                pods.append(pod)
            elif kind == "Pod":
                pods.append(self._pod(name, namespace, obj["metadata"].get("labels", {}), len(pods)))
            elif kind == "Gateway":
                pods.append(self._pod(f"{name}-1", namespace, {GATEWAY_NAME: name}, len(pods)))
                yield obj
            elif kind != "Service" and (obj["apiVersion"], kind) in KINDS:
                yield obj
        yield from pods
        services = [copy.deepcopy(obj) for (kind, _, _), obj in self.objects.items() if kind == "Service"]
        for number, service in enumerate(services, 1):
            vip = f"10.96.2.{number}"
            service["spec"] |= {"clusterIP": vip, "clusterIPs": [vip]}
            yield service
            yield _slice(service, pods)

    def _pod(self, name: str, namespace: str, labels: dict[str, str], number: int) -> Object:
        home = self.objects[("Namespace", "", namespace)]["metadata"].get("labels", {})
        mode = {**home, **labels}.get("istio.io/dataplane-mode")
        captured = mode == "ambient" and GATEWAY_NAME not in labels
        annotations = {"ambient.istio.io/redirection": "enabled"} if captured else {}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
            "spec": {"nodeName": "ambientlab"},
            "status": {
                "phase": "Running",
                "podIP": f"10.244.2.{number + 1}",
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }


def _slice(service: Object, pods: list[Object]) -> Object:
    meta, selector = service["metadata"], service["spec"]["selector"].items()
    selected = [
        pod["status"]["podIP"]
        for pod in pods
        if pod["metadata"]["namespace"] == meta["namespace"] and selector <= pod["metadata"]["labels"].items()
    ]
    ports = [{"name": p.get("name", ""), "port": p.get("targetPort", p["port"])} for p in service["spec"]["ports"]]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-a",
            "namespace": meta["namespace"],
            "labels": {"kubernetes.io/service-name": meta["name"]},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in selected],
        "ports": ports,
    }


def _statements(text: str) -> Iterator[list[str]]:
    """The words of each command that is one of ours."""
    words: list[str] = []
    for word in shlex.split(text):
        if word in PROGRAMS:
            yield words
            words = []
        words.append(word)
    yield words


def _values(words: list[str], option: str) -> list[str]:
    """As `--port 80` and as `--port=80`."""
    after = [value for name, value in pairwise(words) if name == option]
    return after + [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]


def _namespace(words: list[str], obj: Any = None) -> str:
    own = obj["metadata"].get("namespace") if obj else None
    return own or next(iter(_values(words, "-n")), "default")


def _patch(obj: Any, operation: dict[str, Any]) -> None:
    steps = operation["path"].removeprefix("/").split("/")
    *path, last = (step.replace("~1", "/").replace("~0", "~") for step in steps)
    for step in path:
        obj = obj[int(step)] if isinstance(obj, list) else obj[step]
    if operation["op"] == "remove":
        del obj[int(last) if isinstance(obj, list) else last]
    elif isinstance(obj, list) and last == "-":
        obj.append(operation["value"])
    elif isinstance(obj, list):
        obj[int(last)] = operation["value"]
    else:
        obj[last] = operation["value"]
