"""The index: which waypoint, which order, and that increments never differ from reading everything anew."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.mesh.index import MeshIndex, index
from ambientlab.mesh.index.services import app_protocol
from ambientlab.mesh.index.values import milliseconds
from ambientlab.mesh.ir import AppProtocol, Key

GOLDEN = Path(__file__).parents[2] / "golden"
KINDS = {(r.api_version, r.kind): r for r in (*kinds.CORE, *kinds.SHIPPED_CRDS)}
HELLO = "helloworld.hello.svc.cluster.local"
WAYPOINT = Key("hello", "waypoint")


def objects_of(*names: str) -> list[Object]:
    return [obj for name in names for obj in yaml.safe_load_all((GOLDEN / name).read_text())]


def built(objects: list[Object]) -> MeshIndex:
    listed: dict[Any, list[Object]] = {}
    for obj in objects:
        listed.setdefault(KINDS[(obj["apiVersion"], obj["kind"])], []).append(obj)
    return index(listed)


WORLD = objects_of("worlds/hello.yaml")
ROUTING = objects_of("cases/who_decides.in.yaml", "cases/virtualservice_split.in.yaml", "cases/cross_namespace.in.yaml")


def result(mesh_index: MeshIndex) -> tuple[Any, ...]:
    mesh = mesh_index.mesh
    return (
        dict(mesh.workloads), dict(mesh.services), dict(mesh.waypoints), dict(mesh.routes), mesh_index.diagnostics(),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WORLD + ROUTING) - 1), st.sampled_from(["put", "remove", "settle"]))))
def test_increments_equal_reading_everything(script: list[tuple[int, str]]) -> None:
    mesh_index = MeshIndex()
    present: dict[tuple[str, str, str], Object] = {}
    for number, what in [*((i, "put") for i in range(len(WORLD))), *script]:
        obj = (WORLD + ROUTING)[number]
        resource = KINDS[(obj["apiVersion"], obj["kind"])]
        place = (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if what == "put":
            mesh_index.put(resource, obj)
            present[place] = obj
        elif what == "remove":
            mesh_index.remove(resource, obj)
            present.pop(place, None)
        else:
            mesh_index.settle()
    mesh_index.settle()
    assert result(mesh_index) == result(built(list(present.values())))


def with_labels(kind: str, name: str, labels: dict[str, str]) -> list[Object]:
    world = copy.deepcopy(WORLD)
    for obj in world:
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name):
            obj["metadata"].setdefault("labels", {}).update(labels)
    return world


@pytest.mark.parametrize(
    ("kind", "name", "labels", "service", "reason"),
    [
        ("Service", "helloworld", {}, WAYPOINT, ""),
        ("Service", "helloworld", {"istio.io/use-waypoint": "none"}, None, ""),
        ("Service", "helloworld", {"istio.io/use-waypoint": "other"}, None, "WaypointIsNotReady"),
        ("Gateway", "waypoint", {"istio.io/waypoint-for": "workload"}, None, "UnsupportedTrafficType"),
        ("Gateway", "waypoint", {"istio.io/waypoint-for": "all"}, WAYPOINT, ""),
        ("Gateway", "waypoint", {"istio.io/waypoint-for": "none"}, None, "UnsupportedTrafficType"),
        ("GatewayClass", "istio-waypoint", {"istio.io/waypoint-for": "workload"}, None, "UnsupportedTrafficType"),
        ("Namespace", "hello", {"istio.io/use-waypoint": "none"}, None, ""),
        ("Namespace", "hello", {"istio.io/use-waypoint-namespace": "elsewhere"}, None, "WaypointIsNotReady"),
    ],
)
def test_which_waypoint(kind: str, name: str, labels: dict[str, str], service: Key | None, reason: str) -> None:
    mesh_index = built(with_labels(kind, name, labels))
    assert mesh_index.mesh.services[HELLO].waypoint == service
    assert mesh_index.shapes[HELLO].binding.reason == reason


def test_a_waypoint_has_no_waypoint() -> None:
    assert built(WORLD).mesh.services["waypoint.hello.svc.cluster.local"].waypoint is None


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"port": 80, "name": "http"}, AppProtocol.HTTP),
        ({"port": 80, "name": "http-web"}, AppProtocol.HTTP),
        ({"port": 80, "name": "HTTP2"}, AppProtocol.HTTP2),
        ({"port": 80, "name": "grpc-web"}, AppProtocol.GRPC),
        ({"port": 80, "name": "httpbin"}, AppProtocol.UNDECLARED),
        ({"port": 80}, AppProtocol.UNDECLARED),
        ({"port": 3306}, AppProtocol.TCP),
        ({"port": 3306, "name": "http"}, AppProtocol.HTTP),
        ({"port": 80, "name": "http", "appProtocol": "tcp"}, AppProtocol.TCP),
        ({"port": 80, "name": "tcp", "appProtocol": "kubernetes.io/h2c"}, AppProtocol.HTTP2),
        ({"port": 443, "name": "https"}, AppProtocol.TLS),
    ],
)
def test_protocol_selection(port: dict[str, Any], expected: AppProtocol) -> None:
    assert app_protocol(port) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("5s", 5000), ("0.3s", 300), ("1m30s", 90_000), ("1h", 3_600_000), ("250ms", 250), ("0", 0)),
        *(("-1s", -1000), ("+1s", 1000), ("-0", 0), ("1000\N{GREEK SMALL LETTER MU}s", 1)),
        ("9" * 400 + "h", 2**63 // 10**6),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-", "+-1s", "\N{ARABIC-INDIC DIGIT ONE}s", "5x", "1s1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        milliseconds(text)


def test_addresses_are_the_same_however_they_are_written_and_nothing_else_is_one() -> None:
    ready = {
        "podIPs": [{"ip": "10.244.0.5"}, {"ip": "fd00:10:244::5"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    made = MeshIndex()
    made.put(kinds.POD, {"metadata": {"name": "web", "namespace": "hello"}, "spec": {}, "status": ready})
    ips, port = ["FD00:10:96:0::9", "fd00:10:96::8%eth0"], {"name": "http", "port": 80}
    made.put(
        kinds.SERVICE,
        {"metadata": {"name": "web", "namespace": "hello"}, "spec": {"clusterIPs": ips, "ports": [port]}},
    )
    for kind, address in (("IPv6", "FD00:10:244::5"), ("FQDN", "web.example.com")):
        labels = {"kubernetes.io/service-name": "web"}
        listed = [{"addresses": [address]}]
        made.put(
            kinds.ENDPOINTSLICE,
            {
                "metadata": {"name": kind.lower(), "namespace": "hello", "labels": labels},
                "addressType": kind,
                "endpoints": listed,
                "ports": [port],
            },
        )
    made.settle()
    service = made.mesh.services["web.hello.svc.cluster.local"]
    assert service.vips == ("fd00:10:96::9",)
    [endpoint] = service.endpoints
    assert endpoint.address == "fd00:10:244::5"
    assert endpoint.workload is not None


@pytest.mark.parametrize("prefix", ["topology.kubernetes.io", "failure-domain.beta.kubernetes.io"])
def test_where_a_node_is(prefix: str) -> None:
    """By the labels of today, or else by those of before (getPodLocality in Istio)."""
    labels = {f"{prefix}/region": "us", f"{prefix}/zone": "z1"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}}
    assert dict(built([node]).mesh.nodes) == {Key("", "n"): "us/z1/"}


@pytest.mark.parametrize(("namespace", "enforced"), [("istio-system", 0), ("hello", 1)])
def test_a_peer_authentication_of_the_root_namespace_with_a_selector_is_for_no_workload_of_it_either(
    namespace: str, enforced: int
) -> None:
    labels = {"app": "server"}
    metadata = {"name": "server", "namespace": namespace, "labels": labels}
    pod = {"metadata": metadata, "spec": {"nodeName": "ambientlab"}, "status": {"podIP": "10.244.0.9"}}
    spec = {"selector": {"matchLabels": labels}, "mtls": {"mode": "STRICT"}}
    strict = {"metadata": {"name": "strict", "namespace": namespace}, "spec": spec}
    found = index({kinds.POD: [pod], kinds.PEERAUTHENTICATION: [strict]}).mesh.enforced[Key(namespace, "server")]
    assert len(found) == enforced
