"""What single fields of objects ask of a waypoint, a real Envoy does.

The objects go through admission, the index, `mesh.xds` and an ADS session. Applications answer as the path that they
are asked for says, and note who was asked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from ambientlab.api.objects import Object
from ambientlab.host import manifests
from ambientlab.mesh.decide import Request
from ambientlab.mesh.ir import Key
from support.real_waypoint import RealWaypoint, Served, loopback_network
from support.splits import fits

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTTP, PROXY, TLS = ("http", 8080), ("tcp-proxy", 3128), ("tls", 8443)
SERVICES = {
    "app": HTTP, "hashed": HTTP, "pair": HTTP, "near": HTTP, "straight": HTTP,
    "connect": PROXY, "post": PROXY, "secure": TLS, "other": TLS,
}  # fmt: skip
RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: hello}
spec:
  hosts: [app]
  http:
  - match: [{uri: {prefix: /none/}}]
    retries: {attempts: 0}
    route: &app [{destination: {host: app}}]
  - match: [{uri: {prefix: /5xx/}, statPrefix: prefixed}]
    retries: {attempts: 2, retryOn: 5xx}
    route: *app
  - match: [{uri: {prefix: /gateway-error/}}]
    retries: {attempts: 1, retryOn: "gateway-error,418"}
    route: *app
  - match: [{uri: {prefix: /reset/}}]
    retries: {attempts: 1, retryOn: "reset,retriable-4xx"}
    route: *app
  - match: [{uri: {prefix: /late/}}]
    retries: {attempts: 1, retryOn: 5xx, perTryTimeout: 100ms}
    route: *app
  - match: [{uri: {prefix: /soon/}}]
    retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}
    timeout: 300ms
    route: *app
  - match: [{uri: {prefix: /never/}}]
    retries: {attempts: 1, retryOn: 5xx, backoff: 100h}
    timeout: 300ms
    route: *app
  - route: *app
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hosts, namespace: hello}
spec:
  hosts: [hashed, pair, near]
  http:
  - match: [{authority: {exact: hashed}, uri: {prefix: /elsewhere/}}]
    retries: {attempts: 1, retryOn: 5xx, retryIgnorePreviousHosts: true}
    route: [{destination: {host: hashed}}]
  - match: [{authority: {exact: hashed}}]
    retries: {attempts: 1, retryOn: 5xx}
    route: [{destination: {host: hashed}}]
  - match: [{authority: {exact: pair}, uri: {prefix: /anywhere/}}]
    retries: {attempts: 1, retryOn: 5xx, retryIgnorePreviousHosts: false}
    route: [{destination: {host: pair}}]
  - match: [{authority: {exact: pair}}]
    retries: {attempts: 1, retryOn: 5xx}
    route: [{destination: {host: pair}}]
  - match: [{uri: {prefix: /remote/}}]
    retries: {attempts: 3, retryOn: 5xx, retryRemoteLocalities: true}
    route: [{destination: {host: near}}]
  - retries: {attempts: 3, retryOn: 5xx}
    route: [{destination: {host: near}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hashed, namespace: hello}
spec: {host: hashed, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pair, namespace: hello}
spec: {host: pair, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: near, namespace: hello}
spec: {host: near, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, minHealthPercent: 0}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: straight, namespace: hello}
spec: {host: straight, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: connect, namespace: hello}
spec: {host: connect, trafficPolicy: {tunnel: {targetHost: far.example, targetPort: 7777}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: post, namespace: hello}
spec: {host: post, trafficPolicy: {tunnel: {targetHost: "2001:db8::1", targetPort: 7777, protocol: POST}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: secure, namespace: hello}
spec:
  targetRefs: [{group: "", kind: Service, name: secure}]
  rules: [{when: [{key: connection.sni, values: [a.example, "*.b.example"]}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: other, namespace: hello}
spec:
  action: DENY
  targetRefs: [{group: "", kind: Service, name: other}]
  rules: [{when: [{key: connection.sni, notValues: ["*.b.example"]}]}]
"""


def pod(name: str, ip: str, node: str, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "hello", "labels": labels},
        "spec": {"serviceAccountName": name, "nodeName": node},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    }


