"""The API on the wire: credentials, media types, lists, watches."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ambientlab.api import crds
from ambientlab.api.kinds import CONFIGMAP, CUSTOMRESOURCEDEFINITION, POD, SERVICEACCOUNT
from support.kubectl_world import World, serving

CM = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


@asynccontextmanager
async def session(world: World, *, certificate: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=world.tls(certificate=certificate))
    async with aiohttp.ClientSession(world.url, connector=connector) as made:
        yield made


@pytest.fixture
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with session(world) as made:
        yield made


def configmap(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def get(http: aiohttp.ClientSession, path: str, status: int = 200, **headers: str) -> Any:
    async with http.get(path, headers=headers) as response:
        body = await response.json()
        assert response.status == status, body
        return body


async def send(http: aiohttp.ClientSession, method: str, path: str, body: Any, status: int, **headers: str) -> Any:
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    async with http.request(method, path, data=data, headers=headers) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


class Watch:
    """The events of a watch, one at a time."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> tuple[str, Any]:
        event = json.loads(await self._response.content.readline())
        return event["type"], event["object"]

    async def ends(self) -> bool:
        return await self._response.content.readline() == b""


@asynccontextmanager
async def watching(http: aiohttp.ClientSession, query: str, path: str = CM, **headers: str) -> AsyncIterator[Watch]:
    async with http.get(f"{path}?watch=true&{query}", headers=headers) as response:
        assert response.status == 200
        yield Watch(response)


async def test_without_credentials_only_health_and_version_are_open(world: World) -> None:
    async with session(world, certificate=False) as http:
        for path in ("/healthz", "/livez", "/readyz", "/version", "/version/"):
            async with http.get(path) as response:
                assert response.status == 200
        for path in ("/api", "/apis", CM, "/openapi/v3", "/nothing"):
            status = await get(http, path, 401)
            assert (status["reason"], status["message"]) == ("Unauthorized", "Unauthorized")


async def test_tokens_die_with_their_service_account_and_pod(world: World) -> None:
    client = world.server.client
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "default"}}
    await client.create(SERVICEACCOUNT, account)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"serviceAccountName": "a", "containers": [{"name": "c", "image": "x"}]},
    }
    await client.create(POD, pod)
    path = "/api/v1/namespaces/default/serviceaccounts/a/token"
    kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    async with session(world) as http:
        reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
        bound = await send(http, "POST", path, {**kind, "spec": {"boundObjectRef": reference}}, 201)
        free = await send(http, "POST", path, {**kind, "spec": {}}, 201)
        short = await send(http, "POST", path, {**kind, "spec": {"expirationSeconds": 5}}, 422)
        assert "may not specify a duration less than 10 minutes" in short["message"]
    async with session(world, certificate=False) as http:
        as_bound = {"Authorization": f"Bearer {bound['status']['token']}"}
        as_free = {"Authorization": f"Bearer {free['status']['token']}"}
        await get(http, "/api", 200, **as_bound)
        await get(http, CM, 403, **as_bound)
        await client.delete(POD, "p", "default")
        await get(http, "/api", 401, **as_bound)
        await get(http, "/api", 200, **as_free)
        await client.delete(SERVICEACCOUNT, "a", "default")
        await get(http, "/api", 401, **as_free)


async def test_paths_methods_and_media_types_nobody_serves(http: aiohttp.ClientSession) -> None:
    for path in ("/nothing", "/api/v2", "/api/v1/foos", "/apis/x.y/v1/z", "/api/v1/namespaces/default/pods/p/foo"):
        status = await get(http, path, 404)
        assert status["message"] == "the server could not find the requested resource"
    await send(http, "POST", f"{CM}/x", configmap("x"), 405)
    await send(http, "PUT", CM, configmap("x"), 405)
    status = await get(http, CM, 406, Accept="text/html")
    assert status["reason"] == "NotAcceptable"
    status = await send(http, "POST", CM, b"x", 415, Content_Type="text/plain")
    assert status["reason"] == "UnsupportedMediaType"
    status = await send(http, "PATCH", f"{CM}/x", {}, 415)
    assert "application/strategic-merge-patch+json" in status["message"]
    await send(http, "POST", CM, b"{", 400)
    status = await send(http, "POST", CM, b"x" * (3 << 20) + b"y", 413)
    assert status["reason"] == "RequestEntityTooLarge"


