"""Traffic policies executed by a real Envoy: a cluster as waypoints get it, between a listener and servers on loopback.

The servers are the test's own, so that they can be slow, wrong, or only speak TLS. Endpoints are reached in plain TCP;
inside HBONE, the same bytes go through a tunnel.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ambientlab.mesh import ir
from ambientlab.mesh.serve.ca import CertificateAuthority
from ambientlab.mesh.xds import endpoints
from ambientlab.mesh.xds.routes import default_routes
from ambientlab.mesh.xds.waypoint_clusters import service_cluster
from support.envoy import as_json, extension, free_port, loopback, static_envoy
from support.splits import fits
from support.waiting import until

HOST, PORT = "shop.hello.svc.cluster.local", 80
NAME = f"inbound-vip|{PORT}|http|{HOST}"
Headers = dict[str, str]


@dataclass
class Backend:
    """One endpoint: an address of its own on loopback. `answer` says what a request gets: (status, body)."""

    address: str
    port: int
    answer: Callable[[], Awaitable[tuple[int, str]]]
    connections: int = 0
    preambles: list[bytes] = field(default_factory=list)
    locality: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"PROXY "):
                    preamble, _, head = head.partition(b"\r\n")
                    self.preambles.append(preamble)
                status, body = await self.answer()
                writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


@asynccontextmanager
async def servers(
    *answers: Callable[[], Awaitable[tuple[int, str]]], tls: ssl.SSLContext | None = None, at: Sequence[str] = ()
) -> AsyncIterator[list[Backend]]:
    """One for each answer; `at` is where they are."""
    port = free_port()
    async with AsyncExitStack() as stack:
        found = []
        for i, answer in enumerate(answers):
            backend = Backend(f"127.0.1.{i + 1}", port, answer, locality=at[i] if at else "")
            server = await asyncio.start_server(backend.serve, backend.address, port, ssl=tls)
            stack.callback(server.close)
            found.append(backend)
        yield found


def says(status: int, body: str) -> Callable[[], Awaitable[tuple[int, str]]]:
    async def answer() -> tuple[int, str]:
        return status, body

    return answer


def named(count: int) -> list[Callable[[], Awaitable[tuple[int, str]]]]:
    return [says(200, f"v{i + 1}") for i in range(count)]


def workload(name: str, ip: str, locality: str) -> ir.Workload:
    plain = ir.Protocol.TCP
    return ir.Workload(name, "hello", name, ip, "", "node", plain, (), None, True, locality=locality)


def service(backends: list[Backend], policy: ir.TrafficPolicy) -> ir.Service:
    workloads = [workload(b.address, b.address, b.locality) if b.locality else None for b in backends]
    found = tuple(ir.Endpoint(b.address, ((PORT, b.port),), w) for b, w in zip(backends, workloads, strict=True))
    port = ir.Port(PORT, "http", ir.AppProtocol.HTTP)
    return ir.Service("hello", "shop", HOST, ("10.96.0.20",), (port,), found, (), None, policies=((PORT, "", policy),))


@asynccontextmanager
async def envoy(
    directory: Path, backends: list[Backend], policy: ir.TrafficPolicy, secrets: Mapping[str, Any] | None = None
) -> AsyncIterator[int]:
    """The port of an Envoy that reaches the backends as `policy` says. `secrets` stand in for the control plane's."""
    front = free_port()
    assignment = directory / "endpoints.json"
    write_endpoints(assignment, service(backends, policy))
    cluster = as_json(service_cluster(NAME, ir.AppProtocol.HTTP, "", policy, ""))
    cluster["eds_cluster_config"] = {"eds_config": {"path_config_source": {"path": str(assignment)}}}
    balancer = policy.load_balancer
    key = balancer.hash.key if balancer is not None and balancer.hash is not None else None
    manager = {
        "stat_prefix": "front",
        "route_config": as_json(default_routes(NAME, HOST, PORT, key)),
        "http_filters": [extension("router", "filters.http.router.v3.Router")],
        # what Envoy itself answers says why
        "local_reply_config": {"body_format": {"text_format_source": {"inline_string": "%RESPONSE_FLAGS%"}}},
    }
    kind = "filters.network.http_connection_manager.v3.HttpConnectionManager"
    listener = {
        "name": "front",
        "address": loopback(front),
        "filter_chains": [{"filters": [extension("manager", kind, **manager)]}],
    }
    known = [{"name": name, **value} for name, value in (secrets or {}).items()]
    config = {
        "static_resources": {"listeners": [listener], "clusters": [without_sds(cluster)], "secrets": known},
    }
    async with static_envoy(directory, config, front):
        yield front


