"""The mesh features of Gateway API's conformance suite, as its public specification has them, on one mesh.

Each test is named after the suite's, does what that does with manifests of our own, and asks as it does. What takes a
moment to arrive is asked for again; weights are judged by an exact test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.echo import (
    NAMESPACE,
    Case,
    Object,
    World,
    backend,
    mark,
    matching,
    modifier,
    parent,
    path_change,
    redirect,
    rewrite,
    service,
    start,
)
from support.mesh import Mesh
from support.splits import fits
from support.waiting import eventually, first

GROUP = "gateway.networking.k8s.io"


@pytest.fixture(scope="module")
def world(mesh: Mesh) -> World:
    return start(mesh)


@pytest.fixture(autouse=True)
def _no_routes_are_left(world: World) -> Iterator[None]:
    yield
    world.mesh.kubectl("delete", "httproute,grpcroute,tcproute", "-A", "--all", "--wait=false")


def test_basic(world: World) -> None:
    """MeshBasic: without any configuration, clients reach servers."""
    world.ask(Case("http://echo/"), Case("http://echo-v2:8080/", backend="echo-v2"))


def test_frontend(world: World) -> None:
    """MeshFrontend: rules are for the Service, not for the pods behind it."""
    world.route([parent("echo-v2")], {"filters": [mark("set")], "backendRefs": [backend("echo-v2")]})
    selector = "app=echo,version=v2"
    (pod,) = world.mesh.json("get", "pods", "-n", NAMESPACE, "-l", selector)["items"]
    ip = pod["status"]["podIP"]
    world.ask(
        Case("http://echo-v2/", backend="echo-v2", answered={"X-Header-Set": "set"}),
        Case(f"http://{ip}:8080/", backend="echo-v2", answered={"X-Header-Set": None}),
    )


def test_frontend_hostname(world: World) -> None:
    """MeshFrontendHostname, feature MeshClusterIPMatching: the address called decides, whatever Host says."""
    world.route([parent("echo-v2")], {"filters": [mark("set")], "backendRefs": [backend("echo-v2")]})
    world.ask(
        Case("http://echo-v2/", {"Host": "echo-v1"}, backend="echo-v2", answered={"X-Header-Set": "set"}),
        Case("http://echo-v1/", {"Host": "echo-v2"}, backend="echo-v1", answered={"X-Header-Set": None}),
    )


def test_ports(world: World) -> None:
    """MeshPorts: a parent's port narrows a route to it."""
    world.route(
        [parent("echo-v1", port=80)], {"filters": [mark("v1")], "backendRefs": [backend("echo-v1")]}, name="one"
    )
    world.route([parent("echo-v2")], {"filters": [mark("v2")], "backendRefs": [backend("echo-v2")]}, name="all")
    world.ask(
        Case("http://echo-v1/", backend="echo-v1", answered={"X-Header-Set": "v1"}),
        Case("http://echo-v1:8080/", backend="echo-v1", answered={"X-Header-Set": None}),
        Case("http://echo-v2/", backend="echo-v2", answered={"X-Header-Set": "v2"}),
        Case("http://echo-v2:8080/", backend="echo-v2", answered={"X-Header-Set": "v2"}),
    )


def test_traffic_split(world: World) -> None:
    """MeshTrafficSplit: one Service, a version for each path."""
    world.route(
        [parent("echo")],
        {"matches": [matching("/v1", "Exact")], "backendRefs": [backend("echo-v1")]},
        {"matches": [matching("/v2", "Exact")], "backendRefs": [backend("echo-v2")]},
    )
    world.ask(Case("http://echo/v1", backend="echo-v1"), Case("http://echo/v2", backend="echo-v2"))


def test_httproute_weight(world: World) -> None:
    """MeshHTTPRouteWeight."""
    backends = [backend("echo-v1", weight=70), backend("echo-v2", weight=30), backend("nobody", weight=0)]
    world.route([parent("echo")], {"backendRefs": backends})
    world.ask(Case("http://echo/"))
    fits(world.backends("http://echo/", 200), {"echo-v1": 70.0, "echo-v2": 30.0})


