"""Small pure parts: request targets, forms of answers, rights, addresses, quality of service."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ambientlab.api.errors import StatusError
from ambientlab.apiserver.addresses import NODE_PORTS, Addresses
from ambientlab.apiserver.http.authorization import allowed, check
from ambientlab.apiserver.http.negotiation import Form, choose
from ambientlab.apiserver.http.target import Target, read_target
from ambientlab.apiserver.options import User
from ambientlab.apiserver.strategy import qos_class
from ambientlab.apiserver.subresources import delete_options, selector_text


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces", ("list", "", "v1", "", "namespaces", "", "")),
        ("GET", "/api/v1/namespaces/a", ("get", "", "v1", "", "namespaces", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "v1", "", "namespaces", "a", "finalize")),
        ("GET", "/api/v1/namespaces/a/pods", ("list", "", "v1", "a", "pods", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/p/log", ("get", "", "v1", "a", "pods", "p", "log")),
        ("DELETE", "/apis/a/v1/namespaces/n/bs", ("deletecollection", "a", "v1", "n", "bs", "", "")),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d", ("patch", "apps", "v1", "a", "deployments", "d", "")),
        ("GET", "/apis/apps/v1", ("get", "", "", "", "", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/p/log/more", ("get", "", "", "", "", "", "")),
    ],
)  # fmt: skip
def test_targets(method: str, path: str, expected: tuple[str, ...]) -> None:
    assert read_target(method, path) == Target(path, *expected)


def test_a_watch_is_a_verb_of_its_own() -> None:
    assert read_target("GET", "/api/v1/pods", watch=True).verb == "watch"
    assert read_target("GET", "/api/v1/namespaces/a/pods/p", watch=True).verb == "watch"
    assert read_target("GET", "/api/v1//pods/").path == "/api/v1/pods"


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form()),
        ("*/*", Form()),
        ("application/json", Form()),
        ("application/yaml", Form("application/yaml")),
        (f"{TABLE},application/json", Form("application/json", "Table")),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form()),
        ("application/vnd.kubernetes.protobuf,application/json", Form()),
        ("text/html, */*;q=0.1", Form()),
    ],
)
def test_forms(accept: str, form: Form) -> None:
    assert choose(accept) == form


@pytest.mark.parametrize(
    "accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;as=Table;v=v9"]
)
def test_forms_nobody_here_writes(accept: str) -> None:
    with pytest.raises(StatusError) as refused:
        choose(accept)
    assert refused.value.code == 406


def test_rights() -> None:
    admin = User("kubernetes-admin", ("system:masters",))
    system = User("system:serviceaccount:istio-system:istiod", ("system:serviceaccounts:istio-system",))
    plain = User("system:serviceaccount:default:default", ("system:serviceaccounts", "system:serviceaccounts:default"))
    delete = read_target("DELETE", "/api/v1/namespaces/a")
    assert allowed(admin, delete)
    assert allowed(system, delete)
    assert not allowed(plain, delete)
    assert allowed(plain, read_target("GET", "/apis/apps/v1"))
    assert allowed(plain, read_target("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"))
    assert not allowed(plain, read_target("POST", "/apis/authentication.k8s.io/v1/tokenreviews"))
    assert not allowed(plain, read_target("GET", "/apis/selfsubjectreviews/v1/namespaces"))
    with pytest.raises(StatusError, match='cannot delete resource "namespaces" in API group "" at the cluster scope'):
        check(plain, delete)


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def test_addresses_are_unique_and_come_back() -> None:
    addresses = Addresses(random.Random(1))
    held = []
    for n in range(200):
        made = service(str(n))
        addresses.allocate(made)
        addresses.hold(made)
        held.append(made["spec"]["clusterIP"])
    assert len(set(held)) == 200
    again = service("again", clusterIP=held[0])
    with pytest.raises(StatusError, match="provided IP is already allocated"):
        addresses.allocate(again)
    addresses.release(service("0", clusterIP=held[0]))
    addresses.allocate(again)
    assert again["spec"]["clusterIPs"] == [held[0]]


def test_node_ports_stay_with_their_port() -> None:
    addresses = Addresses(random.Random(1))
    old = service("a", type="NodePort")
    addresses.allocate(old)
    addresses.hold(old)
    port = old["spec"]["ports"][0]["nodePort"]
    assert port in NODE_PORTS
    new = service("a", type="NodePort", clusterIP=old["spec"]["clusterIP"])
    addresses.allocate(new, old)
    assert new["spec"]["ports"][0]["nodePort"] == port
    for taken, text in ((port, "already allocated"), (80, "not in the valid range")):
        other = service("b", type="LoadBalancer", ports=[{"port": 80, "nodePort": taken}])
        with pytest.raises(StatusError, match=text):
            addresses.allocate(other)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    assert qos_class({"containers": [{"name": "c", "resources": resources}]}) == expected


def test_selectors_as_text() -> None:
    expressions = [
        {"key": "b", "operator": "In", "values": ["z", "y"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    assert selector_text({"matchLabels": {"a": "1"}, "matchExpressions": expressions}) == "a=1,b in (y,z),c,!d"


def test_delete_options_come_from_body_or_query() -> None:
    assert delete_options({}, {"gracePeriodSeconds": "3"}).grace_seconds == 3
    assert delete_options({"gracePeriodSeconds": 4}, {"gracePeriodSeconds": "3"}).grace_seconds == 4
    assert delete_options({"orphanDependents": True}).propagation == "Orphan"
    with pytest.raises(StatusError, match="propagationPolicy: Unsupported value"):
        delete_options({"propagationPolicy": "Sideways"})
    with pytest.raises(StatusError, match="invalid gracePeriodSeconds"):
        delete_options({}, {"gracePeriodSeconds": "soon"})