HERE = workload("waypoint", "10.244.0.9", "us/z1/a")


def write_endpoints(path: Path, of: ir.Service) -> None:
    """Envoy notices a file that is moved into place."""
    resource = as_json(endpoints.of_endpoints(NAME, of, PORT, viewer=HERE))
    kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"version_info": "1", "resources": [{"@type": kind, **resource}]}))
    new.rename(path)


def without_sds(value: Any) -> Any:
    """Secrets by name alone are those of the bootstrap."""
    if isinstance(value, list):
        return [without_sds(item) for item in value]
    if isinstance(value, dict):
        return {name: without_sds(item) for name, item in value.items() if name != "sds_config"}
    return value


async def get(port: int, path: str = "/", **headers: str) -> tuple[int, Headers, str]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{extra}\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    lines = head.split("\r\n")
    return int(lines[0].split(" ")[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def hashed(key: ir.HashKey, table: Any = "ring", size: int = 1024) -> ir.TrafficPolicy:
    return ir.TrafficPolicy(load_balancer=ir.LoadBalancer(hash=ir.ConsistentHash(key, table, size)))


@pytest.mark.parametrize(("table", "size"), [("ring", 1024), ("maglev", 251)])
async def test_a_header_decides_who_answers(tmp_path: Path, table: str, size: int) -> None:
    policy = hashed(ir.HashKey("header", "x-user"), table, size)
    async with servers(*named(4)) as backends, envoy(tmp_path, backends, policy) as port:
        answers = {user: {(await get(port, x_user=f"user-{user}"))[2] for _ in range(4)} for user in range(30)}
    assert all(len(found) == 1 for found in answers.values())
    # that 30 users meet but one of 4 servers by chance is less likely than 1 in 10^16
    assert len(set().union(*answers.values())) > 1


async def test_a_cookie_is_made_and_then_decides(tmp_path: Path) -> None:
    cookie = ir.HashKey("cookie", "shop", path="/cart", lifetime=60_000, attributes=(("SameSite", "Strict"),))
    async with servers(*named(4)) as backends, envoy(tmp_path, backends, hashed(cookie)) as port:
        visitors = []
        for _ in range(20):
            _, headers, first = await get(port)
            made = headers["set-cookie"]
            again = {(await get(port, cookie=made.split(";")[0]))[2] for _ in range(3)}
            assert again == {first}
            visitors.append(first)
    assert made.startswith('shop="')
    assert "Max-Age=60; Path=/cart; SameSite=Strict" in made
    assert len(set(visitors)) > 1


async def test_a_query_parameter_or_the_source_decides(tmp_path: Path) -> None:
    async with servers(*named(4)) as backends:
        async with envoy(tmp_path, backends, hashed(ir.HashKey("query", "user"))) as port:
            answers = {user: {(await get(port, f"/?user={user}"))[2] for _ in range(4)} for user in range(30)}
        assert all(len(found) == 1 for found in answers.values())
        assert len(set().union(*answers.values())) > 1
        async with envoy(tmp_path, backends, hashed(ir.HashKey("source-ip"))) as port:
            assert len({(await get(port))[2] for _ in range(20)}) == 1


async def test_round_robin_takes_turns(tmp_path: Path) -> None:
    policy = ir.TrafficPolicy(load_balancer=ir.LoadBalancer(ir.Algorithm.ROUND_ROBIN))
    async with servers(*named(4)) as backends, envoy(tmp_path, backends, policy) as port:
        assert Counter([(await get(port))[2] for _ in range(40)]) == dict.fromkeys(("v1", "v2", "v3", "v4"), 10)


async def ejected(port: int, then: str) -> None:
    """Ask until `then` comes twice in a row: workers hear of an ejection a moment after the response that led to it."""
    last = ""
    async with asyncio.timeout(10):
        while (now := (await get(port))[2]) != then or last != then:
            last = now


async def test_an_endpoint_that_fails_is_left_out(tmp_path: Path) -> None:
    policy = ir.TrafficPolicy(
        load_balancer=ir.LoadBalancer(ir.Algorithm.ROUND_ROBIN),
        outlier_detection=ir.OutlierDetection(consecutive_5xx=2, base_ejection=60_000, max_ejection_percent=100),
    )
    async with servers(says(200, "good"), says(500, "bad")) as backends, envoy(tmp_path, backends, policy) as port:
        before = Counter([(await get(port))[2] for _ in range(4)])
        await ejected(port, "good")
        after = Counter([(await get(port))[2] for _ in range(20)])
    assert before == {"good": 2, "bad": 2}
    assert after == {"good": 20}


async def test_without_a_healthy_endpoint_there_is_none(tmp_path: Path) -> None:
    """Istio switches Envoy's panic mode off: what is ejected is not asked, were it the last one."""
    policy = ir.TrafficPolicy(
        outlier_detection=ir.OutlierDetection(consecutive_5xx=1, base_ejection=60_000, max_ejection_percent=100)
    )
    async with servers(says(500, "bad")) as backends, envoy(tmp_path, backends, policy) as port:
        assert (await get(port))[0] == 500
        await ejected(port, "UH")
        status, _, flags = await get(port)
    assert (status, flags) == (503, "UH")


@asynccontextmanager
async def places(
    *answers: Callable[[], Awaitable[tuple[int, str]]], at: tuple[str, ...]
) -> AsyncIterator[list[Backend]]:
    async with servers(*answers) as backends:
        for backend, locality in zip(backends, at, strict=True):
            backend.locality = locality
        yield backends


async def test_the_nearest_that_works_comes_first(tmp_path: Path) -> None:
    policy = ir.TrafficPolicy(
        outlier_detection=ir.OutlierDetection(consecutive_5xx=1, base_ejection=60_000, max_ejection_percent=100)
    )
    server = servers(says(200, "far"), says(500, "near"), says(200, "region"), at=("eu/z1/a", "us/z1/a", "us/z2/a"))
    async with server as backends, envoy(tmp_path, backends, policy) as port:
        first = (await get(port))[2]
        await ejected(port, "region")
        found = {(await get(port))[2] for _ in range(10)}
    assert (first, found) == ("near", {"region"})


async def test_localities_have_the_shares_that_are_asked_for(tmp_path: Path) -> None:
    shares = ir.Localities(distribute=(("us/*", (("eu/*", 20), ("us/*", 80))),))
    policy = ir.TrafficPolicy(load_balancer=ir.LoadBalancer(localities=shares))
    answers = says(200, "us"), says(200, "eu"), says(200, "eu"), says(200, "asia")
    server = servers(*answers, at=("us/z1/a", "eu/z1/a", "eu/z1/b", "asia"))
    async with server as backends, envoy(tmp_path, backends, policy) as port:
        fits([(await get(port))[2] for _ in range(300)], {"us": 0.8, "eu": 0.2})


async def test_what_does_not_fit_into_the_pool_overflows(tmp_path: Path) -> None:
    policy = ir.TrafficPolicy(connection_pool=ir.ConnectionPool(max_connections=1, max_pending_requests=1))
    busy, release = asyncio.Event(), asyncio.Event()

    async def slow() -> tuple[int, str]:
        busy.set()
        await release.wait()
        return 200, "slow"

    async with servers(slow) as backends, envoy(tmp_path, backends, policy) as port:
        first = asyncio.create_task(get(port))
        await busy.wait()
        others = [asyncio.create_task(get(port)) for _ in range(3)]
        # one waits for the only connection; there is no room for the other two
        refused: list[tuple[int, Headers, str]] = []
        waiting = set(others)
        while len(refused) < 2:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused += [task.result() for task in done]
        release.set()
        served = [await first, *[await task for task in waiting]]
    assert [(status, flags) for status, _, flags in refused] == [(503, "UO")] * 2
    assert all(headers["x-envoy-overloaded"] == "true" for _, headers, _ in refused)
    assert [(status, body) for status, _, body in served] == [(200, "slow")] * 2


async def test_requests_on_one_connection_are_limited(tmp_path: Path) -> None:
    for limit, connections in ((0, 1), (2, 3)):
        policy = ir.TrafficPolicy(connection_pool=ir.ConnectionPool(max_requests_per_connection=limit))
        async with servers(says(200, "v1")) as backends, envoy(tmp_path, backends, policy) as port:
            for _ in range(6):
                assert (await get(port))[0] == 200
            assert backends[0].connections == connections


async def test_the_proxy_protocol_names_the_client(tmp_path: Path) -> None:
    policy = ir.TrafficPolicy(proxy_protocol="V1")
    async with servers(says(200, "v1")) as backends, envoy(tmp_path, backends, policy) as port:
        assert (await get(port))[2] == "v1"
        (preamble,) = backends[0].preambles
    assert preamble.startswith(b"PROXY TCP4 127.0.0.1 ")


async def test_a_new_endpoint_warms_up(tmp_path: Path) -> None:
    window = 1_500
    balancer = ir.LoadBalancer(ir.Algorithm.ROUND_ROBIN, warmup=ir.Warmup(window, 1.0, 10.0))
    clock = asyncio.get_running_loop().time
    policy = ir.TrafficPolicy(load_balancer=balancer)
    async with servers(*named(2)) as backends, envoy(tmp_path, backends[:1], policy) as port:
        warm = clock() + window / 1000
        await until(lambda: clock() > warm, "the first endpoint is warm")
        write_endpoints(tmp_path / "endpoints.json", service(backends, policy))
        added = clock()
        early: Counter[str] = Counter()
        while clock() < added + 0.15:
            early[(await get(port))[2]] += 1
        # turns that were already given out are kept, so that it may take a round more until they are equal
        async with asyncio.timeout(10):
            while Counter([(await get(port))[2] for _ in range(40)]) != {"v1": 20, "v2": 20}:
                pass
    # a tenth to a fifth of an equal share, as against half of all
    assert early["v2"] < early["v1"] / 3


class Authority:
    """Certificates for TLS servers and clients, from the mesh's own kind of authority."""

    def __init__(self, directory: Path) -> None:
        self._ca = CertificateAuthority.create()
        self._directory = directory
        self.root = {"validation_context": {"trusted_ca": {"inline_string": self._ca.root_pem.decode()}}}

    def pair(self, spiffe_id: str) -> tuple[str, str]:
        svid = self._ca.issue(spiffe_id)
        return svid.chain_pem.decode(), svid.key_pem.decode()

    def server(self, spiffe_id: str, *, client: bool = False) -> ssl.SSLContext:
        chain, key = self.pair(spiffe_id)
        file = self._directory / "server.pem"
        file.write_text(chain + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self._ca.root_pem.decode())
        return context


SHOP = "spiffe://cluster.local/ns/hello/sa/shop"


@pytest.mark.parametrize(
    ("tls", "answer"),
    [
        (ir.Tls("SIMPLE", sni="shop", names=(SHOP,), credential="kubernetes://shop"), (200, "secret")),
        (ir.Tls("SIMPLE", sni="shop", credential="kubernetes://shop"), (200, "secret")),
        (ir.Tls("SIMPLE", sni="shop", names=(f"{SHOP}2",), credential="kubernetes://shop"), (503, "UF")),
        # without `sni`, the certificate must be for the host that is asked for
        (ir.Tls("SIMPLE", credential="kubernetes://shop"), (503, "UF")),
        (ir.Tls("SIMPLE", credential="kubernetes://shop", verify=False), (200, "secret")),
        # of the machine's authorities, none knows this server
        (ir.Tls("SIMPLE", sni="shop"), (503, "UF")),
        (ir.Tls("DISABLE"), (503, "UC")),
    ],
)
async def test_tls_is_spoken_and_the_server_verified(tmp_path: Path, tls: ir.Tls, answer: tuple[int, str]) -> None:
    authority = Authority(tmp_path)
    secrets = {"kubernetes://shop-cacert": authority.root, "file-root:system": Authority(tmp_path).root}
    server = servers(says(200, "secret"), tls=authority.server(SHOP))
    async with server as backends, envoy(tmp_path, backends, ir.TrafficPolicy(tls=tls), secrets) as port:
        status, _, body = await get(port)
    # a connection that could not be made is tried again first (URX)
    assert (status, body.removeprefix("URX,")) == answer


async def test_a_client_certificate_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.pair("spiffe://cluster.local/ns/hello/sa/waypoint")
    pair = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    secrets = {"kubernetes://shop-cacert": authority.root, "kubernetes://shop": {"tls_certificate": pair}}
    async with servers(says(200, "secret"), tls=authority.server(SHOP, client=True)) as backends:
        for mode, status in (("MUTUAL", 200), ("SIMPLE", 503)):
            tls = ir.Tls(mode, sni="shop", names=(SHOP,), credential="kubernetes://shop")  # type: ignore[arg-type]  # a Literal
            async with envoy(tmp_path, backends, ir.TrafficPolicy(tls=tls), secrets) as port:
                assert (await get(port))[0] == status


async def test_certificates_may_be_files_of_the_proxys_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "chain", "key")}
    chain, key = authority.pair("spiffe://cluster.local/ns/hello/sa/waypoint")
    for name, text in (("ca", authority.root["validation_context"]["trusted_ca"]["inline_string"]), ("chain", chain)):
        files[name].write_text(text)
    files["key"].write_text(key)
    tls = ir.Tls(
        "MUTUAL",
        sni="shop",
        ca_file=str(files["ca"]),
        certificate_file=str(files["chain"]),
        key_file=str(files["key"]),
    )
    server = servers(says(200, "secret"), tls=authority.server(SHOP, client=True))
    async with server as backends, envoy(tmp_path, backends, ir.TrafficPolicy(tls=tls)) as port:
        assert (await get(port))[2] == "secret"
