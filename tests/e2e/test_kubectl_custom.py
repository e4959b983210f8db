"""The real kubectl against an API server in this process: custom resources, and bad input."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.kubectl_world import World, serving

WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema: &schema
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, maximum: 10, description: How big it is.}
              tags: {type: array, items: {type: string}, x-kubernetes-list-type: set}
          status:
            type: object
            properties: {ready: {type: boolean}, size: {type: integer}}
  - {name: v1beta1, served: true, storage: false, deprecated: true, schema: *schema}
"""
ONE = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: one}
spec: {size: 3, tags: [a]}
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        await made.ok("apply", "-f", "-", stdin=WIDGETS)
        await made.ok("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=30s")
        yield made


async def test_a_custom_resource_lives_as_a_built_in_one(world: World) -> None:
    assert await world.ok("get", "crd", "widgets.example.com", "-o", "name") == (
        "customresourcedefinition.apiextensions.k8s.io/widgets.example.com\n"
    )
    assert await world.ok("apply", "-f", "-", stdin=ONE) == "widget.example.com/one created\n"
    assert await world.ok("apply", "-f", "-", stdin=ONE) == "widget.example.com/one unchanged\n"
    assert await world.ok("apply", "-f", "-", stdin=ONE.replace("3", "4")) == "widget.example.com/one configured\n"
    lines = (await world.ok("get", "wd")).splitlines()
    assert [line.split()[:2] for line in lines] == [["NAME", "SIZE"], ["one", "4"]]
    assert await world.ok("get", "widgets.v1beta1.example.com", "one", "-o", "jsonpath={.apiVersion}") == (
        "example.com/v1beta1"
    )
    assert "How big it is." in await world.ok("explain", "widget.spec.size")
    ran = await world.run("get", "wd", "-n", "elsewhere")
    assert ran.err == "No resources found in elsewhere namespace.\n"
    assert (await world.ok("delete", "wd", "one", "--ignore-not-found")).startswith('widget.example.com "one" deleted')


async def test_objects_outlive_a_change_of_what_they_are_stored_as(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=ONE)
    swapped = WIDGETS.replace("storage: true", "storage: no").replace("storage: false", "storage: true")
    await world.ok("apply", "-f", "-", stdin=swapped)
    stored = await world.ok("get", "crd", "widgets.example.com", "-o", "jsonpath={.status.storedVersions}")
    assert json.loads(stored) == ["v1", "v1beta1"]
    for version in ("v1", "v1beta1"):
        found = json.loads(await world.ok("get", f"widgets.{version}.example.com", "one", "-o", "json"))
        assert (found["apiVersion"], found["spec"]["size"]) == (f"example.com/{version}", 3)
    assert await world.ok("apply", "-f", "-", stdin=ONE.replace("3", "4")) == "widget.example.com/one configured\n"
    assert world.store.list("example.com/widgets")[0].object["apiVersion"] == "example.com/v1beta1"


OLD = "Warning: example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget\n"


async def test_whoever_uses_a_deprecated_version_is_told(world: World) -> None:
    assert OLD not in (await world.run("apply", "-f", "-", stdin=ONE)).err
    old = "widgets.v1beta1.example.com"
    watch = ("get", old, "--watch", "--request-timeout=1s")
    for arguments in (("get", old), ("get", old, "nobody"), ("delete", old, "one"), watch):
        assert (await world.run(*arguments)).err.count(OLD) == 1
    refused = await world.run("apply", "-f", "-", stdin=ONE.replace("v1", "v1beta1").replace("3", "30"))
    assert OLD in refused.err
    assert "spec.size: Invalid value: 30" in refused.err


async def test_status_and_scale_are_apart_from_the_spec(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=ONE + "status: {ready: true}")
    assert "status" not in json.loads(await world.ok("get", "wd", "one", "-o", "json"))
    patch = '{"spec": {"size": 9}, "status": {"ready": true}}'
    await world.ok("patch", "wd", "one", "--subresource", "status", "--type", "merge", "-p", patch)
    found = json.loads(await world.ok("get", "wd", "one", "-o", "json"))
    assert found["status"] == {"ready": True}
    assert found["spec"]["size"] == 3
    assert found["metadata"]["generation"] == 1
    await world.ok("scale", "wd", "one", "--replicas", "5")
    found = json.loads(await world.ok("get", "wd", "one", "-o", "json"))
    assert found["spec"]["size"] == 5
    assert found["metadata"]["generation"] == 2


async def test_sets_merge_under_server_side_apply(world: World) -> None:
    await world.ok("apply", "--server-side", "--field-manager", "a", "-f", "-", stdin=ONE)
    two = ONE.replace("tags: [a]", "tags: [b]")
    await world.ok("apply", "--server-side", "--field-manager", "b", "-f", "-", stdin=two)
    assert json.loads(await world.ok("get", "wd", "one", "-o", "json"))["spec"]["tags"] == ["a", "b"]
    await world.ok("apply", "--server-side", "--field-manager", "a", "-f", "-", stdin=ONE.replace(", tags: [a]", ""))
    assert json.loads(await world.ok("get", "wd", "one", "-o", "json"))["spec"]["tags"] == ["b"]


async def test_its_objects_go_with_a_crd(world: World) -> None:
    await world.ok("apply", "-f", "-", stdin=ONE)
    await world.ok("delete", "crd", "widgets.example.com")
    assert world.store.list("example.com/widgets") == []
    assert world.registry.find("example.com", "v1", "widgets") is None
    await world.fails("get", "wd")


SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: "
BAD = [
    ("unknown field", ONE.replace("size: 3", "size: 3, colour: red"), 'unknown field "spec.colour"'),
    ("wrong type of a custom field", ONE.replace("size: 3", "size: big"), "spec.size"),
    ("too large", ONE.replace("size: 3", "size: 30"), "spec.size: Invalid value: 30: "),
    ("unknown core field", SERVICE + "{ports: [{port: 80, prot: 1}]}", 'unknown field "spec.ports[0].prot"'),
    ("bad port", SERVICE + "{ports: [{port: 70000}]}", "spec.ports[0].port: Invalid value: 70000"),
    (
        "duplicate names",
        SERVICE + "{ports: [{port: 80, name: a}, {port: 81, name: a}]}",
        'spec.ports[1].name: Duplicate value: "a"',
    ),
    ("broken YAML", "apiVersion: v1\nkind: [", "error parsing"),
    ("unknown kind", "apiVersion: v1\nkind: Foo\nmetadata: {name: x}", 'no matches for kind "Foo" in version "v1"'),
    ("bad name", ONE.replace("name: one", "name: One_"), 'metadata.name: Invalid value: "One_"'),
]


@pytest.mark.parametrize(("text", "expected"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_bad_input_is_told_apart_and_not_stored(world: World, text: str, expected: str) -> None:
    before = world.store.revision
    assert expected in await world.fails("apply", "-f", "-", stdin=text)
    assert world.store.revision == before
