"""Who is told what a waypoint refuses."""

from __future__ import annotations

from typing import Any

import pytest

from ambientlab.api.kinds import AUTHORIZATIONPOLICY, GATEWAY
from ambientlab.mesh.index import Diagnostic, MeshIndex, ObjectRef
from ambientlab.mesh.ir import Key
from ambientlab.mesh.serve.rejections import Rejections
from ambientlab.mesh.session import Rejected
from ambientlab.mesh.xds.types import EXTENSION

WAYPOINT = Key("hello", "waypoint")


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "hello"}, "spec": {"action": "DENY", "rules": [{}], **spec}}


@pytest.fixture
def index() -> MeshIndex:
    index = MeshIndex()
    gateway = {
        "metadata": {"name": "waypoint", "namespace": "hello"},
        "spec": {"gatewayClassName": "istio-waypoint", "listeners": [{"protocol": "HBONE", "port": 15008}]},
        "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.5"}]},
    }
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
    index.put(GATEWAY, gateway)
    index.put(AUTHORIZATIONPOLICY, policy("of-it", targetRefs=[target]))
    index.put(AUTHORIZATIONPOLICY, policy("of-others", selector={"matchLabels": {"app": "other"}}))
    return index


@pytest.mark.parametrize("place", ["http|direct", "tcp/deny|direct"])
def test_what_stands_before_workloads_is_of_the_waypoint(index: MeshIndex, place: str) -> None:
    rejections = Rejections(index)
    rejections.heard([(WAYPOINT, Rejected(EXTENSION, place, "v", "no"))])
    index.settle()
    said = "waypoint hello/waypoint refuses the policies of its workloads, and goes on with what it had: no"
    told = (Diagnostic(ObjectRef("AuthorizationPolicy", "hello", "of-it"), "Refused", said),)
    assert list(rejections.findings.values()) == [told]
    rejections.heard([])
    index.settle()
    assert list(rejections.findings.values()) == []
