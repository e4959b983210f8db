"""`proxy` of pods and services: whom it leads to, and what is carried there and back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from ambientlab.api.errors import StatusError
from ambientlab.api.kinds import ENDPOINTSLICE, NODE, POD, SERVICE
from ambientlab.apiserver import locations
from ambientlab.apiserver.http import authorization, proxying
from ambientlab.apiserver.http.target import read_target
from ambientlab.apiserver.locations import Location
from ambientlab.apiserver.options import User
from support.kubectl_world import World, serving

BELOW = "/api/v1/namespaces/default/pods/p:80/proxy"


@pytest.mark.parametrize(
    ("path", "behind"),
    [
        (BELOW, ""),
        (f"{BELOW}/", "/"),
        (f"{BELOW}/a", "/a"),
        (f"{BELOW}/a//b/../c/", "/a//b/../c/"),
        (f"/{BELOW}//", "//"),
    ],
)
def test_a_path_goes_on_as_it_is(path: str, behind: str) -> None:
    target = read_target("POST", path)
    assert (target.verb, target.plural, target.name, target.subresource) == ("create", "pods", "p:80", "proxy")
    assert target.behind == behind


# Whom it leads to


def pod(name: str, ip: str, *ports: int) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i", "ports": [{"containerPort": port} for port in ports]}]
    metadata = {"name": name, "namespace": "default"}
    status = {"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
    return {"metadata": metadata, "spec": {"containers": containers}, "status": status}


def piece(service: str, *endpoints: tuple[str, str, bool]) -> dict[str, Any]:
    """(address, pod, whether it is ready)."""
    return {
        "metadata": {"name": service, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": [ip], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}}
            for ip, name, ready in endpoints
        ],
    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def places(world: World) -> World:
    client = world.server.client
    for one in (pod("p", "10.244.0.5", 9000, 9001), pod("q", "10.244.0.6"), pod("me", "127.0.0.1"), pod("new", "")):
        made = await client.create(POD, one)
        await client.update(POD, {**made, "status": one["status"]}, subresource="status")
    for name in ("s", "empty", "foreign"):
        spec = {"ports": [{"name": "http", "port": 80}]}
        await client.create(SERVICE, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    others = ("10.244.0.5", "p", False), ("10.244.0.9", "q", True), ("10.244.0.9", "gone", True)
    for one in (piece("s", ("10.244.0.6", "q", True), *others), piece("foreign", *others)):
        await client.create(ENDPOINTSLICE, one)
    return world


@pytest.mark.parametrize(
    ("kind", "id_", "leads"),
    [
        (POD, "p", "http 10.244.0.5:9000"),
        (POD, "p:81", "http 10.244.0.5:81"),
        (POD, "https:p:", "https 10.244.0.5:9000"),
        (POD, "q", "http 10.244.0.6:80"),
        (POD, "https:q:", "https 10.244.0.6:443"),
        (POD, "p:http", "503 error trying to reach service: dial tcp: lookup tcp/http: unknown port"),
        (POD, "gopher:p:70", '400 invalid pod request "gopher:p:70"'),
        (POD, "a:b:c:d", '400 invalid pod request "a:b:c:d"'),
        (POD, ":80", '400 invalid pod request ":80"'),
        (POD, "me:80", "400 address not allowed"),
        (POD, "new:80", "400 address not allowed"),
        (POD, "nobody:80", '404 pods "nobody" not found'),
        (SERVICE, "s:80", "http 10.244.0.6:8080"),
        (SERVICE, "https:s:http", "https 10.244.0.6:8080"),
        (SERVICE, "s", '503 no endpoints available for service "s"'),
        (SERVICE, "s:81", '503 no service port 81 found for service "s"'),
        (SERVICE, "empty:80", '503 no endpoints available for service "empty:80"'),
        (SERVICE, "foreign:80", '503 no endpoints available for service "foreign:80"'),
        (SERVICE, "nobody:80", '404 services "nobody" not found'),
    ],
)
async def test_an_id_leads_to(places: World, kind: Any, id_: str, leads: str) -> None:
    try:
        found = locations.find(places.server.verbs, kind, "default", id_)
        said = f"{found.scheme} {found.host}"
    except StatusError as error:
        said = f"{error.code} {error}"
    assert said == leads


async def test_nodes_have_no_kubelet_to_ask(world: World) -> None:
    await world.server.client.create(NODE, {"metadata": {"name": "n"}})
    ran = await world.run("get", "--raw", "/api/v1/nodes/n/proxy/pods")
    assert (ran.code, "the server could not find the requested resource" in ran.err) == (1, True)


def test_who_has_no_rights_asks_nobody_through_the_api() -> None:
    account = User("system:serviceaccount:default:default", ("system:serviceaccounts",))
    with pytest.raises(StatusError, match='cannot create resource "pods/proxy" in API group "" in the namespace "def'):
        authorization.check(account, read_target("POST", f"{BELOW}/a/b"))


# What is carried


PAGE = '<a href="/next">next</a>'


async def program(request: web.Request) -> web.StreamResponse:
    """In a pod: says what it was asked."""
    match request.path:
        case "/moved":
            return web.Response(status=302, headers={"Location": request.query["to"]})
        case "/page":
            return web.Response(text=PAGE, content_type="text/html")
        case "/echo":
            websocket = web.WebSocketResponse(protocols=("p",))
            await websocket.prepare(request)
            async for message in websocket:
                await websocket.send_str(f"{request.query['q']} {message.data}")
            return websocket
        case "/cut":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return response
    said = {
        "asked": f"{request.method} {request.raw_path}",
        "headers": {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers},
        "body": (await request.text()),
    }
    return web.json_response(
        said, status=418, headers={"X-Own": "1", "Access-Control-Allow-Origin": "*", "Keep-Alive": "timeout=5"}
    )


@asynccontextmanager
async def listening(handler: Any) -> AsyncIterator[int]:
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        yield listener.getsockname()[1]
        await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """To a proxy in front of the program."""
    async with listening(program) as port:
        location = Location("http", "127.0.0.1", port)

        async def carry(request: web.Request) -> web.StreamResponse:
            return await proxying.carry(request, location, read_target(request.method, request.path).behind)

        async with listening(carry) as front, aiohttp.ClientSession(f"http://127.0.0.1:{front}") as session:
            yield session


async def test_a_request_goes_on_and_its_answer_back(http: aiohttp.ClientSession) -> None:
    headers = {
        "Authorization": "Bearer x",
        "Impersonate-User": "me",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "X-Mine": "2",
        "X-Forwarded-For": "10.1.1.1",
        "User-Agent": "mine",
        "Accept-Encoding": "identity",
    }
    async with http.put(URL(f"{BELOW}/a%20b/?q=%2F&r", encoded=True), data=b"text", headers=headers) as response:
        said = await response.json()
    assert (response.status, said["asked"], said["body"]) == (418, "PUT /a%20b/?q=%2F&r", "text")
    assert said["headers"] == {
        "host": response.url.authority,
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "mine",
        "x-mine": "2",
        "x-forwarded-for": "10.1.1.1, 127.0.0.1",
        "x-forwarded-uri": f"{BELOW}/a%20b/",
        "content-length": "4",
        "content-type": "application/octet-stream",
        "connection": "close",
    }
    assert response.headers["X-Own"] == "1"
    assert not response.headers.keys() & {"Access-Control-Allow-Origin", "Keep-Alive"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"])
async def test_methods_are_carried(http: aiohttp.ClientSession, method: str) -> None:
    async with http.request(method, f"{BELOW}/x") as response:
        body = await response.read()
    assert (response.status, response.content_type) == (418, "application/json")
    assert (f'"{method} /x"'.encode() in body) is (method != "HEAD")


async def test_large_bodies_are_streamed(http: aiohttp.ClientSession) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    async with http.post(f"{BELOW}/x", data=parts()) as response:
        assert len((await response.json())["body"]) == 64 * 65536, "the API's limit on bodies is not theirs"


async def test_a_page_has_a_slash_at_its_end(http: aiohttp.ClientSession) -> None:
    async with http.get(f"{BELOW}?a=1", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, f"{BELOW}/?a=1")
    async with http.post(BELOW) as response:
        assert (await response.json())["asked"] == "POST /"


async def test_an_answer_that_is_cut_off_is_not_whole(http: aiohttp.ClientSession) -> None:
    async with http.get(f"{BELOW}/cut") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_links_within_a_page_stay_as_they_are(http: aiohttp.ClientSession) -> None:
    async with http.get(f"{BELOW}/page") as response:
        assert await response.text() == PAGE


async def test_connections_are_upgraded(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{BELOW}/echo?q=1", protocols=("p",)) as websocket:
        assert websocket.protocol == "p"
        for text in ("a", "b" * 200_000):
            await websocket.send_str(text)
            assert await websocket.receive_str(timeout=10) == f"1 {text}"


async def test_who_does_not_upgrade_says_why(http: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{BELOW}/x")
    assert refused.value.status == 418


async def test_redirects_lead_through_the_proxy(http: aiohttp.ClientSession) -> None:
    async with http.get(f"{BELOW}/moved", params={"to": "/b/?c"}, allow_redirects=False) as response:
        assert response.headers["Location"] == f"{BELOW}/b/?c"


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("/a/?b#c", "/p/proxy/a/?b#c"),
        ("/p/proxy/a", "/p/proxy/a"),
        ("http://10.0.0.1:80/a", "/p/proxy/a"),
        ("http://asked:6443/a", "http://asked:6443/p/proxy/a"),
        ("http://elsewhere/a", "http://elsewhere/a"),
        ("a/b", "a/b"),
        ("http://[::1/a", "http://[::1/a"),
    ],
)
def test_where_a_redirect_leads(target: str, leads: str) -> None:
    assert proxying.redirect(target, ("10.0.0.1:80", "asked:6443"), "/p/proxy") == leads


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[int]:
    """A program that says this, whatever it is asked, and hangs up."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize("headers", [{}, {"Connection": "Upgrade", "Upgrade": "websocket"}], ids=["plain", "upgrade"])
