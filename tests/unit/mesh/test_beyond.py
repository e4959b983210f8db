"""What ServiceEntries name beyond a machine that has no way out is told, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.api.kinds import NAMESPACE, NODE, SERVICE, SERVICEENTRY
from ambientlab.cluster import HOST_NAME
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef

WEB = {
    "metadata": {"name": "web", "namespace": "hello"},
    "spec": {"clusterIPs": ["10.96.0.9"], "ports": [{"port": 80}]},
}


def said(spec: dict[str, Any], runtime: str = "ambientlab://0.1.0") -> list[Diagnostic]:
    index = MeshIndex()
    status = {"nodeInfo": {"containerRuntimeVersion": runtime}}
    index.put(NODE, {"metadata": {"name": "ambientlab"}, "spec": {}, "status": status})
    index.put(NAMESPACE, {"metadata": {"name": "hello"}})
    index.put(SERVICE, WEB)
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    entry = {"hosts": ["api.example.com"], "ports": ports, "location": "MESH_EXTERNAL"} | spec
    index.put(SERVICEENTRY, {"kind": "ServiceEntry", "metadata": {"name": "api", "namespace": "hello"}, "spec": entry})
    index.settle()
    about = ObjectRef("ServiceEntry", "hello", "api")
    return [each for each in index.diagnostics() if each.object == about and each.reason == "Unsupported"]


def at(*addresses: str) -> dict[str, Any]:
    return {"resolution": "DNS", "endpoints": [{"address": address} for address in addresses]}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"resolution": "DNS"}, {"spec.hosts[0]": "api.example.com"}),
        ({"resolution": "DNS_ROUND_ROBIN"}, {"spec.hosts[0]": "api.example.com"}),
        ({"resolution": "DYNAMIC_DNS", "hosts": ["*.example.com"]}, {"spec.hosts[0]": "*.example.com"}),
        (at("host.ambientlab.internal", "Example.org."), {"spec.endpoints[1].address": "Example.org."}),
        (at("10.244.255.254", "192.0.2.1"), {"spec.endpoints[1].address": "192.0.2.1"}),
        (at("2001:db8::1") | {"resolution": "STATIC"}, {"spec.endpoints[0].address": "2001:db8::1"}),
    ],
)
def test_what_is_out_of_reach_is_told(spec: dict[str, Any], fields: dict[str, str]) -> None:
    found = said(spec)
    assert {each.field: each.host for each in found} == {
        field: name if field.startswith("spec.hosts") else "" for field, name in fields.items()
    }
    assert all(f"nothing leads to {fields[each.field]}, out of this machine" in each.message for each in found)


@pytest.mark.parametrize(
    "spec",
    [
        at("host.ambientlab.internal", "host.ambientlab.internal.", HOST_NAME.upper()),
        at("web", "web.hello", "web.hello.svc", "web.hello.svc.cluster.local", "web-0.web", "web-0.web.hello"),
        at("10.244.0.7", "10.96.0.9", "fd00:10:244::7") | {"resolution": "STATIC"},
        at("127.0.0.1", "::1") | {"resolution": "STATIC"},
        at("unix:///run/socket") | {"resolution": "STATIC"},
        {"resolution": "DYNAMIC_DNS", "hosts": [HOST_NAME.replace("host", "*", 1)]},
        {"resolution": "STATIC", "workloadSelector": {"labels": {"app": "web"}}},
        {"resolution": "NONE"},
    ],
)
def test_nothing_is_said_of_what_may_be_within_the_machine(spec: dict[str, Any]) -> None:
    assert said(spec) == []


def test_other_clusters_have_a_way_out() -> None:
    assert said({"resolution": "DNS"}, runtime="containerd://2.1.0") == []