def test_grpcroute_weight(world: World) -> None:
    """MeshGRPCRouteWeight."""
    backends = [backend("echo-v1", 7070, weight=70), backend("echo-v2", 7070, weight=30)]
    world.route([parent("echo")], {"backendRefs": backends}, kind="GRPCRoute")
    world.ask(Case("grpc://echo:7070"))
    fits(world.backends("grpc://echo:7070", 200), {"echo-v1": 70.0, "echo-v2": 30.0})


def test_tcproute_weight(world: World) -> None:
    """What TCPRouteWeightedRouting asks at gateways; a weight of nobody's is of connections that are refused."""
    to = [backend("echo-v1", 9090, weight=70), backend("echo-v2", 9090, weight=30)]
    found = world.route([parent("echo", port=9090)], {"backendRefs": to}, kind="TCPRoute")
    conditions = {c["type"]: c["status"] for c in found["status"]["parents"][0]["conditions"]}
    assert (conditions["Accepted"], conditions["ResolvedRefs"]) == ("True", "True")
    fits(world.backends("tcp://echo:9090", 200), {"echo-v1": 70.0, "echo-v2": 30.0})


def test_tcproute_of_an_older_version(world: World) -> None:
    """v1alpha2 is served with a warning, and what it alone takes is followed, told about and kept from v1."""
    rules = [{"backendRefs": [backend(name, 9090)]} for name in ("echo-v2", "echo-v1")]
    old = f"{GROUP}/v1alpha2"
    metadata = {"name": "route", "namespace": NAMESPACE}
    spec: Object = {"parentRefs": [parent("echo", port=9090)], "rules": rules}
    route = {"apiVersion": old, "kind": "TCPRoute", "metadata": metadata, "spec": spec}
    warned = world.mesh.kubectl("apply", "-f", "-", stdin=json.dumps(route), check=False)
    assert (
        "Warning: The v1alpha2 version of TCPRoute has been deprecated and will be removed in a future release of the "
        "API. Please upgrade to v1.\n"
    ) in warned
    name = ("route", "-n", NAMESPACE)
    told = first(lambda: world.mesh.json("get", "tcproute", *name), lambda route: bool(route.get("status")), "a status")
    assert told["apiVersion"] == f"{GROUP}/v1"
    assert told["spec"]["rules"] == world.mesh.json("get", f"tcproutes.v1alpha2.{GROUP}", *name)["spec"]["rules"]
    eventually(lambda: set(world.backends("tcp://echo:9090", 10)) == {"echo-v2"}, "the first rule wins")
    newer = {**route, "apiVersion": f"{GROUP}/v1"}
    assert "route configured" in world.mesh.apply(json.dumps(newer))  # what was applied last is noted in v1
    rules.reverse()
    refused = world.mesh.kubectl("apply", "-f", "-", stdin=json.dumps(newer), check=False)
    assert "spec.rules: Too many: 2: must have at most 1 item" in refused
    for version in ("v1", "v1alpha2"):
        explained = world.mesh.kubectl("explain", "tcproute.spec.rules", f"--api-version={GROUP}/{version}")
        assert f"VERSION:    {version}\n" in explained


def test_consumer_route(world: World) -> None:
    """MeshConsumerRoute, the one feature that Istio's waypoints do not have: the route says that it has no effect."""
    rule = {"filters": [mark("set")], "backendRefs": [backend("echo-v1", namespace=NAMESPACE)]}
    found = world.route([parent("echo-v1", namespace=NAMESPACE)], rule, name="consumer/route")
    (status,) = found["status"]["parents"]
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Accepted"]["status"] == "True"
    assert (
        "a waypoint takes routes only from the namespace of the service"
        in conditions["ambientlab.io/Finding"]["message"]
    )
    unmarked = Case("http://echo-v1.echo/", backend="echo-v1", answered={"X-Header-Set": None})
    world.ask(unmarked, namespace="consumer")
    world.ask(unmarked)


def test_simple_same_namespace(world: World) -> None:
    """MeshHTTPRouteSimpleSameNamespace."""
    found = world.route([parent("echo")], {"backendRefs": [backend("echo-v1")]})
    conditions = {c["type"]: c["status"] for c in found["status"]["parents"][0]["conditions"]}
    assert conditions == {"Accepted": "True", "ResolvedRefs": "True", "ResolvedWaypoints": "True"}
    world.ask(*[Case("http://echo/", backend="echo-v1")] * 3)


