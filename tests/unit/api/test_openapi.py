"""OpenAPI documents: complete in themselves, and found by what kubectl looks for."""

from __future__ import annotations

import re

import orjson
import pytest

from ambientlab.api import crds, kinds, openapi
from ambientlab.api.registry import Registry


def test_every_group_version_has_a_document_without_loose_ends(registry) -> None:
    for path in openapi.index(registry)["paths"]:
        _, *rest = path.split("/")
        group, version = rest if len(rest) == 2 else ("", rest[0])
        body = openapi.document(registry, group, version)
        assert body is not None
        document = orjson.loads(body)
        targets = set(re.findall(rb'"#/components/schemas/([^"]+)"', body))
        assert {target.decode() for target in targets} <= document["components"]["schemas"].keys()
        assert b'"null"' not in body


@pytest.mark.parametrize("resource", [kinds.POD, kinds.DEPLOYMENT, kinds.HTTPROUTE, kinds.GATEWAYCLASS])
def test_a_kind_is_found_by_path_and_by_group_version_kind(registry, resource) -> None:
    document = orjson.loads(openapi.document(registry, resource.group, resource.version) or b"")
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    namespace = "namespaces/{namespace}/" if resource.namespaced else ""
    item = document["paths"][f"{resource.path}/{namespace}{resource.plural}/{{name}}"]
    assert item["patch"]["x-kubernetes-group-version-kind"] == gvk
    assert "fieldValidation" in {parameter["name"] for parameter in item["patch"]["parameters"]}
    schemas = document["components"]["schemas"].values()
    assert any(gvk in schema.get("x-kubernetes-group-version-kind", []) for schema in schemas)


@pytest.mark.parametrize(("resource", "strategic"), [(kinds.DEPLOYMENT, True), (kinds.HTTPROUTE, False)])
def test_only_core_kinds_offer_strategic_merge_patches(registry, resource, strategic) -> None:
    """kubectl apply chooses its patch by this."""
    document = orjson.loads(openapi.document(registry, resource.group, resource.version) or b"")
    item = document["paths"][f"{resource.path}/namespaces/{{namespace}}/{resource.plural}/{{name}}"]
    accepted = item["patch"]["requestBody"]["content"]
    assert ("application/strategic-merge-patch+json" in accepted) is strategic


def test_the_index_changes_with_the_kinds_it_lists_and_only_there() -> None:
    served = Registry()
    before = openapi.index(served)["paths"]
    for crd in crds.shipped():
        served.put_crd(crd)
    after = openapi.index(served)["paths"]
    assert {path: after[path] for path in before} == before
    assert "apis/gateway.networking.k8s.io/v1" in after.keys() - before.keys()
    assert openapi.document(served, "nobody.example", "v1") is None