async def test_streams_without_a_node_are_not_implemented(world: World, http: aiohttp.ClientSession) -> None:
    spec = {"containers": [{"name": "c", "image": "x"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": spec}
    await world.server.client.create(POD, pod)
    await get(http, "/api/v1/namespaces/default/pods/p/log", 501)
    await get(http, "/api/v1/namespaces/default/pods/q/log", 404)


async def test_optimistic_concurrency_and_preconditions(http: aiohttp.ClientSession) -> None:
    first = await send(http, "POST", CM, configmap("c", a="1"), 201)
    second = await send(http, "PUT", f"{CM}/c", {**first, "data": {"a": "2"}}, 200)
    status = await send(http, "PUT", f"{CM}/c", {**first, "data": {"a": "3"}}, 409)
    assert status["message"] == (
        'Operation cannot be fulfilled on configmaps "c": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert (await send(http, "PUT", f"{CM}/c", second, 200))["metadata"] == second["metadata"]
    status = await send(http, "DELETE", f"{CM}/c", {"preconditions": {"uid": "other"}}, 409)
    assert "Precondition failed: UID in precondition: other" in status["message"]
    await send(http, "DELETE", f"{CM}/c", {"preconditions": {"uid": first["metadata"]["uid"]}}, 200)


async def test_unknown_fields_warn_or_are_refused(http: aiohttp.ClientSession) -> None:
    body = {**configmap("c"), "extra": 1}
    async with http.post(CM, json=body) as response:
        assert response.status == 201
        assert response.headers["Warning"] == '299 - "unknown field \\"extra\\""'
        assert "extra" not in await response.json()
    status = await send(http, "POST", f"{CM}?fieldValidation=Strict", {**body, "metadata": {"name": "d"}}, 400)
    assert 'unknown field "extra"' in status["message"]


async def test_what_the_webhook_lets_pass_it_may_warn_of(world: World, http: aiohttp.ClientSession) -> None:
    for crd in crds.shipped():
        if crd["spec"]["names"]["kind"] == "VirtualService":
            await world.server.ensure(CUSTOMRESOURCEDEFINITION, crd)
    path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
    rules = [{"route": [{"destination": {"host": "a"}}]}] * 2
    body = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "v"},
        "spec": {"hosts": ["a"], "http": rules},
    }
    warning = '299 - "virtualService rule #1 not used (only the last rule can have no matches)"'
    for method, where, content in (("POST", path, "json"), ("PATCH", f"{path}/v", "merge-patch+json")):
        headers = {"Content-Type": f"application/{content}"}
        async with http.request(method, where, json=body, headers=headers) as response:
            assert response.ok
            assert response.headers.getall("Warning") == [warning]
    async with http.patch(f"{path}/v/status", json={"status": {}}, headers=headers) as response:
        assert response.ok
        assert "Warning" not in response.headers


async def test_yaml_in_and_out(http: aiohttp.ClientSession) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: b}\n"
    await send(http, "POST", CM, text, 201, Content_Type="application/yaml")
    async with http.get(f"{CM}/y", headers={"Accept": "application/yaml"}) as response:
        assert response.content_type == "application/yaml"
        assert "data:\n  a: b\n" in await response.text()


async def test_generated_names(http: aiohttp.ClientSession) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}
    names = {(await send(http, "POST", CM, body, 201))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


async def test_finalizers_hold_an_object_until_they_are_gone(http: aiohttp.ClientSession) -> None:
    body = configmap("c")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await send(http, "POST", CM, body, 201)
    held = await send(http, "DELETE", f"{CM}/c", {"propagationPolicy": "Foreground"}, 200)
    assert held["metadata"]["finalizers"] == ["example.com/hold", "foregroundDeletion"]
    assert held["metadata"]["deletionTimestamp"]
    patch = {"metadata": {"finalizers": None}}
    await send(http, "PATCH", f"{CM}/c", patch, 200, Content_Type="application/merge-patch+json")
    await get(http, f"{CM}/c", 404)


async def test_lists_select_and_come_in_pages_of_one_revision(http: aiohttp.ClientSession) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await send(http, "POST", CM, configmap(name, {"odd": str(name in "ace")}), 201)
    found = await get(http, f"{CM}?labelSelector=odd%3DTrue")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a", "c", "e"]
    found = await get(http, f"{CM}?fieldSelector=metadata.name%3Db")
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    page = await get(http, f"{CM}?limit=2")
    assert page["metadata"]["remainingItemCount"] == 3
    await send(http, "DELETE", f"{CM}/d", {}, 200)
    rest = await get(http, f"{CM}?limit=5&continue={page['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d", "e"]
    assert rest["metadata"]["resourceVersion"] == page["metadata"]["resourceVersion"]
    await get(http, f"{CM}?continue=nonsense", 400)
    await get(http, f"{CM}?labelSelector=a%20b%20c", 400)
    assert (await get(http, f"{CM}?resourceVersion=99999", 504))["reason"] == "Timeout"


async def test_delete_collection_deletes_what_is_selected(http: aiohttp.ClientSession) -> None:
    for name in ("a", "b", "c"):
        await send(http, "POST", CM, configmap(name, {"keep": str(name == "b")}), 201)
    await send(http, "DELETE", f"{CM}?labelSelector=keep%3DFalse", {}, 200)
    assert [item["metadata"]["name"] for item in (await get(http, CM))["items"]] == ["b"]


async def test_tables_and_partial_metadata(http: aiohttp.ClientSession) -> None:
    await send(http, "POST", CM, configmap("c", a="1"), 201)
    table = await get(http, CM, Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][:2] == ["c", 1]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    partial = await get(http, CM, Accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    assert partial["kind"] == "PartialObjectMetadataList"
    assert "data" not in partial["items"][0]


async def test_discovery_is_not_sent_twice(http: aiohttp.ClientSession) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with http.get("/apis", headers={"Accept": accept}) as response:
        assert (await response.json())["kind"] == "APIGroupDiscoveryList"
        tag = response.headers["ETag"]
    async with http.get("/apis", headers={"Accept": accept, "If-None-Match": tag}) as response:
        assert response.status == 304
    groups = await get(http, "/apis")
    assert "apps" in [group["name"] for group in groups["groups"]]
    assert (await get(http, "/apis/apps"))["preferredVersion"]["version"] == "v1"
    names = [resource["name"] for resource in (await get(http, "/apis/apps/v1"))["resources"]]
    assert "deployments/scale" in names


async def test_a_watch_starts_after_the_list_it_follows(http: aiohttp.ClientSession) -> None:
    await send(http, "POST", CM, configmap("a"), 201)
    version = (await get(http, CM))["metadata"]["resourceVersion"]
    await send(http, "POST", CM, configmap("b"), 201)
    async with watching(http, f"resourceVersion={version}") as watch:
        assert [(kind, obj["metadata"]["name"]) for kind, obj in [await watch.next()]] == [("ADDED", "b")]
        await send(http, "DELETE", f"{CM}/a", {}, 200)
        kind, obj = await watch.next()
        assert (kind, obj["metadata"]["name"]) == ("DELETED", "a")


async def test_a_selecting_watch_sees_objects_enter_and_leave(http: aiohttp.ClientSession) -> None:
    await send(http, "POST", CM, configmap("a", {"in": "no"}, n="1"), 201)
    merge = "application/merge-patch+json"
    async with watching(http, "labelSelector=in%3Dyes") as watch:
        enter = {"metadata": {"labels": {"in": "yes"}}}
        leave = {"metadata": {"labels": {"in": "no"}}, "data": {"n": "2"}}
        await send(http, "PATCH", f"{CM}/a", enter, 200, Content_Type=merge)
        assert (await watch.next())[0] == "ADDED"
        last = await send(http, "PATCH", f"{CM}/a", leave, 200, Content_Type=merge)
        kind, obj = await watch.next()
        assert kind == "DELETED"
        assert obj["metadata"]["labels"] == {"in": "yes"}
        assert obj["metadata"]["resourceVersion"] == last["metadata"]["resourceVersion"]


async def test_a_watch_list_marks_the_end_of_what_was_there(http: aiohttp.ClientSession) -> None:
    await send(http, "POST", CM, configmap("a"), 201)
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watching(http, query) as watch:
        assert (await watch.next())[0] == "ADDED"
        kind, obj = await watch.next()
        assert kind == "BOOKMARK"
        assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await send(http, "POST", CM, configmap("b"), 201)
        assert (await watch.next())[0] == "ADDED"
    await get(http, f"{CM}?watch=true&sendInitialEvents=true", 400)


async def test_a_watch_of_tables_names_its_columns_once(http: aiohttp.ClientSession) -> None:
    await send(http, "POST", CM, configmap("a"), 201)
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with watching(http, "", Accept=accept) as watch:
        _, first = await watch.next()
        assert first["columnDefinitions"]
        await send(http, "POST", CM, configmap("b"), 201)
        _, second = await watch.next()
        assert not second["columnDefinitions"]
        assert second["rows"][0]["cells"][0] == "b"


async def test_a_watch_ends_with_its_time_and_with_its_history(world: World, http: aiohttp.ClientSession) -> None:
    async with watching(http, f"resourceVersion={world.store.revision}&timeoutSeconds=1") as watch:
        assert await watch.ends()
    world.store._keep = 5
    for n in range(30):
        await send(http, "POST", CM, configmap(f"c{n}"), 201)
    async with watching(http, "resourceVersion=1") as watch:
        kind, obj = await watch.next()
        assert (kind, obj["code"], obj["reason"]) == ("ERROR", 410, "Expired")
        assert obj["message"].startswith("too old resource version: 1 (")
        assert await watch.ends()


async def test_all_watchers_see_every_change_in_order(world: World, http: aiohttp.ClientSession) -> None:
    watchers, writes = 24, 40

    async def follow() -> list[str]:
        async with watching(http, f"resourceVersion={world.store.revision}") as watch:
            started.release()
            return [(await watch.next())[1]["data"]["n"] for _ in range(writes)]

    await send(http, "POST", CM, configmap("a", n="start"), 201)
    started = asyncio.Semaphore(0)
    following = [asyncio.ensure_future(follow()) for _ in range(watchers)]
    for _ in following:
        await started.acquire()
    client = world.server.client
    for n in range(writes):
        await client.patch(CONFIGMAP, "a", "default", {"data": {"n": str(n)}})
    assert await asyncio.gather(*following) == [[str(n) for n in range(writes)]] * watchers


async def test_stopping_ends_watches(world: World, http: aiohttp.ClientSession) -> None:
    async with watching(http, f"resourceVersion={world.store.revision}") as watch:
        await world.server.stop()
        assert await watch.ends()


async def test_a_failure_shows_no_traceback(world: World, http: aiohttp.ClientSession, monkeypatch: Any) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(world.server.verbs, "get", broken)
    status = await get(http, f"{CM}/x", 500)
    assert status["reason"] == "InternalError"
    assert "secret" not in json.dumps(status)


async def test_token_review_and_eviction(world: World, http: aiohttp.ClientSession) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["istio-ca"]}}
    token = (await send(http, "POST", path, request, 201))["status"]["token"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    spec = {"token": token, "audiences": ["other", "istio-ca"]}
    status = (await send(http, "POST", reviews, {**review, "spec": spec}, 201))["status"]
    assert status["authenticated"] is True
    assert status["audiences"] == ["istio-ca"]
    assert status["user"]["username"] == "system:serviceaccount:default:default"
    status = (await send(http, "POST", reviews, {**review, "spec": {"token": token}}, 201))["status"]
    assert not status.get("authenticated")
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    await world.server.client.create(POD, {"apiVersion": "v1", "kind": "Pod", **pod})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    await send(http, "POST", "/api/v1/namespaces/default/pods/p/eviction", eviction, 201)
    assert world.server.client.get(POD, "p", "default") is None


async def test_a_body_that_is_not_what_its_headers_say_is_the_clients_mistake(http: aiohttp.ClientSession) -> None:
    answer = await send(http, "POST", CM, b"not compressed", 400, Content_Encoding="gzip")
    assert answer["message"].startswith("the body cannot be read: ")


async def test_a_list_as_it_was(http: aiohttp.ClientSession) -> None:
    """kubernetes.io, "API concepts": the semantics of resourceVersionMatch."""
    first = await send(http, "POST", CM, configmap("one"), 201)
    then = first["metadata"]["resourceVersion"]
    await send(http, "POST", CM, configmap("two"), 201)

    async def listed(match: str) -> tuple[set[str], str]:
        found = await get(http, f"{CM}?resourceVersion={then}{match}")
        return {item["metadata"]["name"] for item in found["items"]} & {"one", "two"}, found["metadata"][
            "resourceVersion"
        ]

    assert await listed("&resourceVersionMatch=Exact") == ({"one"}, then)
    for match in ("&resourceVersionMatch=NotOlderThan", ""):
        names, revision = await listed(match)
        assert names == {"one", "two"}
        assert int(revision) > int(then)
    for query, why in (
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Never&resourceVersion=1", "resourceVersionMatch: unsupported value 'Never'"),
        ("limit=99999999999999999999", "limit: invalid value '99999999999999999999': must be a number"),
        ("limit=-1", "limit: invalid value '-1': must be a number"),
    ):
        assert why in (await get(http, f"{CM}?{query}", 400))["message"]