def test_httproute_matching(world: World) -> None:
    """MeshHTTPRouteMatching: paths by their elements, headers by value."""

    def version(value: str) -> Object:
        return matching(headers=[{"name": "version", "value": value}])

    world.route(
        [parent("echo")],
        {"matches": [matching(), version("one")], "backendRefs": [backend("echo-v1")]},
        {"matches": [matching("/v2"), version("two")], "backendRefs": [backend("echo-v2")]},
    )
    v1 = ["/", "/example", "/v2example", "/foo/v2/example"]
    v2 = ["/v2", "/v2/example", "/v2/"]
    world.ask(
        *(Case(f"http://echo{path}", backend="echo-v1") for path in v1),
        *(Case(f"http://echo{path}", backend="echo-v2") for path in v2),
        Case("http://echo/", {"Version": "one"}, backend="echo-v1"),
        Case("http://echo/", {"Version": "two"}, backend="echo-v2"),
    )


def test_expressions(world: World) -> None:
    """Long ones too, and one that is none stops no other."""
    rules = [
        {"matches": [matching(path, "RegularExpression")], "filters": [mark(path)], "backendRefs": [backend("echo-v1")]}
        for path in ("/(unclosed", "/[a-z]{3,400}[0-9]", "/.*")
    ]
    world.route([parent("echo")], *rules)
    word = "long" * 30
    world.ask(
        Case(f"http://echo/{word}1", backend="echo-v1", answered={"X-Header-Set": "/[a-z]{3,400}[0-9]"}),
        Case(f"http://echo/{word}", backend="echo-v1", answered={"X-Header-Set": "/.*"}),
    )


def test_query_param_matching(world: World) -> None:
    """MeshHTTPRouteQueryParamMatching: alone, with others, and with paths and headers; nothing matched is 404."""

    def animal(value: str, path: str = "/", **more: Any) -> Object:
        return matching(path, queryParams=[{"name": "animal", "value": value}], **more)

    version = [{"name": "version", "value": "one"}]
    world.route(
        [parent("echo")],
        {"matches": [animal("whale")], "backendRefs": [backend("echo-v1")]},
        {"matches": [animal("dolphin")], "backendRefs": [backend("echo-v2")]},
        {"matches": [animal("whale", "/path")], "backendRefs": [backend("echo-v2")]},
        {"matches": [animal("whale", headers=version)], "backendRefs": [backend("echo-v2")]},
        {"matches": [animal("shark", "/deep", headers=version)], "backendRefs": [backend("echo-v1")]},
    )
    world.ask(
        Case("http://echo/?animal=whale", backend="echo-v1"),
        Case("http://echo/?animal=whale&other=irrelevant", backend="echo-v1"),
        Case("http://echo/?animal=dolphin&color=yellow", backend="echo-v2"),
        Case("http://echo/path?animal=whale", backend="echo-v2"),
        Case("http://echo/?animal=whale", {"version": "one"}, backend="echo-v2"),
        Case("http://echo/deep?animal=shark", {"version": "one"}, backend="echo-v1"),
        *(
            Case(f"http://echo{rest}", status=404)
            for rest in ("/", "/?animal=dog", "/?color=blue", "/?animal=whaledolphin")
        ),
        Case("http://echo/deep?animal=shark", status=404),
    )


HEADER_CASES = [
    Case("http://echo/set", {"x-other": "kept"}, seen={"x-other": "kept", "x-header-set": "overwritten"}),
    Case("http://echo/set", {"x-header-set": "mine"}, seen={"x-header-set": "overwritten"}),
    Case("http://echo/add", seen={"x-header-add": "added"}),
    Case("http://echo/add", {"x-header-add": "mine"}, seen={"x-header-add": "mine,added"}),
    Case("http://echo/remove", {"X-Header-Remove": "mine"}, seen={"x-header-remove": None}),
    Case(
        "http://echo/many",
        {"x-header-set": "mine", "x-header-add": "mine", "X-HEADER-REMOVE": "mine", "x-other": "kept"},
        seen={"x-header-set": "overwritten", "x-header-add": "mine,added", "x-header-remove": None, "x-other": "kept"},
    ),
]


