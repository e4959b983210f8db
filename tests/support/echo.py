"""A world of echo servers in a mesh, asked as Gateway API's conformance suite asks: by `client`, in a pod."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.mesh import Mesh
from support.waiting import first

NAMESPACE = "echo"
LABELS = {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A request of `client`, and what is wanted of it. A header that must not be there is wanted to be None."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    backend: str = ""
    path: str = ""
    seen: Mapping[str, str | None] = field(default_factory=dict)
    answered: Mapping[str, str | None] = field(default_factory=dict)
    method: str = ""

    def command(self) -> str:
        flags = [f"-H={name}:{value}" for name, value in self.headers.items()]
        return shlex.join(["client", self.url, *flags, *([f"--method={self.method}"] if self.method else [])])

    def unmet(self, output: str) -> list[str]:
        answer = Answer(output)
        wanted: list[tuple[str, Any, Any]] = [("status", self.status, answer.status)]
        if self.backend:
            wanted.append(("backend", self.backend, answer.backend))
        if self.path:
            wanted.append(("path", self.path, answer.value("URL")))
        wanted += [(name, value, answer.header("RequestHeader", name)) for name, value in self.seen.items()]
        wanted += [(name, value, answer.header("ResponseHeader", name)) for name, value in self.answered.items()]
        return [f"{self.url}: {name} is {found!r}, not {want!r}" for name, want, found in wanted if found != want]


class Answer:
    """What `client` printed about one request."""

    def __init__(self, output: str) -> None:
        self._output = output

    def value(self, name: str) -> str:
        found = re.search(rf"(?:body\]|\[\d+\]) {name}=(.*)", self._output)
        return found[1] if found else ""

    @property
    def status(self) -> int:
        return int(self.value("StatusCode") or 0)

    @property
    def backend(self) -> str:
        return "-".join(self.value("Hostname").split("-")[:2])

    def header(self, kind: str, name: str) -> str | None:
        values = re.findall(rf"(?i) {kind}={name}:(.*)", self._output)
        return ",".join(values) if values else None


def labelled(name: str, labels: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}


def deployment(name: str, namespace: str, version: str) -> Object:
    labels = {"app": "echo", "version": version}
    image = "registry.k8s.io/gateway-api/conformance/echo-advanced:v1.5.1"
    args = ["--port=8080", "--grpc=7070", "--tcp=9090", f"--version={version}"]
    spec = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "echo", "image": image, "args": args}]},
        },
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}} | {
        "spec": spec
    }


def service(name: str, namespace: str, selector: Mapping[str, str]) -> Object:
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"},
        {"name": "http-alt", "port": 8080, "appProtocol": "http"},
        {"name": "h2c", "port": 81, "targetPort": 8080, "appProtocol": "kubernetes.io/h2c"},
        {"name": "ws", "port": 82, "targetPort": 8080, "appProtocol": "kubernetes.io/ws"},
        {"name": "grpc", "port": 7070, "appProtocol": "grpc"},
        {"name": "tcp", "port": 9090},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": dict(selector), "ports": ports},
    }


def parent(name: str, **more: Any) -> Object:
    return {"group": "", "kind": "Service", "name": name, **more}


def backend(name: str, port: int = 8080, **more: Any) -> Object:
    return {"name": name, "port": port, **more}


def matching(path: str = "/", kind: str = "PathPrefix", **more: Any) -> Object:
    return {"path": {"type": kind, "value": path}, **more}


def modifier(**changes: Any) -> Object:
    """A filter for requests; `set` and `add` by name, `remove` a list."""
    body = {
        name: value if name == "remove" else [{"name": k, "value": v} for k, v in value.items()]
        for name, value in changes.items()
    }
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": body}


def mark(value: str) -> Object:
    header = {"name": "X-Header-Set", "value": value}
    return {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [header]}}


def redirect(**fields: Any) -> Object:
    return {"type": "RequestRedirect", "requestRedirect": fields}


def rewrite(kind: str, value: str) -> Object:
    return {"type": "URLRewrite", "urlRewrite": {"path": path_change(kind, value)}}


def path_change(kind: str, value: str) -> Object:
    return {"type": kind, {"ReplaceFullPath": "replaceFullPath"}.get(kind, "replacePrefixMatch"): value}


@dataclass(frozen=True, slots=True)
class World:
    mesh: Mesh

    def route(self, parents: Sequence[Object], *rules: Object, kind: str = "HTTPRoute", name: str = "route") -> Object:
        """Applies a route, and returns what its status came to be. Namespaces come from its name, `ns/route`."""
        namespace, _, name = name.rpartition("/")
        metadata = {"name": name, "namespace": namespace or NAMESPACE}
        spec = {"parentRefs": list(parents), "rules": list(rules)}
        made = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
        self.mesh.apply(json.dumps(made))
        return first(
            lambda: self.mesh.json("get", kind.lower(), name, "-n", metadata["namespace"]), _up_to_date, "status"
        )

    def ask(self, *cases: Case, source: str = "echo-v1", namespace: str = NAMESPACE) -> None:
        """Asks for all cases at once, until every one is answered as wanted."""
        script = "; echo ----; ".join(f"{case.command()} 2>&1" for case in cases)

        def unmet() -> list[str]:
            output = self.run(script, source, namespace).split("----\n")
            problems = [problem for case, text in zip(cases, output, strict=True) for problem in case.unmet(text)]
            return [*problems, *output] if problems else []

        first(unmet, lambda problems: not problems, "answers as wanted")

    def run(self, script: str, source: str = "echo-v1", namespace: str = NAMESPACE) -> str:
        return self.mesh.kubectl("exec", "-n", namespace, f"deploy/{source}", "--", "sh", "-c", script)

    def backends(self, url: str, count: int) -> list[str]:
        """Who answered each of so many requests."""
        output = self.run(f"client {url} --count={count}")
        found = re.findall(r"body\] Hostname=(.*)", output)
        assert len(found) == count
        return ["-".join(name.split("-")[:2]) for name in found]


def _up_to_date(route: Object) -> bool:
    conditions = [c for parent in route.get("status", {}).get("parents", []) for c in parent["conditions"]]
    return bool(conditions) and all(c["observedGeneration"] == route["metadata"]["generation"] for c in conditions)


def start(mesh: Mesh) -> World:
    """Namespaces `echo`, with a waypoint, and `consumer`; Services `echo-v1`, `echo-v2`, and `echo` for both."""
    objects = [labelled(NAMESPACE, LABELS), labelled("consumer", {"istio.io/dataplane-mode": "ambient"})]
    for version in ("v1", "v2"):
        objects.append(deployment(f"echo-{version}", NAMESPACE, version))
        objects.append(service(f"echo-{version}", NAMESPACE, {"app": "echo", "version": version}))
    objects += [service("echo", NAMESPACE, {"app": "echo"}), deployment("echo-v1", "consumer", "v1")]
    objects.append(service("echo-v1", "consumer", {"app": "echo"}))
    mesh.apply("\n---\n".join(json.dumps(obj) for obj in objects))
    done = mesh.ambientlab("istioctl", "waypoint", "apply", "-n", NAMESPACE, "--wait")
    assert done.code == 0, done.text
    for namespace in (NAMESPACE, "consumer"):
        mesh.kubectl("wait", "-n", namespace, "--for=condition=Available", "deploy", "--all")
    return World(mesh)
