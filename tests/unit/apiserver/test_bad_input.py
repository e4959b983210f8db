"""Damaged requests by the hundred: each is refused or done, none fails the server."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.kubectl_world import serving

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 40, -(1 << 70), 1.5, "", "x", "a" * 300, "é\u0000", [], {}, [None], [[]], [{}],
    {"": 1}, {"a": {"b": [1]}}, "10.96.0.1", "None", [1, "x"], {"name": "x"},
)  # fmt: skip
NAMES = ("spec", "status", "metadata", "foo", "name", "$patch", "$setElementOrder/containers", "$retainKeys", "kind")
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}], "env": [{"name": "A"}]}]},
}
OBJECTS: dict[str, dict[str, Any]] = {
    "/api/v1/namespaces/default/pods": {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"a": "b"}, "finalizers": ["a/b"]},
        "spec": {"volumes": [{"name": "v", "emptyDir": {}}], **TEMPLATE["spec"]},
    },
    "/api/v1/namespaces/default/services": {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.1.1",
            "clusterIPs": ["10.96.1.1"],
            "ports": [{"name": "a", "port": 80}],
        },
    },
    "/apis/apps/v1/namespaces/default/deployments": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE},
    },
    "/api/v1/namespaces/default/configmaps": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "managedFields": [{"manager": "x", "fieldsV1": {"f:data": {}}}]},
        "data": {"a": "b"},
    },
}
PATCHES = ("merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml", "json-patch+json")
BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


def damaged(value: Any, chooser: random.Random) -> Any:
    if chooser.random() < 0.06:
        return chooser.choice(JUNK)
    if isinstance(value, dict):
        result = {key: damaged(inner, chooser) for key, inner in value.items() if chooser.random() > 0.03}
        if chooser.random() < 0.04:
            result[chooser.choice(NAMES)] = chooser.choice(JUNK)
        return result
    if isinstance(value, list):
        return [damaged(inner, chooser) for inner in value] + (
            [chooser.choice(JUNK)] if chooser.random() < 0.05 else []
        )
    return value


def request(chooser: random.Random) -> tuple[str, str, bytes, str]:
    """Method, path, body and media type."""
    path, obj = chooser.choice(list(OBJECTS.items()))
    item = f"{path}/{obj['metadata']['name']}"
    kind = chooser.random()
    if kind < 0.25:
        return "POST", path, json.dumps(damaged(obj, chooser)).encode(), "application/json"
    if kind < 0.4:
        return "PUT", item, json.dumps(damaged(obj, chooser)).encode(), "application/json"
    if kind < 0.85:
        media = chooser.choice(PATCHES)
        body = damaged(obj, chooser)
        if media == "json-patch+json":
            pointer = chooser.choice(("/spec", "/metadata", "", "/spec/ports/-", "/spec/containers/0", "/data/x"))
            operation = {"op": chooser.choice(("add", "remove", "replace", "test")), "path": pointer, "value": body}
            body = [damaged(operation, chooser)]
        sub = chooser.choice(("", "", "/status", "/scale"))
        return "PATCH", f"{item}{sub}?fieldManager=m&force=true", json.dumps(body).encode(), f"application/{media}"
    if kind < 0.9:
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": "x"}, "gracePeriodSeconds": 1}
        return "DELETE", item, json.dumps(damaged(options, chooser)).encode(), "application/json"
    raw = bytearray(json.dumps(obj).encode())
    for _ in range(3):
        raw[chooser.randrange(len(raw))] = chooser.randrange(256)
    return "POST", path, bytes(raw), chooser.choice(BODIES)


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serving(tmp_path) as world,
        aiohttp.ClientSession(world.url, connector=aiohttp.TCPConnector(ssl=world.tls())) as session,
    ):
        yield session


@pytest.mark.parametrize("seed", range(4))
async def test_damaged_requests_never_fail_the_server(http: aiohttp.ClientSession, seed: int) -> None:
    chooser = random.Random(seed)
    answered = dict.fromkeys((2, 4), 0)
    for path, obj in OBJECTS.items():
        async with http.post(path, json=obj) as response:
            assert response.status == 201, await response.text()
    for _ in range(150):
        method, path, body, media_type = request(chooser)
        if "?" in path and media_type != "application/apply-patch+yaml":
            path = path.replace("&force=true", "")
        async with http.request(method, path, data=body, headers={"Content-Type": media_type}) as response:
            text = await response.text()
            assert response.status < 500, (method, path, media_type, body, text)
            assert "Traceback" not in text
            answered[response.status // 100] += 1
        async with http.get(path.partition("?")[0].rpartition("/")[0]) as response:
            assert response.status < 500
    assert min(answered.values()) > 0


NO_NUMBER = ("²", "٣", "--5", "1_0", " 5", "9" * 5000)
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize("text", NO_NUMBER, ids=lambda text: ascii(text[:9]))
async def test_what_is_no_number_is_the_clients_fault(http: aiohttp.ClientSession, text: str) -> None:
    """Some are numbers to Python, or digits to it and no number."""
    for method, query in (("DELETE", "gracePeriodSeconds"), ("GET", "limit")):
        path = f"{CONFIGMAPS}/x" if method == "DELETE" else CONFIGMAPS
        async with http.request(method, path, params={query: text}) as response:
            assert response.status == 400, await response.text()
    made = {"metadata": {"name": "a", "finalizers": ["a/b"]}}
    async with http.post(CONFIGMAPS, json=made) as response:
        assert response.status == 201
    patch = [{"op": "add", "path": f"/metadata/finalizers/{text}", "value": "c/d"}]
    headers = {"Content-Type": "application/json-patch+json"}
    async with http.patch(f"{CONFIGMAPS}/a", data=json.dumps(patch), headers=headers) as response:
        assert response.status == 422, await response.text()


async def test_a_pod_may_have_all_the_time_of_the_world_to_end(http: aiohttp.ClientSession) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "x"}], "terminationGracePeriodSeconds": 2**63 - 1}
    async with http.post("/api/v1/namespaces/default/pods", json={"metadata": {"name": "p"}, "spec": spec}) as made:
        assert made.status == 201
    for grace in (2**63 - 1, 10):
        async with http.delete("/api/v1/namespaces/default/pods/p", json={"gracePeriodSeconds": grace}) as response:
            assert response.status == 200
            metadata = (await response.json())["metadata"]
        assert metadata["deletionGracePeriodSeconds"] == grace
    begun = datetime.fromisoformat(metadata["creationTimestamp"])
    assert 0 <= (datetime.fromisoformat(metadata["deletionTimestamp"]) - begun).total_seconds() < 60