@dataclass
class World:
    """Two pods, each behind every service; the first is on the waypoint's node."""

    directory: Path
    network: str = field(default_factory=loopback_network)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Who was asked, and for what path or with which first bytes."""

    async def start(self) -> None:
        self.waypoint = RealWaypoint(
            self.directory,
            Key("hello", "waypoint"),
            "spiffe://cluster.local/ns/test/sa/curl",
            application=self.application,
        )
        self.waypoint.put(self.objects())
        read = manifests.read([("rules.yaml", RULES)])
        assert not read.problems
        for resource, objects in read.objects.items():
            for obj in objects:
                self.waypoint.index.put(resource, obj)
        await self.waypoint.start()
        # whoever passes through meets the service's own address
        await self.waypoint.listen(self.vip("straight"), HTTP[1])

    def vip(self, service: str) -> str:
        return f"{self.network}.{100 + list(SERVICES).index(service)}"

    def objects(self) -> Iterator[Object]:
        for name in ("near", "far"):
            labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": name}
            yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        labels = {"istio.io/use-waypoint": "waypoint"}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hello", "labels": labels}}
        yield {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "waypoint", "namespace": "hello"},
            "spec": {
                "gatewayClassName": "istio-waypoint",
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            },
            "status": {"addresses": [{"type": "IPAddress", "value": "10.96.0.9"}]},
        }
        yield pod("waypoint-1", "10.244.0.9", "near", **{"gateway.networking.k8s.io/gateway-name": "waypoint"})
        ips = [f"{self.network}.1", f"{self.network}.2"]
        yield pod("v1", ips[0], "near")
        yield pod("v2", ips[1], "far")
        for name, (port, number) in SERVICES.items():
            yield {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "hello"},
                "spec": {
                    "clusterIP": self.vip(name),
                    "clusterIPs": [self.vip(name)],
                    "ports": [{"name": port, "port": number, "protocol": "TCP"}],
                },
            }
            labels = {"kubernetes.io/service-name": name}
            yield {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": "hello", "labels": labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
                "ports": [{"name": port, "port": number, "protocol": "TCP"}],
            }

    def application(self, address: str, port: int) -> Served:
        who = {f"{self.network}.1": "v1", f"{self.network}.2": "v2"}.get(address, "vip")
        talk = {HTTP[1]: self._http, PROXY[1]: self._proxy, TLS[1]: self._noting}[port]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(who, reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        return serve

    async def _http(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """`/x/503,200` is answered so the first time and the second; a word is what becomes of the connection."""
        while True:
            path = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
            times = sum(asked == path for _, asked in self.asked)
            self.asked.append((who, path))
            answers = path.rpartition("/")[2].split(",")
            match answers[min(times, len(answers) - 1)]:
                case "reset":
                    return
                case "late":
                    await reader.read()
                    return
                case "unavailable":
                    writer.write(b"HTTP/1.1 200 x\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n")
                    writer.write(b"content-length: 0\r\n\r\n")
                case status:
                    writer.write(f"HTTP/1.1 {status or 200} x\r\ncontent-length: 0\r\n\r\n".encode())

    async def _proxy(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What is asked of a proxy, and the bytes that come after it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        host = next(line.partition(": ")[2] for line in head if line.lower().startswith("host: "))
        self.asked.append((who, f"{head[0].split(' ')[0]} {host}"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while data := await reader.read(1000):
            writer.write(data)

    async def _noting(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"passed")

    async def answer(self, service: str, path: str, *headers: tuple[str, str]) -> tuple[int, list[str]]:
        """The status that a client gets, and who was asked for it."""
        self.asked.clear()
        request = Request(service, HTTP[1], "GET", path, headers, service)
        seen = await self.waypoint.send(self.vip(service), request)
        return seen.status, [who for who, asked in self.asked if asked == path]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    made = World(tmp_path_factory.mktemp("waypoint"))
    await made.start()
    yield made
    await made.waypoint.stop()


TRIES = {
    "/default/unavailable": (200, 3),
    "/default/503": (503, 1),
    "/none/unavailable": (200, 1),
    "/5xx/500": (500, 3),
    "/5xx/500,500,200": (200, 3),
    "/5xx/409": (409, 1),
    "/gateway-error/502,200": (200, 2),
    "/gateway-error/500,200": (500, 1),
    "/gateway-error/418,200": (200, 2),
    "/gateway-error/418,418,200": (418, 2),
    "/reset/reset,200": (200, 2),
    "/reset/409,200": (200, 2),
    "/reset/503,200": (503, 1),
    "/late/late,200": (200, 2),
    "/late/late": (504, 2),
    "/soon/503,200": (200, 2),
    "/never/503,200": (504, 1),
}
"""By path, the status that comes of it and how many requests. The last one waits 180 hours on average (no less than
300 ms in a million runs), so that its time is over before."""


@pytest.mark.parametrize("path", TRIES)
async def test_what_is_tried_again(world: World, path: str) -> None:
    status, asked = await world.answer("app", path)
    assert (status, len(asked)) == TRIES[path]


async def test_where_it_is_tried_again(world: World) -> None:
    """Elsewhere, unless that is not asked for or one host alone is to have the request."""

    async def hosts(service: str, path: str, count: int, *headers: tuple[str, str]) -> list[str]:
        found = []
        for number in range(count):
            status, asked = await world.answer(service, f"{path}{number}/500", *headers)
            assert (status, len(asked)) == (500, 2)
            found.append("same" if asked[0] == asked[1] else "other")
        return found

    async def of_users(path: str) -> list[str]:
        return [one for user in range(30) for one in await hosts("hashed", path, 1, ("x-user", str(user)))]

    assert set(await of_users("/again/")) == {"same"}
    # up to five neighbours on the ring are looked at, and with a chance of no more than 1 in 16 all are of one host:
    # for half of the users that happens once in 100,000,000,000 runs
    assert (await of_users("/elsewhere/")).count("other") > 15
    fits(await hosts("pair", "/anywhere/", 60), {"same": 50.0, "other": 50.0})
    # the host is chosen anew up to five times
    fits(await hosts("pair", "/other/", 60), {"same": 100 / 2**6, "other": 100 - 100 / 2**6})


async def test_a_farther_locality_is_tried_where_that_is_asked_for(world: World) -> None:
    assert await world.answer("near", "/here/500") == (500, ["v1"] * 4)
    assert await world.answer("near", "/remote/500") == (500, ["v1", "v1", "v2", "v2"])


async def test_a_prefix_for_statistics(world: World) -> None:
    await world.answer("app", "/5xx/200")
    found = await world.waypoint.admin.stats("^vhost")
    assert found["vhost.inbound|http|8080.route.prefixed.upstream_rq_200"] > 0
    assert all(".route.prefixed." in name for name in found)


async def test_passing_through_to_the_address_that_was_asked_for(world: World) -> None:
    assert await world.answer("straight", "/200") == (200, ["vip"])


@pytest.mark.parametrize(
    ("service", "asked"), [("connect", "CONNECT far.example:7777"), ("post", "POST [2001:db8::1]:7777")]
)
async def test_connections_go_through_a_proxy(world: World, service: str, asked: str) -> None:
    world.asked.clear()
    reader, writer = await world.waypoint.connect(world.vip(service), PROXY[1])
    writer.write(b"through")
    async with asyncio.timeout(10):
        assert b"through" in await reader.readuntil(b"through")
    writer.close()
    assert [what for _, what in world.asked] == [asked]


@pytest.mark.parametrize(
    ("service", "name", "passes"),
    [
        ("secure", "a.example", True),
        ("secure", "x.b.example", True),
        ("secure", "b.example", False),
        ("secure", "", False),
        ("other", "x.b.example", True),
        ("other", "a.example", False),
        ("other", "", False),
    ],
)
async def test_the_name_of_the_server_decides(world: World, service: str, name: str, passes: bool) -> None:
    hello = ssl.MemoryBIO()
    client = ssl.create_default_context()
    client.check_hostname = bool(name)
    speaking = client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=name or None)
    with pytest.raises(ssl.SSLWantReadError):
        speaking.do_handshake()
    reader, writer = await world.waypoint.connect(world.vip(service), TLS[1])
    writer.write(hello.read())
    async with asyncio.timeout(10):
        try:
            got = await reader.read()
        except ConnectionError:
            got = b""
    writer.close()
    assert got == (b"passed" if passes else b"")