@pytest.mark.parametrize(
    ("scheme", "answer", "plain", "upgraded"),
    [
        ("http", None, "503 dial tcp 127.0.0.1:PORT: connect: connection refused", ""),
        ("http", b"", "503 EOF", ""),
        ("https", b"HTTP/1.1 400 x\r\n\r\n", "503 tls: wrong version number", ""),
        ("http", b"SSH-2.0-OpenSSH_9\r\n\r\n", "503 ", "503 malformed HTTP response"),
        ("http", b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "503 an answer was expected", "101 "),
        ("http", b"HTTP/1.1 200 x\r\n\r\n", "200 ", "500 invalid upgrade response: status code 200"),
        ("http", b"HTTP/1.1 404 x\r\nContent-Length: 4\r\n\r\ngone", "404 gone", ""),
        ("http", b"HTTP/1.1 200 x\r\nA: %b\r\n\r\n" % (b"x" * 2_000_000), "503 ", "503 malformed HTTP response"),
    ],
)
async def test_a_program_may_say_anything(
    scheme: str, answer: bytes | None, plain: str, upgraded: str, headers: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        unused = closed.getsockname()[1]
    async with saying(answer or b"") as heard:
        port = unused if answer is None else heard

        async def carry(request: web.Request) -> web.StreamResponse:
            try:
                return await proxying.carry(request, Location(scheme, "127.0.0.1", port), "/")
            except StatusError as error:
                return web.Response(status=error.code, text=str(error))

        async with (
            listening(carry) as front,
            aiohttp.request("GET", f"http://127.0.0.1:{front}/", headers=headers) as got,
        ):
            said = f"{got.status} " + ("" if got.status == 101 else await got.text())
    wanted = (upgraded if headers and upgraded else plain).replace("PORT", str(port))
    assert said.replace("error trying to reach service: ", "").startswith(wanted)