@pytest.mark.parametrize("level", ["rule", "backend"])
def test_request_header_modifier(world: World, level: str) -> None:
    """MeshHTTPRouteRequestHeaderModifier and MeshHTTPRouteBackendRequestHeaderModifier."""
    changes: dict[str, Object] = {
        "/set": {"set": {"X-Header-Set": "overwritten"}},
        "/add": {"add": {"X-Header-Add": "added"}},
        "/remove": {"remove": ["X-Header-Remove"]},
    }
    changes["/many"] = changes["/set"] | changes["/add"] | {"remove": ["x-header-remove", "x-absent"]}
    rules = []
    for path, change in changes.items():
        filters = {"filters": [modifier(**change)]}
        to = backend("echo-v1") | ({} if level == "rule" else filters)
        rules.append({"matches": [matching(path)], "backendRefs": [to]} | (filters if level == "rule" else {}))
    world.route([parent("echo")], *rules)
    world.ask(*HEADER_CASES)


def test_named_rule(world: World) -> None:
    """MeshHTTPRouteNamedRule."""
    world.route(
        [parent("echo")],
        {"name": "named", "matches": [matching("/named")], "backendRefs": [backend("echo-v1")]},
        {"matches": [matching("/unnamed")], "backendRefs": [backend("echo-v2")]},
    )
    world.ask(Case("http://echo/named", backend="echo-v1"), Case("http://echo/unnamed", backend="echo-v2"))


REDIRECTS: dict[str, list[tuple[Object, int, str]]] = {
    "MeshHTTPRouteRedirectHostAndStatus": [
        ({"hostname": "example.org"}, 302, "http://example.org/0"),
        ({"hostname": "example.org", "statusCode": 301}, 301, "http://example.org/1"),
    ],
    "MeshHTTPRoute303Redirect, 307 and 308": [
        ({"hostname": "example.org", "statusCode": code}, code, f"http://example.org/{n}")
        for n, code in enumerate((303, 307, 308))
    ],
    "MeshHTTPRouteRedirectPath": [
        ({"path": path_change("ReplacePrefixMatch", "/new")}, 302, "http://echo/new"),
        ({"path": path_change("ReplaceFullPath", "/whole")}, 302, "http://echo/whole"),
        ({"hostname": "example.org", "path": path_change("ReplacePrefixMatch", "/new")}, 302, "http://example.org/new"),
        ({"path": path_change("ReplaceFullPath", "/whole"), "statusCode": 301}, 301, "http://echo/whole"),
    ],
    "MeshHTTPRouteRedirectPort": [
        ({"port": 8083}, 302, "http://echo:8083/0"),
        ({"port": 8083, "hostname": "example.org"}, 302, "http://example.org:8083/1"),
        ({"port": 8083, "statusCode": 301}, 301, "http://echo:8083/2"),
        ({"port": 80}, 302, "http://echo/3"),
    ],
    "MeshHTTPRouteSchemeRedirect": [
        ({"scheme": "https"}, 302, "https://echo/0"),
        ({"scheme": "https", "hostname": "example.org"}, 302, "https://example.org/1"),
        ({"scheme": "https", "statusCode": 301}, 301, "https://echo/2"),
        ({"scheme": "https", "port": 8443}, 302, "https://echo:8443/3"),
    ],
}


@pytest.mark.parametrize("name", REDIRECTS)
def test_redirects(world: World, name: str) -> None:
    cases = REDIRECTS[name]
    world.route(
        [parent("echo")],
        *({"matches": [matching(f"/{n}")], "filters": [redirect(**fields)]} for n, (fields, _, _) in enumerate(cases)),
    )
    world.ask(
        *(
            Case(f"http://echo/{n}", status=status, answered={"Location": location})
            for n, (_, status, location) in enumerate(cases)
        )
    )


def test_rewrite_path(world: World) -> None:
    """MeshHTTPRouteRewritePath: prefixes and whole paths, with changes of headers beside."""
    changes = modifier(set={"x-set": "overwritten"}, add={"x-add": "added"}, remove=["x-remove"])
    to = [backend("echo-v1")]
    world.route(
        [parent("echo")],
        {"matches": [matching("/prefix/one")], "filters": [rewrite("ReplacePrefixMatch", "/one")], "backendRefs": to},
        {"matches": [matching("/strip")], "filters": [rewrite("ReplacePrefixMatch", "/")], "backendRefs": to},
        {"matches": [matching("/full/one")], "filters": [rewrite("ReplaceFullPath", "/one")], "backendRefs": to},
        {
            "matches": [matching("/full/more")],
            "filters": [rewrite("ReplaceFullPath", "/x"), changes],
            "backendRefs": to,
        },
    )
    headers = {"x-set": "mine", "x-add": "mine", "x-remove": "mine"}
    seen = {"x-set": "overwritten", "x-add": "mine,added", "x-remove": None}
    world.ask(
        Case("http://echo/prefix/one/two", path="/one/two"),
        Case("http://echo/strip/three", path="/three"),
        Case("http://echo/strip", path="/"),
        Case("http://echo/full/one/two?q=1", path="/one?q=1"),
        Case("http://echo/full/more/y", headers, path="/x", seen=seen),
    )


