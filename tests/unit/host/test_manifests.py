"""Where objects and their fields are written, and what becomes of what is none."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from ambientlab.api.kinds import HTTPROUTE, NAMESPACE, REFERENCEGRANT, SERVICE
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


STREAM = """
{
\t"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one", "annotations": {"a": "\\ud83d\\ude00"}},
\t"spec": {"ports": [{"port": 80}]}
}{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "two"}, "spec": {"ports": [{"port": 80}]}}

{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "three"}, "spec": {}}
"""


def test_json_is_taken_as_jq_writes_it() -> None:
    found = manifests.read([("f", STREAM)])
    lines = {key.name: origin.line for (_, key), origin in found.origins.items()}
    assert lines == {"one": 2, "two": 5}
    assert [(problem.line, problem.number, problem.named) for problem in found.problems] == [(7, 3, "Service three")]
    flow = "{apiVersion: v1, kind: Service, metadata: {name: four}, spec: {ports: [{port: 80}]}}"
    assert [key.name for _, key in manifests.read([("f", flow)]).origins] == ["four"]


def test_a_list_is_read_once_for_all_that_is_wrong_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's objects as kubectl writes them may be thousands in one document."""
    compose, composed = yaml.compose, list[str]()

    def counting(text: str, Loader: Any) -> Any:
        composed.append(text)
        return compose(text, Loader)

    monkeypatch.setattr(yaml, "compose", counting)
    item = "{apiVersion: v1, kind: Service, metadata: {name: NAME}, spec: {}}"
    items = "\n".join(f"- {item.replace('NAME', f's{number}')}" for number in range(50))
    found = manifests.read([("f", f"apiVersion: v1\nkind: List\nitems:\n{items}\n")])
    assert [problem.line for problem in found.problems] == [*range(4, 54)]
    assert len(composed) == 2


def test_objects_without_a_namespace_are_in_the_one_given() -> None:
    found = manifests.read([("f", TEXT)], "hello")
    assert Key("hello", "three") in {key for _, key in found.origins}


@pytest.mark.parametrize("text", ["a: " + "[" * 200_000, '{"a": ' * 20_000 + "1" + "}" * 20_000])
def test_what_is_nested_too_deeply_ends_nothing_but_its_document(text: str) -> None:
    begin = time.process_time()
    found = manifests.read([("f", f"{TEXT}---\n{text}")])
    assert (len(found.origins), [problem.number for problem in found.problems]) == (3, [3])
    assert time.process_time() - begin < 1


def test_documents_of_comments_alone_are_none() -> None:
    """Helm and kustomize write them."""
    found = manifests.read([("f", f"# a licence\n---\n\n---\n# Source: x.yaml\n---\n{TEXT}---\nnull\n---\n")])
    assert (len(found.origins), found.problems) == (3, ())


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_every_version_is_the_one_that_the_mesh_is_made_of(version: str) -> None:
    text = f"apiVersion: gateway.networking.k8s.io/{version}\nkind: ReferenceGrant\nmetadata: {{name: x}}\n"
    rest = 'spec: {from: [{group: g, kind: K, namespace: n}], to: [{group: "", kind: Service}]}\n'
    assert list(manifests.read([("f", text + rest)]).objects) == [REFERENCEGRANT]


@pytest.mark.parametrize(
    ("api_version", "kind", "foreign"),
    [
        ("autoscaling/v2", "HorizontalPodAutoscaler", True),
        ("v1", "PodTemplate", True),
        ("v1", "Servce", False),
        ("networking.istio.io/v1", "VirtualSevice", False),
        ("gateway.networking.k8s.io/v1", "HttpRoute", False),
    ],
)
def test_other_kinds_are_passed_over_and_misspelt_ones_told(api_version: str, kind: str, foreign: bool) -> None:
    found = manifests.read([("f", f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n")])
    assert (len(found.foreign), len(found.problems)) == (int(foreign), int(not foreign))


@pytest.mark.parametrize("junk", ["--- {kind: Service}", "---\t|", "---foo"])
def test_what_stands_behind_a_separator_is_told(junk: str) -> None:
    found = manifests.read([("f", f"{TEXT}{junk}\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n}}\n")])
    [problem] = found.problems
    assert (problem.line, problem.message) == (26, f"invalid Yaml document separator: {junk[3:].strip()}")
    assert NAMESPACE in found.objects


def test_text_is_text_however_it_was_written() -> None:
    windows = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()
    assert manifests.text("f", windows) == ("f", TEXT)
    found = manifests.read([manifests.text("f", b"kind: Service\nname: \xff\n"), ("g", TEXT)])
    [problem] = found.problems
    assert (problem.file, problem.line, problem.message) == ("f", 2, "it is no text: byte 0xff is no UTF-8")
    assert SERVICE in found.objects


def test_what_istio_refuses_is_told_one_by_one_and_where_the_object_is() -> None:
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\n"
    [problem] = manifests.read([("f", f'{rule}spec: {{host: "", subsets: [{{name: ""}}]}}')], "a").problems
    assert problem.errors == ("empty domain name not allowed", "subset name cannot be empty")
    assert problem.namespace == "a"
    [problem] = manifests.read([("f", "{apiVersion: v1, kind: Namespace, metadata: {name: A}}")], "a").problems
    assert problem.namespace == ""
