"""Authorization policies executed by a real Envoy: which requests each lets pass, and what is said of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from ambientlab.mesh.index import authorization
from ambientlab.mesh.ir import Guard, Key
from support.guarded_envoy import Ask, Guarded, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CURL, BOB = "spiffe://cluster.local/ns/test/sa/curl", "spiffe://cluster.local/ns/team-blue/sa/bob"
ELSEWHERE = "spiffe://td.example/ns/test/sa/curl"


def guard(*specs: dict[str, Any], dry: bool = False) -> Guard:
    """Of policies p0, p1 ... in namespace hello."""
    metadata = {"annotations": {"istio.io/dry-run": str(dry)}}
    return Guard(
        tuple(
            authorization.read(Key("hello", f"p{number}"), {"metadata": metadata, "spec": spec}).policy
            for number, spec in enumerate(specs)
        )
    )


def source(**fields: list[str]) -> dict[str, Any]:
    return {"rules": [{"from": [{"source": fields}]}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    return {"rules": [{"to": [{"operation": fields}]}]}


def when(key: str, *values: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"rules": [{"when": [{"key": key, "values": list(values), "notValues": list(but)}]}]}


class Case(NamedTuple):
    policy: dict[str, Any]
    passing: tuple[Ask, ...]
    refused: tuple[Ask, ...]


def headers(**fields: str) -> Ask:
    return Ask(headers={name.replace("_", "-"): value for name, value in fields.items()})


CASES: dict[str, Case] = {
    "principals": Case(
        source(principals=["cluster.local/ns/test/sa/curl"]),
        (Ask(peer=CURL),),
        (Ask(peer=BOB), Ask(), Ask(peer=f"{CURL}2")),
    ),
    "principals-prefix": Case(source(principals=["cluster.local/ns/test/*"]), (Ask(peer=CURL),), (Ask(peer=BOB),)),
    "principals-suffix": Case(source(principals=["*/sa/bob"]), (Ask(peer=BOB),), (Ask(peer=CURL), Ask())),
    "principals-suffix-is-text": Case(
        source(principals=["*/sa/b.b", "*["]),
        (Ask(peer="spiffe://cluster.local/ns/team-blue/sa/b.b"),),
        (Ask(peer=BOB),),
    ),
    "principals-any": Case(source(principals=["*"]), (Ask(peer=BOB),), (Ask(),)),
    "notPrincipals": Case(source(notPrincipals=["*/sa/bob"]), (Ask(peer=CURL), Ask()), (Ask(peer=BOB),)),
    "namespaces": Case(source(namespaces=["test"]), (Ask(peer=CURL),), (Ask(peer=BOB), Ask())),
    "namespaces-star": Case(source(namespaces=["team-*"]), (Ask(peer=BOB),), (Ask(peer=CURL),)),
    "namespaces-are-text": Case(source(namespaces=["t.st", "foo[", "team-b*e"]), (Ask(peer=BOB),), (Ask(peer=CURL),)),
    "notNamespaces": Case(source(notNamespaces=["test"]), (Ask(peer=BOB), Ask()), (Ask(peer=CURL),)),
    "serviceAccounts": Case(
        source(serviceAccounts=["test/curl", "reader"]),
        (Ask(peer=CURL), Ask(peer="spiffe://cluster.local/ns/hello/sa/reader")),
        (Ask(peer=BOB), Ask(peer="spiffe://cluster.local/ns/test/sa/reader"), Ask(peer=f"{CURL}y")),
    ),
    "serviceAccounts-are-text": Case(
        source(serviceAccounts=["test/c.rl", "te.t/curl", "foo["]),
        (Ask(peer="spiffe://cluster.local/ns/test/sa/c.rl"),),
        (Ask(peer=CURL),),
    ),
    "notServiceAccounts": Case(source(notServiceAccounts=["test/curl"]), (Ask(peer=BOB),), (Ask(peer=CURL),)),
    "trustDomains": Case(source(trustDomains=["cluster.local"]), (Ask(peer=CURL),), (Ask(peer=ELSEWHERE), Ask())),
    "trustDomains-suffix": Case(source(trustDomains=["*.example"]), (Ask(peer=ELSEWHERE),), (Ask(peer=CURL), Ask())),
    "trustDomains-prefix": Case(source(trustDomains=["cluster*"]), (Ask(peer=CURL),), (Ask(peer=ELSEWHERE), Ask())),
    "trustDomains-are-text": Case(
        source(trustDomains=["*x.mple", "cluster"]), (), (Ask(peer=ELSEWHERE), Ask(peer=CURL))
    ),
    "trustDomains-any": Case(source(trustDomains=["*"]), (Ask(peer=CURL), Ask(peer=ELSEWHERE)), (Ask(),)),
    "notTrustDomains": Case(source(notTrustDomains=["*.example"]), (Ask(peer=CURL), Ask()), (Ask(peer=ELSEWHERE),)),
    "source.trustDomain": Case(when("source.trustDomain", "cluster.local"), (Ask(peer=CURL),), (Ask(peer=ELSEWHERE),)),
    "ipBlocks": Case(source(ipBlocks=["127.0.0.0/31"]), (Ask(),), (Ask(source="127.0.0.2"),)),
    "notIpBlocks": Case(source(notIpBlocks=["127.0.0.2"]), (Ask(),), (Ask(source="127.0.0.2"),)),
    "remoteIpBlocks": Case(
        source(remoteIpBlocks=["203.0.113.0/24"]),
        (headers(x_forwarded_for="203.0.113.9"),),
        (Ask(), headers(x_forwarded_for="203.0.113.9, 192.0.2.1")),
    ),
    "notRemoteIpBlocks": Case(
        source(notRemoteIpBlocks=["203.0.113.0/24"]), (Ask(),), (headers(x_forwarded_for="203.0.113.9"),)
    ),
    "from-any-of": Case(
        {"rules": [{"from": [{"source": {"namespaces": ["test"]}}, {"source": {"ipBlocks": ["127.0.0.2"]}}]}]},
        (Ask(peer=CURL), Ask(source="127.0.0.2")),
        (Ask(peer=BOB),),
    ),
    "from-all-fields": Case(
        source(namespaces=["test"], ipBlocks=["127.0.0.2"]),
        (Ask(peer=CURL, source="127.0.0.2"),),
        (Ask(peer=CURL), Ask(source="127.0.0.2")),
    ),
    "hosts": Case(
        operation(hosts=["hello.example", "*.example.com", "web.*"]),
        (Ask(host="HELLO.example"), Ask(host="a.EXAMPLE.com"), Ask(host="web.anything")),
        (Ask(host="example.com"), Ask(host="hello.example:80")),
    ),
    "notHosts": Case(operation(notHosts=["*.example.com"]), (Ask(),), (Ask(host="a.example.com"),)),
    "methods": Case(
        operation(methods=["GET", "P*"]), (Ask(), Ask(method="PUT"), Ask(method="POST")), (Ask(method="DELETE"),)
    ),
    "notMethods": Case(operation(notMethods=["GET"]), (Ask(method="PUT"),), (Ask(),)),
    "paths": Case(
        operation(paths=["/exact", "/api/*", "*.png"]),
        (Ask("/exact"), Ask("/exact?q=/api"), Ask("/api/a/b"), Ask("/x/a.png"), Ask("/x/../api/a")),
        (Ask("/exactly"), Ask("/api"), Ask("/Exact"), Ask("/api/../x"), Ask("/a.png/")),
    ),
    "paths-any": Case(operation(paths=["*"]), (Ask("/"), Ask("/a")), ()),
    "notPaths": Case(operation(notPaths=["/admin*"]), (Ask("/"),), (Ask("/admin/x"), Ask("/a/../admin"))),
    "path-templates": Case(
        operation(paths=["/users/{*}/photos", "/files/{**}", "/{*}/tail/{**}"]),
        (Ask("/users/7/photos"), Ask("/files/a/b/c"), Ask("/x/tail/y/z")),
        (Ask("/users/7/8/photos"), Ask("/users//photos"), Ask("/users/7/photos/1"), Ask("/file/a")),
    ),
    "ports": Case(operation(ports=["1"]), (), (Ask(),)),
    "notPorts": Case(operation(notPorts=["1"]), (Ask(),), ()),
    "to-any-of": Case(
        {"rules": [{"to": [{"operation": {"methods": ["PUT"]}}, {"operation": {"paths": ["/open"]}}]}]},
        (Ask(method="PUT"), Ask("/open")),
        (Ask("/"),),
    ),
    "header": Case(
        when("request.headers[x-token]", "exact", "begins*", "*ends"),
        (headers(x_token="exact"), headers(x_token="begins here"), headers(x_token="here ends")),
        (Ask(), headers(x_token="EXACT"), headers(x_token="other")),
    ),
    "header-no-request-has": Case(
        {"rules": [*when("request.headers[a\nb]", "*")["rules"], *when("request.headers[x-token]", "*")["rules"]]},
        (headers(x_token="any"),),
        (Ask(),),
    ),
    "header-no-request-has-not": Case(when("request.headers[]", but=("*",)), (Ask(),), ()),
    "expressions-nobody-matches": Case(
        source(principals=["*(", "**/bob", "*/sa/bob"], notNamespaces=["test("]), (Ask(peer=BOB),), (Ask(peer=CURL),)
    ),
    "expression-nobody-matches": Case(source(serviceAccounts=["test/["]), (), (Ask(peer=CURL), Ask())),
    "header-present": Case(when("request.headers[x-token]", "*"), (headers(x_token="any"),), (Ask(),)),
    "header-not": Case(
        when("request.headers[x-token]", but=("old*",)), (Ask(), headers(x_token="new")), (headers(x_token="older"),)
    ),
    "inline-header": Case(
        when("request.experimental.inline.headers[x-list]", "b"),
        (headers(x_list="b"), headers(x_list="a,b"), headers(x_list="b,a"), headers(x_list="a,b,c")),
        (headers(x_list="ab"), headers(x_list="a,bc"), Ask()),
    ),
    "source.ip": Case(when("source.ip", "127.0.0.1"), (Ask(),), (Ask(source="127.0.0.2"),)),
    "remote.ip": Case(when("remote.ip", "203.0.113.0/24"), (headers(x_forwarded_for="203.0.113.1"),), (Ask(),)),
    "source.namespace": Case(when("source.namespace", "test"), (Ask(peer=CURL),), (Ask(peer=BOB),)),
    "source.serviceAccount": Case(when("source.serviceAccount", "test/curl"), (Ask(peer=CURL),), (Ask(peer=BOB),)),
    "source.principal": Case(when("source.principal", "*/sa/curl"), (Ask(peer=CURL),), (Ask(peer=BOB),)),
    "destination.ip": Case(when("destination.ip", "127.0.0.0/8"), (Ask(),), ()),
    "destination.ip-not": Case(when("destination.ip", but=("127.0.0.1",)), (), (Ask(),)),
    "destination.port": Case(when("destination.port", but=("1", "2")), (Ask(),), ()),
    "connection.sni": Case(when("connection.sni", "*"), (), (Ask(),)),
    "metadata": Case(when("experimental.envoy.filters.a.b[c]", "v"), (), (Ask(),)),
    "empty-spec": Case({}, (), (Ask(), Ask(peer=CURL))),
    "empty-rule": Case({"rules": [{}]}, (Ask(), Ask(peer=CURL)), ()),
    "deny": Case({"action": "DENY", **operation(methods=["DELETE"])}, (Ask(),), (Ask(method="DELETE"),)),
    "deny-all": Case({"action": "DENY", "rules": [{}]}, (), (Ask(),)),
    "audit": Case({"action": "AUDIT", "rules": [{}]}, (Ask(),), ()),
}
TOGETHER = {
    "deny-before-allow": guard({"action": "DENY", **operation(paths=["/no"])}, {"rules": [{}]}),
    "two-allows": guard(operation(paths=["/a"]), operation(paths=["/b"])),
    "none": Guard(),
    "tells": Guard(tells_client=True),
    "dry-deny": guard({"action": "DENY", "rules": [{}]}, dry=True),
    "dry-allow": guard({}, dry=True),
}
CONNECTIONS = {
    "tcp-none": Guard(),
    "tcp-deny-with-http": guard({"action": "DENY", **operation(paths=["/x"])}),
    "tcp-deny-port": guard({"action": "DENY", **operation(methods=["GET"], ports=["1"])}),
    "tcp-allow-with-http": guard(operation(methods=["GET"])),
    "tcp-allow-source": guard(source(ipBlocks=["127.0.0.1"])),
    "tcp-allow-claim": guard(when("request.auth.claims[a]", "b"), source(ipBlocks=["127.0.0.2"])),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def envoy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    http = {name: guard(case.policy) for name, case in CASES.items()} | TOGETHER
    async with running(tmp_path_factory.mktemp("envoy"), http, CONNECTIONS) as found:
        yield found


@pytest.mark.parametrize("name", CASES)
async def test_who_passes(envoy: Guarded, name: str) -> None:
    case = CASES[name]
    for ask in case.passing:
        assert (await envoy.ask(name, ask)).status == 200, ask
    for ask in case.refused:
        answer = await envoy.ask(name, ask)
        assert (answer.status, answer.body) == (403, "RBAC: access denied"), ask


async def test_the_order_of_actions(envoy: Guarded) -> None:
    assert [(await envoy.ask("deny-before-allow", Ask(path))).status for path in ("/yes", "/no")] == [200, 403]
    assert [(await envoy.ask("two-allows", Ask(path))).status for path in ("/a", "/b", "/c")] == [200, 200, 403]
    assert [(await envoy.ask(name, Ask())).status for name in ("none", "dry-deny", "dry-allow")] == [200, 200, 200]


async def test_the_application_is_told_of_the_client_by_the_waypoint_alone(envoy: Guarded) -> None:
    forged = Ask(peer=CURL, headers={"x-forwarded-client-cert": f"URI={BOB}"})
    assert "seen-x-forwarded-client-cert" not in (await envoy.ask("none", forged)).headers
    assert (await envoy.ask("tells", forged)).headers["seen-x-forwarded-client-cert"] == f"URI={CURL}"


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("tcp-none", True),
        ("tcp-deny-with-http", False),
        ("tcp-deny-port", True),
        ("tcp-allow-with-http", False),
        ("tcp-allow-source", True),
        ("tcp-allow-claim", False),
    ],
)
async def test_connections(envoy: Guarded, name: str, passes: bool) -> None:
    assert await envoy.passes(name) is passes