def test_grpcroute_matching(world: World) -> None:
    """What GRPCRouteExactMethodMatching, GRPCRouteHeaderMatching and GRPCRouteNamedRule ask at gateways."""
    service_name, method = "proto.EchoTestService", "Echo"
    world.route(
        [parent("echo")],
        {
            "name": "exact",
            "matches": [{"method": {"service": service_name, "method": method}}],
            "filters": [modifier(set={"x-rule": "exact"})],
            "backendRefs": [backend("echo-v1", 7070)],
        },
        {
            "matches": [
                {
                    "method": {"service": service_name, "method": method},
                    "headers": [{"name": "version", "value": "two"}],
                }
            ],
            "backendRefs": [backend("echo-v2", 7070)],
        },
        {"matches": [{"method": {"service": "other.Service"}}], "backendRefs": [backend("echo-v2", 7070)]},
        kind="GRPCRoute",
    )
    world.ask(
        Case("grpc://echo:7070", backend="echo-v1", seen={"x-rule": "exact"}),
        Case("grpc://echo:7070", {"version": "two"}, backend="echo-v2", seen={"x-rule": None}),
    )


def test_backend_protocols(world: World) -> None:
    """What HTTPRouteBackendProtocolH2C and HTTPRouteBackendProtocolWebSocket ask at gateways: `appProtocol` decides."""
    world.route(
        [parent("echo")],
        {"matches": [matching("/h2c")], "backendRefs": [backend("echo-v1", 81)]},
        {"backendRefs": [backend("echo-v2", 82)]},
    )
    world.ask(Case("http://echo/h2c", backend="echo-v1"), Case("http://echo/", backend="echo-v2"))
    assert "Proto=HTTP/2.0" in world.run("client http://echo/h2c")
    assert "Proto=HTTP/1.1" in world.run("client http://echo/")
    told = world.run("client ws://echo:82/socket --msg=knock")
    assert re.search(r"\[0 body\] RequestHeader=X-Request-Id:.*Hostname=echo-v2-.*\] knockStatusCode=200", told, re.S)


def test_invalid_backends(world: World) -> None:
    """What HTTPRouteInvalidNonExistentBackendRef asks at gateways, and that a status follows what it is about."""
    backends = [backend("echo-v1", weight=1), backend("later", weight=1)]
    world.route([parent("echo")], {"matches": [matching("/half")], "backendRefs": backends})

    def resolved() -> Object:
        status = world.mesh.json("get", "httproute", "route", "-n", NAMESPACE)["status"]["parents"][0]
        return next(c for c in status["conditions"] if c["type"] == "ResolvedRefs")

    missing = resolved()
    assert missing["reason"] == "BackendNotFound"
    assert missing["message"] == "backend(later.echo.svc.cluster.local) not found"
    world.ask(Case("http://echo/none", status=404))
    codes = re.findall(r"\] StatusCode=(\d+)", world.run("client http://echo/half --count=100"))
    fits(codes, {"200": 50.0, "500": 50.0})
    world.mesh.apply(json.dumps(service("later", NAMESPACE, {"app": "echo", "version": "v2"})))
    eventually(lambda: resolved()["status"] == "True", "status that follows")
    fits(world.backends("http://echo/half", 100), {"echo-v1": 50.0, "echo-v2": 50.0})
    world.mesh.kubectl("delete", "service", "later", "-n", NAMESPACE)


