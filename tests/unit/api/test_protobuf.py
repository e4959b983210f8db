"""`kubectl create` is the oracle: what it sends must read as what it prints with --dry-run=client -o json."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ambientlab.api import admit, kinds, protobuf
from ambientlab.api.errors import StatusError
from ambientlab.api.objects import Object
from ambientlab.api.protobuf_fields import MESSAGES
from ambientlab.api.registry import Registry

DISCOVERY: dict[str, Object] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{"name": "pods", "namespaced": True, "kind": "Pod", "verbs": ["get", "create"]}],
    },
}


class _Capture(BaseHTTPRequestHandler):
    """Takes one POST as an API server would, and keeps its body; there is one pod to GET."""

    bodies: list[bytes]
    pod: Object

    def do_GET(self) -> None:
        self._answer(200, DISCOVERY.get(self.path.partition("?")[0], self.pod))

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        sent = protobuf.decode(self.bodies[-1])
        self._answer(201, {name: sent[name] for name in ("apiVersion", "kind", "metadata")})

    def _answer(self, code: int, obj: Object) -> None:
        answer = json.dumps(obj).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Not into the test's output."""


def _full(kind: str) -> Any:
    """A message in which every field that its table has says something."""
    if kind.startswith("[]"):
        return [_full(kind[2:])]
    if kind.startswith("{}"):
        return {"key": _full(kind[2:])}
    plain = {"string": "x", "int": 7, "bool": True, "float": 0.5, "bytes": "eA==", "IntOrString": 8, "Quantity": "9"}
    if kind == "Time":
        return "2026-11-26T08:00:00Z"
    if kind.rstrip("?") in plain:
        return plain[kind.rstrip("?")]
    result: Object = {}
    for field, inner in MESSAGES[kind].values():
        result |= {field: _full(inner)} if field else _full(inner)
    return result


@pytest.fixture
def captured() -> Iterator[tuple[str, list[bytes]]]:
    bodies: list[bytes] = []
    handler = type(
        "Handler", (_Capture,), {"bodies": bodies, "pod": {"apiVersion": "v1", "kind": "Pod"} | _full("Pod")}
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def _kubectl(home: Path, *arguments: str) -> str:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert kubectl is not None
    environment = {"HOME": str(home), "KUBECONFIG": str(home / "none")}
    return subprocess.run(
        [kubectl, *arguments], env=environment, check=True, capture_output=True, text=True, timeout=30
    ).stdout


COMMANDS = [
    "namespace hello",
    "deployment web --image=nginx:1 --replicas=0 --port=8080",
    "deployment web --image=nginx --image=curl -r 3",
    "deployment sleep --image=curl -- sleep infinity",
    "service clusterip web --tcp=80:8080 --tcp=443",
    "service clusterip web --clusterip=None",
    "service nodeport web --tcp=80 --node-port=30080",
    "service loadbalancer web --tcp=80:http",
    "service externalname web --external-name=example.org",
    "configmap c --from-literal=a=b --from-literal=empty=",
    "secret generic s --from-literal=a=b --type=x/y",
    "serviceaccount me",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_kubectl_creates(tmp_path, captured, command) -> None:
    server, bodies = captured
    head, _, tail = command.partition(" -- ")
    rest = ["--", *tail.split()] if tail else []
    words = ["create", *head.split()]
    printed = json.loads(_kubectl(tmp_path, *words, "--dry-run=client", "-o", "json", *rest))
    _kubectl(tmp_path, f"--server={server}", *words, "--validate=false", *rest)
    (body,) = bodies
    assert protobuf.decode(body) == _without_nulls(printed)


def _without_nulls(value):
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def test_whatever_a_pod_has_comes_with_its_copy(tmp_path, captured) -> None:
    """kubectl reads the pod as JSON and sends it as protobuf. What it changes itself is named here."""
    server, bodies = captured
    keep = [f"--keep-{what}" for what in ("annotations", "labels", "liveness", "readiness", "startup")]
    words = ["debug", "x", "--copy-to=copy", "--set-image=y=z", "--same-node", *keep]
    _kubectl(tmp_path, f"--server={server}", *words)
    expected = _full("PodSpec")
    del expected["ephemeralContainers"]
    assert protobuf.decode(bodies[0])["spec"] == expected


def test_a_token_request(tmp_path, captured) -> None:
    server, bodies = captured
    words = ["create", "token", "me", "--duration=20m", "--audience=a", "--audience=b"]
    with pytest.raises(subprocess.CalledProcessError):  # the answer has no token; the request is what matters here
        _kubectl(tmp_path, f"--server={server}", *words)
    obj, _ = admit.decode(Registry(), kinds.TOKENREQUEST, bodies[0], protobuf.MEDIA_TYPE)
    assert obj["spec"] == {"audiences": ["a", "b"], "expirationSeconds": 1200}


def test_a_kind_without_a_table_is_refused() -> None:
    body = b"k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Banana\x12\x00"
    with pytest.raises(StatusError) as caught:
        protobuf.decode(body)
    assert (caught.value.code, caught.value.message) == (
        415,
        "Banana in v1 cannot be read as protobuf here; send it as application/json",
    )


def test_a_field_without_a_place_is_refused_unless_empty() -> None:
    def namespace(tail: bytes) -> bytes:
        return b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12" + bytes([len(tail)]) + tail

    assert protobuf.decode(namespace(b"\x7a\x00")) == {"apiVersion": "v1", "kind": "Namespace"}
    with pytest.raises(StatusError, match="field 15 of Namespace cannot be read as protobuf here"):
        protobuf.decode(namespace(b"\x7a\x01x"))
