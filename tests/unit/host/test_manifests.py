"""Where objects and their fields are written, and what becomes of what is none."""

from __future__ import annotations

import pytest

from ambientlab.api.kinds import HTTPROUTE, REFERENCEGRANT, SERVICE
from ambientlab.api.resources import Resource
from ambientlab.host import manifests
from ambientlab.mesh.ir import Key

TEXT = """# two documents
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: one, namespace: a}
  spec:
    ports:
    - {port: 80, name: first}
    - {port: 81, name: second}
- apiVersion: v1
  kind: Service
  metadata:
    name: two
    labels:
      istio.io/use-waypoint: w
  spec: {ports: [{port: 80}]}
--- # the second
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: three}
spec:
  parentRefs:
  - {group: "", kind: Service, name: two}
"""


@pytest.mark.parametrize(
    ("resource", "key", "steps", "line"),
    [
        (SERVICE, Key("a", "one"), [], 5),
        (SERVICE, Key("a", "one"), ["spec", "ports", "1"], 11),
        (SERVICE, Key("a", "one"), ["spec", "ports", "1", "port"], 11),
        (SERVICE, Key("default", "two"), ["metadata", "labels", "istio.io/use-waypoint"], 17),
        (SERVICE, Key("default", "two"), ["metadata", "annotations", "x"], 14),
        (HTTPROUTE, Key("default", "three"), [], 20),
        (HTTPROUTE, Key("default", "three"), ["spec", "parentRefs", "0"], 25),
    ],
)
def test_lines_are_those_of_the_file(resource: Resource, key: Key, steps: list[str], line: int) -> None:
    found = manifests.read([("f", TEXT)])
    assert found.problems == ()
    assert found.origins[(resource, key)].line_of(steps) == line


def test_objects_without_a_namespace_are_in_the_one_given() -> None:
    found = manifests.read([("f", TEXT)], "hello")
    assert Key("hello", "three") in {key for _, key in found.origins}


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_every_version_is_the_one_that_the_mesh_is_made_of(version: str) -> None:
    text = f"apiVersion: gateway.networking.k8s.io/{version}\nkind: ReferenceGrant\nmetadata: {{name: x}}\n"
    rest = 'spec: {from: [{group: g, kind: K, namespace: n}], to: [{group: "", kind: Service}]}\n'
    assert list(manifests.read([("f", text + rest)]).objects) == [REFERENCEGRANT]


@pytest.mark.parametrize(
    ("api_version", "kind", "foreign"),
    [
        ("batch/v1", "CronJob", True),
        ("v1", "PersistentVolumeClaim", True),
        ("v1", "Servce", False),
        ("networking.istio.io/v1", "VirtualSevice", False),
        ("gateway.networking.k8s.io/v1", "HttpRoute", False),
    ],
)
def test_other_kinds_are_passed_over_and_misspelt_ones_told(api_version: str, kind: str, foreign: bool) -> None:
    found = manifests.read([("f", f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n")])
    assert (len(found.foreign), len(found.problems)) == (int(foreign), int(not foreign))
