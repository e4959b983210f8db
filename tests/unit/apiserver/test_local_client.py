"""The client of this process, and what the verbs do for some kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambientlab.api.client import Event
from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import (
    CONFIGMAP,
    CUSTOMRESOURCEDEFINITION,
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SERVICE,
)
from ambientlab.api.objects import copy
from ambientlab.api.resources import Resource
from support.kubectl_world import World, serving
from support.waiting import until

WIDGET = Resource("example.com", "v1", "widgets", "Widget")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


def obj(kind: str, name: str, api_version: str = "v1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **more}


def pod(name: str) -> dict[str, Any]:
    return obj("Pod", name, spec={"containers": [{"name": "c", "image": "x"}]})


def crd(**spec: Any) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            **spec,
        },
    }


async def test_a_watch_begins_with_what_is_there_and_goes_on_in_order(world: World) -> None:
    client = world.server.client
    await client.create(CONFIGMAP, obj("ConfigMap", "a"))
    seen: list[tuple[str, str]] = []
    stop = client.watch(CONFIGMAP, lambda event: seen.append((event.type, event.object["metadata"]["name"])))
    await client.create(CONFIGMAP, obj("ConfigMap", "b"))
    await client.patch(CONFIGMAP, "a", "default", {"data": {"x": "1"}})
    await client.delete(CONFIGMAP, "b", "default")
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    stop()
    await client.delete(CONFIGMAP, "a", "default")
    assert len(seen) == 4


async def test_what_a_caller_gives_is_its_own(world: World) -> None:
    given = pod("p")
    before = copy(given)
    created = await world.server.client.create(POD, given)
    assert given == before
    assert created is world.server.client.get(POD, "p", "default")


async def test_writes_that_race_conflict_and_the_first_wins(world: World) -> None:
    client = world.server.client
    created = await client.create(CONFIGMAP, obj("ConfigMap", "a"))
    first, second = copy(created), copy(created)
    first["data"], second["data"] = {"n": "1"}, {"n": "2"}
    results = await asyncio.gather(
        client.update(CONFIGMAP, first), client.update(CONFIGMAP, second), return_exceptions=True
    )
    assert isinstance(results[1], StatusError)
    assert results[1].reason == "Conflict"
    assert (client.get(CONFIGMAP, "a", "default") or {})["data"] == {"n": "1"}


async def test_creating_the_same_name_at_once_works_once(world: World) -> None:
    client = world.server.client
    results = await asyncio.gather(
        *(client.create(CONFIGMAP, obj("ConfigMap", "a")) for _ in range(5)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, StatusError)]
    assert [error.reason for error in refused] == ["AlreadyExists"] * 4


async def test_a_write_that_changes_nothing_writes_nothing(world: World) -> None:
    client = world.server.client
    created = await client.create(POD, pod("p"))
    revision = world.store.revision
    assert await client.patch(POD, "p", "default", {"metadata": {"labels": {}}}) is not None
    await client.update(POD, created)
    assert world.store.revision == revision


async def test_status_and_spec_do_not_touch_each_other(world: World) -> None:
    client = world.server.client
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(DEPLOYMENT, obj("Deployment", "d", "apps/v1", spec=spec, status={"replicas": 7}))
    patch = {"spec": {"replicas": 9}, "status": {"replicas": 1, "observedGeneration": 1}}
    after = await client.patch(DEPLOYMENT, "d", "default", patch, subresource="status")
    assert after["spec"]["replicas"] == 1
    assert after["status"]["replicas"] == 1
    assert after["metadata"]["generation"] == 1
    after = await client.patch(DEPLOYMENT, "d", "default", patch)
    assert after["spec"]["replicas"] == 9
    assert after["status"]["replicas"] == 1
    assert after["metadata"]["generation"] == 2
    after = await client.patch(DEPLOYMENT, "d", "default", {"spec": {"replicas": 2}}, subresource="scale")
    assert after["kind"] == "Scale"
    assert (client.get(DEPLOYMENT, "d", "default") or {})["spec"]["replicas"] == 2


async def test_a_namespace_goes_when_it_is_finalized(world: World) -> None:
    client = world.server.client
    await world.namespace("going")
    await client.delete(NAMESPACE, "going")
    found = copy(client.get(NAMESPACE, "going") or {})
    assert found["status"]["phase"] == "Terminating"
    found["spec"]["finalizers"] = []
    await client.update(NAMESPACE, found, subresource="finalize")
    assert client.get(NAMESPACE, "going") is None
    with pytest.raises(StatusError, match="may not be deleted"):
        await client.delete(NAMESPACE, "kube-system" if client.get(NAMESPACE, "kube-system") else "default")


async def test_applying_owns_and_drops(world: World) -> None:
    client = world.server.client
    await client.apply(CONFIGMAP, obj("ConfigMap", "a", data={"x": "1", "y": "1"}), manager="m")
    applied = await client.apply(CONFIGMAP, obj("ConfigMap", "a", data={"x": "2"}), manager="m")
    assert applied["data"] == {"x": "2"}
    await client.apply(CONFIGMAP, obj("ConfigMap", "a", data={"x": "3"}), manager="other")
    assert (client.get(CONFIGMAP, "a", "default") or {})["data"] == {"x": "3"}


async def test_ensure_writes_only_what_changed(world: World) -> None:
    shipped = obj("ConfigMap", "a", data={"x": "1"})
    await world.server.ensure(CONFIGMAP, shipped)
    revision = world.store.revision
    await world.server.ensure(CONFIGMAP, shipped)
    await world.server.client.patch(CONFIGMAP, "a", "default", {"metadata": {"labels": {"mine": "1"}}})
    revision += 1
    await world.server.ensure(CONFIGMAP, shipped)
    assert world.store.revision == revision
    after = await world.server.ensure(CONFIGMAP, obj("ConfigMap", "a", data={"y": "2"}))
    assert after["data"] == {"y": "2"}
    assert after["metadata"]["labels"] == {"mine": "1"}


async def test_a_crd_is_served_from_the_moment_it_is_acknowledged(world: World) -> None:
    client = world.server.client
    with pytest.raises(StatusError) as refused:
        await client.create(WIDGET, obj("Widget", "w", "example.com/v1"))
    assert refused.value.code == 404
    created = await client.create(CUSTOMRESOURCEDEFINITION, crd())
    conditions = {one["type"]: one["status"] for one in created["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    held = obj("Widget", "w", "example.com/v1")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(WIDGET, held)
    gone = asyncio.Event()

    def see(event: Event) -> None:
        if event.type == "DELETED":
            gone.set()

    client.watch(CUSTOMRESOURCEDEFINITION, see)
    await client.delete(CUSTOMRESOURCEDEFINITION, "widgets.example.com")
    await client.patch(WIDGET, "w", "default", {"metadata": {"finalizers": None}})
    await gone.wait()
    assert world.store.list("example.com/widgets") == []


async def test_of_a_kind_that_nobody_serves_there_is_nothing(world: World) -> None:
    """A person may delete a CRD whose objects a controller looks for."""
    client = world.server.client
    await client.create(CUSTOMRESOURCEDEFINITION, crd())
    await client.create(WIDGET, obj("Widget", "w", "example.com/v1"))
    told: list[str] = []
    client.watch(WIDGET, lambda event: told.append(event.type))
    await client.delete(CUSTOMRESOURCEDEFINITION, "widgets.example.com")
    await until(lambda: told == ["ADDED", "DELETED"], "its object goes with it")
    await until(lambda: client.list(CUSTOMRESOURCEDEFINITION) == [], "it has gone")
    assert client.list(WIDGET) == []
    assert client.get(WIDGET, "w", "default") is None


async def test_a_second_crd_with_the_same_kind_is_not_established(world: World) -> None:
    client = world.server.client
    await client.create(CUSTOMRESOURCEDEFINITION, crd())
    other = crd(names={"plural": "things", "singular": "thing", "kind": "Widget", "listKind": "WidgetList"})
    other["metadata"]["name"] = "things.example.com"
    created = await client.create(CUSTOMRESOURCEDEFINITION, other)
    assert [(c["type"], c["status"], c["message"]) for c in created["status"]["conditions"]] == [
        ("NamesAccepted", "False", '"Widget" is already in use')
    ]
    assert world.registry.find("example.com", "v1", "things") is None


async def test_custom_resources_are_updated_at_a_version_only(world: World) -> None:
    client = world.server.client
    await client.create(CUSTOMRESOURCEDEFINITION, crd())
    created = copy(await client.create(WIDGET, obj("Widget", "w", "example.com/v1")))
    del created["metadata"]["resourceVersion"]
    with pytest.raises(StatusError, match="must be specified for an update"):
        await client.update(WIDGET, created)


async def test_an_address_survives_updates_and_a_failed_write_gives_it_back(world: World) -> None:
    client = world.server.client
    service = obj("Service", "s", spec={"ports": [{"port": 80}]})
    created = await client.create(SERVICE, service)
    address = created["spec"]["clusterIP"]
    assert (await client.update(SERVICE, service))["spec"]["clusterIP"] == address
    await client.delete(SERVICE, "s", "default")
    writer = world.store._log._writer
    assert writer is not None
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count={pages}")
    wanted = obj("Service", "t", spec={"clusterIP": address, "ports": [{"port": 80}]})
    big = {**wanted, "metadata": {**wanted["metadata"], "annotations": {"a": "x" * 100_000}}}
    with pytest.raises(StatusError, match=r"disk holding .* is full: free some space"):
        await client.create(SERVICE, big)
    writer.execute("PRAGMA max_page_count=1000000")
    assert (await client.create(SERVICE, wanted))["spec"]["clusterIP"] == address


async def test_headless_and_external_services_have_no_address(world: World) -> None:
    client = world.server.client
    headless = await client.create(SERVICE, obj("Service", "h", spec={"clusterIP": "None", "ports": [{"port": 80}]}))
    assert headless["spec"]["clusterIPs"] == ["None"]
    external = obj("Service", "e", spec={"type": "ExternalName", "externalName": "example.com"})
    assert "clusterIP" not in (await client.create(SERVICE, external))["spec"]


async def test_lightkube_works_against_the_server(world: World) -> None:
    """A client of another make, with models of its own."""
    from lightkube import AsyncClient, KubeConfig
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap, Namespace

    client = AsyncClient(KubeConfig.from_file(world.kubeconfig).get(), namespace="default", field_manager="me")
    await client.create(ConfigMap(metadata=ObjectMeta(name="a"), data={"x": "1"}))
    await client.patch(ConfigMap, "a", {"data": {"y": "2"}})
    assert (await client.get(ConfigMap, "a")).data == {"x": "1", "y": "2"}
    applied = ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="b"), data={"z": "3"})
    await client.apply(applied)
    assert [item.metadata.name async for item in client.list(ConfigMap) if item.metadata] == ["a", "b"]
    names = [item.metadata.name async for item in client.list(Namespace) if item.metadata]
    assert names == ["default"]
    async for kind, seen in client.watch(ConfigMap):
        assert (kind, seen.metadata.name if seen.metadata else "") == ("ADDED", "a")
        break
    await client.delete(ConfigMap, "a")
    await client.close()
