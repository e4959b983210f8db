"""`debug translate`: manifests through the stages, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from ambientlab.cli.main import cli

WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: hello, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: helloworld, namespace: hello}
  spec: {clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ports: [{name: http, port: 5000}]}
- apiVersion: gateway.networking.k8s.io/v1
  kind: Gateway
  metadata: {name: waypoint, namespace: hello}
  spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
  status: {addresses: [{type: IPAddress, value: 10.96.0.9}]}
---
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata: {name: route, namespace: hello}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld}]
  rules: [{backendRefs: [{name: helloworld, port: 5000}, {name: nowhere, port: 5000}]}]
"""
BAD = """
apiVersion: v1
kind: Service
metadata: {name: broken}
spec: {ports: [{port: "no number"}]}
---
apiVersion: networking.istio.io/v1
kind: Thing
metadata: {name: thing}
---
- just a list
---
kind: [
"""


def translate(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, ["debug", "translate", *arguments], input=stdin)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "1-world.yaml").write_text(WORLD)
    (tmp_path / "2-route.yml").write_text(ROUTE)
    (tmp_path / "notes.txt").write_text("no manifest")
    return tmp_path


def shown(files: Path, stage: str) -> Any:
    done = translate("-f", str(files), "--stage", stage)
    assert (done.exit_code, done.stderr) == (0, "")
    return yaml.safe_load(done.stdout)


def test_ir_is_the_mesh(files: Path) -> None:
    found = shown(files, "ir")
    [route] = found["routes"]["helloworld.hello.svc.cluster.local:5000"]["routes"]
    assert [item.get("found", False) for item in route["action"]["destinations"]] == [True, False]
    assert found["services"]["helloworld.hello.svc.cluster.local"]["waypoint"] == "hello/waypoint"


def test_xds_is_what_each_proxy_is_told(files: Path) -> None:
    found = shown(files, "xds")
    assert list(found) == ["ztunnel", "waypoint hello/waypoint"]
    tables = found["waypoint hello/waypoint"]["RouteConfiguration"]
    assert any("helloworld.hello" in name for name in tables)


def test_status_is_what_objects_are_told(files: Path) -> None:
    found = shown(files, "status")
    [parent] = found["status"]["HTTPRoute hello/route"]["parents"]
    reasons = {condition["type"]: condition["reason"] for condition in parent["conditions"]}
    assert reasons["ResolvedRefs"] == "BackendNotFound"
    assert {each["reason"] for each in found["diagnostics"]} == {"BackendNotFound", "DestinationMissing"}


def test_what_is_refused_is_told_and_the_rest_translated() -> None:
    done = translate("-f", "-", "--stage", "ir", "-o", "json", stdin=f"{BAD}---{WORLD}")
    assert done.exit_code == 65
    lines = done.stderr.splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [
        "stdin, document 1, Service broken",
        "stdin, document 2, Thing thing",
        "stdin, document 3",
        "stdin, document 4",
    ]
    assert 'no matches for kind "Thing" in version "networking.istio.io/v1"' in lines[1]
    assert "helloworld.hello.svc.cluster.local" in json.loads(done.stdout)["services"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    done = translate("-f", str(tmp_path / "none.yaml"), "--stage", "ir")
    assert (done.exit_code, done.stderr) == (1, f"Error: cannot read {tmp_path}/none.yaml: No such file or directory\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    assert translate("-f", str(tmp_path), "--stage", "ir").exit_code == 65
