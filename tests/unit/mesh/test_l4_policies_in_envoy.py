"""Policies for connections, executed by a real Envoy in ztunnel's part: whom each lets in, by tunnel and without one,
and what the log says of the others. `decide` says the same beforehand, also of policies drawn at random: always of the
same 40 sets, or of AMBIENTLAB_CASES from AMBIENTLAB_SEED."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from ambientlab.api import kinds
from ambientlab.api.objects import Object
from ambientlab.mesh.decide.admission import Admission, Connection, admitted
from ambientlab.mesh.index import index
from ambientlab.mesh.ir import Authorization, Key
from support.guarded_pods import Client, Pods, running
from support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CURL, BOB = "spiffe://cluster.local/ns/test/sa/curl", "spiffe://cluster.local/ns/team-blue/sa/bob"
READER = "spiffe://cluster.local/ns/hello/sa/reader"
EVERYBODY = tuple(
    Client(identity, port, source)
    for identity in (CURL, BOB, READER, "")
    for port in "ab"
    for source in ("127.0.0.1", "127.0.0.2")
)
SETS = int(os.environ.get("AMBIENTLAB_CASES", "0")) or 40
SEED = int(os.environ.get("AMBIENTLAB_SEED", "0")) or (1 if SETS == 40 else random.SystemRandom().randrange(2**32))
A, B = "4001", "4002"
"""Of the ports that pods have, in policies."""


def policy(name: str, namespace: str = "hello", **spec: Any) -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def source(**fields: list[str]) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


def ports(*numbers: str, **fields: list[str]) -> dict[str, Any]:
    return {"to": [{"operation": {"ports": list(numbers), **fields} if numbers else fields}]}


def when(key: str, *values: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"when": [{"key": key, "values": list(values), "notValues": list(but)}]}


def peers(name: str, namespace: str = "hello", mode: str = "", selector: bool = False, **by_port: str) -> Object:
    spec: dict[str, Any] = {"mtls": {"mode": mode}} if mode else {}
    if selector:
        spec["selector"] = {"matchLabels": {"app": "server"}}
    if by_port:
        spec["portLevelMtls"] = {{"a": A, "b": B}[port]: {"mode": value} for port, value in by_port.items()}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    }


def allow(*rules: dict[str, Any]) -> list[Object]:
    return [policy("p", rules=list(rules))]


def deny(*rules: dict[str, Any]) -> list[Object]:
    return [policy("p", action="DENY", rules=list(rules))]


class Case(NamedTuple):
    """`admitted` is a word for each client who gets in: the name of its account, or `plain`, then the port and the last
    digit of its address, where these matter."""

    objects: list[Object]
    admitted: str


SELECTED = {"matchLabels": {"app": "server"}}
CASES: dict[str, Case] = {
    "nothing": Case([], "curl bob reader plain"),
    "allow-nothing": Case([policy("p")], ""),
    "allow-everything": Case(allow({}), "curl bob reader plain"),
    "deny-everything": Case(deny({}), ""),
    "principals": Case(allow(source(principals=["cluster.local/ns/test/sa/curl"])), "curl"),
    "principals-prefix": Case(allow(source(principals=["cluster.local/ns/te*"])), "curl bob"),
    "principals-suffix": Case(allow(source(principals=["*/sa/bob"])), "bob"),
    "principals-any": Case(allow(source(principals=["*"])), "curl bob reader"),
    "principals-with-scheme": Case(allow(source(principals=[CURL])), ""),
    "notPrincipals": Case(allow(source(notPrincipals=["*/sa/bob"])), "curl reader plain"),
    "notPrincipals-any": Case(allow(source(notPrincipals=["*"])), "plain"),
    "namespaces": Case(allow(source(namespaces=["test"])), "curl"),
    "namespaces-prefix": Case(allow(source(namespaces=["te*"])), "curl bob"),
    "namespaces-suffix": Case(allow(source(namespaces=["*st"])), "curl"),
    "namespaces-inner-star-is-text": Case(allow(source(namespaces=["t*t", "t.st"])), ""),
    "namespaces-without-end": Case(
        [
            policy("p", action="DENY", rules=[source(namespaces=[f"*{'x' * 900_000}", f"{'x' * 900_000}*"])]),
            policy("q", action="DENY", rules=[source(principals=[f"*{'x' * 900_000}"]), source(namespaces=["test"])]),
        ],
        "bob reader plain",
    ),
    "namespaces-are-whole": Case(allow(source(namespaces=["tes", "est", "ns", "sa", "team-blue/sa"])), ""),
    "accounts-are-whole": Case(allow(source(serviceAccounts=["test/cur", "est/curl", "ns/test"])), ""),
    "namespaces-any": Case(allow(source(namespaces=["*"])), "curl bob reader"),
    "notNamespaces": Case(deny(source(notNamespaces=["test"])), "curl"),
    "serviceAccounts": Case(allow(source(serviceAccounts=["test/curl", "reader"])), "curl reader"),
    "notServiceAccounts": Case(allow(source(notServiceAccounts=["test/curl"])), "bob reader plain"),
    "ipBlocks": Case(allow(source(ipBlocks=["127.0.0.2", "10.0.0.0/8"])), "curl-2 bob-2 reader-2 plain-2"),
    "notIpBlocks": Case(allow(source(notIpBlocks=["127.0.0.2/32"])), "curl-1 bob-1 reader-1 plain-1"),
    "ports": Case(allow(ports(A)), "curl-a bob-a reader-a plain-a"),
    "notPorts": Case(allow(ports(notPorts=[A])), "curl-b bob-b reader-b plain-b"),
    "all-of-a-source": Case(allow(source(namespaces=["test"], ipBlocks=["127.0.0.2"])), "curl-2"),
    "any-of-the-sources": Case(
        allow({"from": [{"source": {"namespaces": ["test"]}}, {"source": {"ipBlocks": ["127.0.0.2"]}}]}),
        "curl bob-2 reader-2 plain-2",
    ),
    "from-and-to": Case(allow(source(namespaces=["test"]) | ports(A)), "curl-a"),
    "when-principal": Case(allow(when("source.principal", "*/sa/curl", "*/sa/bob")), "curl bob"),
    "when-namespace-not": Case(allow(when("source.namespace", but=("test",))), "bob reader plain"),
    "when-ip": Case(deny(when("source.ip", "127.0.0.2")), "curl-1 bob-1 reader-1 plain-1"),
    "when-destination": Case(allow(when("destination.ip", "127.1.0.0/16", but=("10.0.0.1",))), "curl bob reader plain"),
    "when-destination-elsewhere": Case(allow(when("destination.ip", "10.0.0.0/8")), ""),
    "when-port": Case(allow(when("destination.port", B)), "curl-b bob-b reader-b plain-b"),
    "several-rules": Case(allow(source(namespaces=["test"]), ports(B)), "curl bob-b reader-b plain-b"),
    "deny-goes-before-allow": Case(
        [policy("a", rules=[{}]), policy("z", action="DENY", rules=[source(namespaces=["test"])])], "bob reader plain"
    ),
    "any-of-the-allows": Case(
        [policy("a", rules=[source(namespaces=["test"])]), policy("b", rules=[ports(B)])],
        "curl bob-b reader-b plain-b",
    ),
    "deny-of-requests-denies-nothing": Case(deny(ports(methods=["GET"])), "curl bob reader plain"),
    "deny-of-requests-and-clients-denies-nothing": Case(
        deny(source(namespaces=["test"]) | ports(paths=["/x"])), "curl bob reader plain"
    ),
    "deny-of-requests-on-a-port": Case(deny(ports(A, methods=["GET"])), "curl-b bob-b reader-b plain-b"),
    "deny-of-requests-when": Case(deny(when("request.headers[x]", "y")), "curl bob reader plain"),
    "allow-of-requests-allows-nothing": Case(allow(ports(A, methods=["GET"])), ""),
    "allow-of-requests-and-another": Case(allow(ports(methods=["GET"]), source(namespaces=["test"])), "curl"),
    "remoteIpBlocks-are-of-requests": Case(allow(source(remoteIpBlocks=["127.0.0.0/8"])), ""),
    "selector": Case([policy("p", selector=SELECTED)], ""),
    "selector-of-others": Case([policy("p", selector={"matchLabels": {"app": "x"}})], "curl bob reader plain"),
    "selector-of-no-labels": Case([policy("p", selector={})], "curl bob reader plain"),
    "selector-of-all-labels": Case([policy("p", selector={"matchLabels": {}})], ""),
    "other-namespace": Case([policy("p", "test")], "curl bob reader plain"),
    "root-namespace": Case([policy("p", "istio-system", rules=[source(namespaces=["test"])])], "curl"),
    "root-namespace-selector": Case([policy("p", "istio-system", selector=SELECTED)], ""),
    "custom-and-audit": Case(
        [policy("p", action="CUSTOM", rules=[{}], provider={"name": "x"}), policy("q", action="AUDIT", rules=[{}])],
        "curl bob reader plain",
    ),
    "dry-run": Case(
        [
            policy("p", action="DENY", rules=[{}])
            | {"metadata": {"name": "p", "namespace": "hello", "annotations": {"istio.io/dry-run": "true"}}}
        ],
        "curl bob reader plain",
    ),
    "mesh-strict": Case([peers("d", "istio-system", "STRICT")], "curl bob reader"),
    "namespace-strict": Case([peers("d", mode="STRICT")], "curl bob reader"),
    "namespace-permissive-in-a-strict-mesh": Case(
        [peers("d", "istio-system", "STRICT"), peers("n", mode="PERMISSIVE")], "curl bob reader plain"
    ),
    "namespace-says-nothing-in-a-strict-mesh": Case(
        [peers("d", "istio-system", "STRICT"), peers("n")], "curl bob reader"
    ),
    "disable": Case([peers("d", mode="DISABLE")], "curl bob reader plain"),
    "workload-strict": Case([peers("w", mode="STRICT", selector=True)], "curl bob reader"),
    "workload-permissive": Case(
        [peers("n", mode="STRICT"), peers("w", mode="PERMISSIVE", selector=True)], "curl bob reader plain"
    ),
    "root-namespace-selector-is-for-nobody": Case(
        [peers("w", "istio-system", "STRICT", selector=True)], "curl bob reader plain"
    ),
    "strict-but-for-a-port": Case(
        [peers("w", mode="STRICT", selector=True, a="PERMISSIVE")], "curl bob reader plain-a"
    ),
    "strict-but-for-a-port-that-disables": Case(
        [peers("w", mode="STRICT", selector=True, a="DISABLE")], "curl bob reader plain-a"
    ),
    "all-ports-strict": Case([peers("w", mode="STRICT", selector=True, a="STRICT")], "curl bob reader"),
    "permissive-but-for-a-port": Case(
        [peers("w", mode="PERMISSIVE", selector=True, a="STRICT")], "curl bob reader plain-b"
    ),
    "a-strict-port": Case([peers("w", selector=True, a="STRICT")], "curl bob reader plain-b"),
    "an-open-port-in-a-strict-namespace": Case(
        [peers("n", mode="STRICT"), peers("w", selector=True, a="PERMISSIVE")], "curl bob reader plain-a"
    ),
    "a-disabled-port-is-no-exception-to-a-strict-namespace": Case(
        [peers("n", mode="STRICT"), peers("w", selector=True, a="DISABLE")], "curl bob reader"
    ),
    "istio-takes-a-strict-mesh-to-hold-for-a-permissive-workload": Case(
        [peers("d", "istio-system", "STRICT"), peers("w", mode="PERMISSIVE", selector=True, a="STRICT")],
        "curl bob reader plain",
    ),
    "an-open-port-in-a-strict-mesh-behind-a-silent-namespace": Case(
        [peers("d", "istio-system", "STRICT"), peers("n"), peers("w", selector=True, a="PERMISSIVE")],
        "curl bob reader plain",
    ),
    "strict-and-a-policy": Case(
        [peers("d", mode="STRICT"), policy("p", action="DENY", rules=[source(namespaces=["test"])])], "bob reader"
    ),
}  # fmt: skip


def drawn(draw: random.Random) -> list[Object]:
    """Anything that the API admits, mixed so that about half of the connections pass."""
    found: list[Object] = []
    for number in range(draw.randint(1, 3)):
        rules = [_rule(draw) for _ in range(draw.randint(1, 3))]
        spec: dict[str, Any] = {"action": draw.choice(["ALLOW", "ALLOW", "DENY"]), "rules": rules}
        namespace = draw.choice(["hello", "hello", "istio-system"])
        if draw.random() < 0.3:
            spec["selector"] = SELECTED
        found.append(policy(f"p{number}", namespace, **spec))
    modes = ["STRICT", "PERMISSIVE", "DISABLE", "UNSET", ""]
    for namespace, selector in (("istio-system", False), ("hello", False), ("hello", True)):
        if draw.random() < 0.3:
            by_port = {port: draw.choice(modes[:4]) for port in "ab" if selector and draw.random() < 0.7}
            found.append(peers("d" if selector else "w", namespace, draw.choice(modes), selector, **by_port))
    return found


VALUES = {
    "principals": ["*", "*/sa/bob", "cluster.local/ns/te*", CURL.removeprefix("spiffe://"), "*l", "x*"],
    "namespaces": ["*", "te*", "*st", "hello", "team-blue", "t*t"],
    "ipBlocks": ["127.0.0.2", "127.0.0.0/31", "127.0.0.1/8", "10.0.0.0/8", "::1"],
    "serviceAccounts": ["test/curl", "reader", "team-blue/bob", "hello/bob"],
    "ports": [A, B, "80"],
}
CONDITIONS = {
    "source.principal": "principals", "source.namespace": "namespaces", "source.ip": "ipBlocks",
    "destination.ip": "ipBlocks", "destination.port": "ports",
}  # fmt: skip


def _some(draw: random.Random, values: str) -> list[str]:
    return draw.sample(VALUES[values], draw.randint(1, 2))


def _fields(draw: random.Random, names: list[str]) -> dict[str, list[str]]:
    chosen = draw.sample([n for name in names for n in (name, f"not{name[0].upper()}{name[1:]}")], draw.randint(1, 2))
    return {name: _some(draw, name if name in VALUES else name[3].lower() + name[4:]) for name in chosen}


def _rule(draw: random.Random) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    if draw.random() < 0.7:
        names = draw.choice([["principals", "namespaces", "ipBlocks"], ["serviceAccounts", "ipBlocks"]])
        rule["from"] = [{"source": _fields(draw, names)} for _ in range(draw.randint(1, 2))]
        if draw.random() < 0.1:
            rule["from"][0]["source"] = {"requestPrincipals": ["*"]}
    if draw.random() < 0.4:
        rule["to"] = [{"operation": _fields(draw, ["ports"])} for _ in range(draw.randint(1, 2))]
        if draw.random() < 0.2:
            rule["to"][0]["operation"] = {"methods": ["GET"]}
    if draw.random() < 0.4:
        key = draw.choice(list(CONDITIONS))
        rule["when"] = [{"key": key, draw.choice(["values", "notValues"]): _some(draw, CONDITIONS[key])}]
    return rule


def enforced(objects: list[Object], a: int, b: int) -> tuple[Authorization, ...]:
    """For a pod of namespace hello with the label app=server, whose ports are `a` and `b`."""
    pod = {"metadata": {"name": "server", "namespace": "hello", "labels": {"app": "server"}}, "spec": {}}
    by_kind = {r.kind: r for r in (kinds.AUTHORIZATIONPOLICY, kinds.PEERAUTHENTICATION)}
    listed: dict[Any, list[Object]] = {kinds.POD: [pod]}
    for obj in objects:
        listed.setdefault(by_kind[obj["kind"]], []).append(_with_ports(obj, {A: str(a), B: str(b)}))
    return index(listed).mesh.enforced[Key("hello", "server")]


def _with_ports(value: Any, numbers: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {_with_ports(key, numbers): _with_ports(item, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_ports(item, numbers) for item in value]
    return numbers.get(value, value) if isinstance(value, str) else value


def matches(word: str, client: Client) -> bool:
    who, *rest = word.split("-")
    account = client.identity.rpartition("/")[2] or "plain"
    return account == who and all(part in (client.port, client.source[-1]) for part in rest)


DRAW = random.Random(SEED)
DRAWN = {f"drawn-{number}": drawn(DRAW) for number in range(SETS)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pods(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pods]:
    def policies(a: int, b: int) -> dict[str, Any]:
        of_objects = {name: case.objects for name, case in CASES.items()} | DRAWN
        return {name: enforced(objects, a, b) for name, objects in of_objects.items()} | {"unknown": None}

    async with running(tmp_path_factory.mktemp("pods"), [*CASES, *DRAWN, "unknown"], policies) as found:
        yield found


@pytest.mark.parametrize("name", CASES)
async def test_who_gets_in(pods: Pods, name: str) -> None:
    words = CASES[name].admitted.split()
    for client in EVERYBODY:
        expected = any(matches(word, client) for word in words)
        assert await pods.admits(name, client) == expected, client
        assert foreseen(pods, name, client).allowed == expected, client


async def test_decide_foresees_what_was_drawn(pods: Pods) -> None:
    admitted_at_all = 0
    for name, objects in DRAWN.items():
        for client in EVERYBODY:
            admission = foreseen(pods, name, client)
            assert await pods.admits(name, client) == admission.allowed, (SEED, name, client, str(admission), objects)
            admitted_at_all += admission.allowed
    assert 0.2 < admitted_at_all / len(DRAWN) / len(EVERYBODY) < 0.8


def foreseen(pods: Pods, name: str, client: Client) -> Admission:
    connection = Connection(client.identity, client.source, pods.addresses[name], pods.ports[client.port])
    return admitted(pods.policies[name] or (), connection)


@pytest.mark.parametrize(
    ("name", "client", "reason"),
    [
        ("principals", Client(BOB), "allow policies exist, but none allowed"),
        ("principals", Client(), "allow policies exist, but none allowed"),
        ("deny-goes-before-allow", Client(CURL), "explicitly denied by: hello/z"),
        ("deny-everything", Client(), "explicitly denied by: hello/p"),
        ("namespace-strict", Client(), "explicitly denied by: istio-system/istio_converted_static_strict"),
        ("strict-but-for-a-port", Client(port="b"), "explicitly denied by: hello/converted_peer_authentication_w"),
    ],
)
async def test_what_is_logged(pods: Pods, name: str, client: Client, reason: str) -> None:
    assert not await pods.admits(name, client)
    words = [f'dst.workload="{name}"', f'error="connection closed due to policy rejection: {reason}"']
    words += [f'src.identity="{client.identity}"' if client.identity else " dst.addr="]
    words += ["\terror\taccess\tconnection complete\t"]

    def logged() -> bool:
        return any(all(word in line for word in words) for line in pods.log().splitlines())

    await until(logged, f"{words}, not {pods.log()[-2000:]}")


async def test_a_port_is_written_in_one_way_only(pods: Pods) -> None:
    """Otherwise a policy about a port could be passed by."""
    client = Client(CURL)
    for authority in ("{}:0{}", "{}:+{}", "{}: {}"):
        tunnel = await pods.tunnel("ports", client, authority)
        tunnel.close()
        assert tunnel.status in (0, 400, 404)


async def test_a_client_cannot_claim_another_address(pods: Pods) -> None:
    headers = [("x-forwarded-for", "127.0.0.2"), ("forwarded", "for=127.0.0.2")]
    tunnel = await pods.tunnel("ipBlocks", Client(CURL), headers=headers)
    tunnel.close()
    assert tunnel.status == 401


async def test_a_pod_that_nothing_is_known_of_gets_nothing(pods: Pods) -> None:
    tunnel = await pods.tunnel("unknown", Client(CURL))
    tunnel.close()
    assert tunnel.status == 503
    assert not await pods.admits("unknown", Client())
    error = 'direction="inbound" error="failed to fetch information about local workload: server.hello (unknown)"'
    ip = pods.addresses["unknown"]
    lines = [f"dst.addr={ip}:{port} {error}" for port in (pods.tunnels_port, pods.ports["a"])]
    await until(lambda: all(line in pods.log() for line in lines), f"{lines}, not {pods.log()[-2000:]}")