def test_timeouts(world: World) -> None:
    """What HTTPRouteTimeoutRequest and HTTPRouteTimeoutBackendRequest ask at gateways."""
    world.route(
        [parent("echo")],
        {"matches": [matching("/request")], "timeouts": {"request": "100ms"}, "backendRefs": [backend("echo-v1")]},
        {"matches": [matching("/each")], "timeouts": {"backendRequest": "100ms"}, "backendRefs": [backend("echo-v1")]},
        {"matches": [matching("/never")], "timeouts": {"request": "0s"}, "backendRefs": [backend("echo-v1")]},
    )
    world.ask(
        Case("http://echo/request?delay=1s", status=504),
        Case("http://echo/each?delay=1s", status=504),
        Case("http://echo/never?delay=200ms", status=200),
        Case("http://echo/request", status=200),
    )


def test_retries(world: World) -> None:
    """What HTTPRouteRetry asks at gateways: a code that is listed is tried again, up to so many times."""
    rules = [
        {
            "matches": [matching(path)],
            "filters": [mark(path)],
            "retry": {"codes": [503], "attempts": attempts, "backoff": "1ms"},
            "backendRefs": [backend("echo-v1")],
        }
        for path, attempts in (("/twice", 2), ("/four", 4))
    ]
    world.route([parent("echo")], *rules)
    world.ask(*(Case(f"http://echo{path}", answered={"X-Header-Set": path}) for path in ("/twice", "/four")))
    tries = {"/twice?codes=503": 3, "/four?codes=503": 5, "/four?codes=504": 1}
    world.ask(*(Case(f"http://echo{path}", status=int(path[-3:])) for path in tries))

    def logged() -> dict[str, int]:
        log = world.mesh.kubectl("logs", "-n", NAMESPACE, "deploy/echo-v1")
        return {path: log.count(f" {path} ") for path in tries}

    first(logged, lambda found: found == tries, f"log of {tries}")


def test_mirrors(world: World) -> None:
    """What HTTPRouteRequestMirror and HTTPRouteRequestMultipleMirrors ask at gateways."""

    def mirror(name: str, **share: Any) -> Object:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": backend(name), **share}}

    mirrors = [mirror("echo-v2"), mirror("echo-v2", percent=100), mirror("echo-v2", percent=0)]
    world.route([parent("echo")], {"filters": mirrors, "backendRefs": [backend("echo-v1")]})
    world.ask(Case("http://echo/", backend="echo-v1"))
    world.ask(*[Case("http://echo/mirrored-request", backend="echo-v1")] * 3)

    def copies() -> int:
        return world.mesh.kubectl("logs", "-n", NAMESPACE, "deploy/echo-v2").count("/mirrored-request")

    assert first(copies, lambda count: count >= 6, "copies of 3 requests at 2 mirrors") == 6


def test_cors(world: World) -> None:
    """What HTTPRouteCORS asks at gateways."""
    cors = {"allowOrigins": ["https://www.foo.com", "https://*.bar.com"], "allowMethods": ["GET"], "maxAge": 3600}
    world.route([parent("echo")], {"filters": [{"type": "CORS", "cors": cors}], "backendRefs": [backend("echo-v1")]})

    def preflight(origin: str, **answered: str | None) -> Case:
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        wanted = {f"Access-Control-{name.replace('_', '-')}": value for name, value in answered.items()}
        return Case("http://echo/", headers, method="OPTIONS", answered=wanted)

    allowed = {"Allow_Methods": "GET", "Max_Age": "3600"}
    world.ask(
        preflight("https://www.foo.com", Allow_Origin="https://www.foo.com", **allowed),
        preflight("https://a.bar.com", Allow_Origin="https://a.bar.com", **allowed),
        preflight("https://other.com", Allow_Origin=None),
    )


def test_cross_namespace_backend(world: World) -> None:
    """What HTTPRouteCrossNamespace and HTTPRouteReferenceGrant ask at gateways: Istio's waypoints want no grant."""
    to = [backend("echo-v1", namespace="consumer", weight=1)]
    found = world.route([parent("echo")], {"backendRefs": to})
    conditions = {c["type"]: c for c in found["status"]["parents"][0]["conditions"]}
    assert conditions["ResolvedRefs"]["status"] == "True"
    assert "no ReferenceGrant in consumer" in conditions["ambientlab.io/Finding"]["message"]
    world.ask(Case("http://echo/", backend="echo-v1"))
    (pod,) = world.mesh.json("get", "pods", "-n", "consumer")["items"]
    assert f"Hostname={pod['metadata']['name']}" in world.run("client http://echo/")
