"""Route tables executed by a real Envoy: what each route is configured to do, it does to requests.

One Envoy on loopback has the table's routes on a listener and plays its destinations too: each answers with its own
name and with what it saw of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ambientlab.mesh import ir
from ambientlab.mesh.index import Diagnostic, delegates, virtualservice_http
from ambientlab.mesh.xds import guards
from ambientlab.mesh.xds.routes import CORS, FAULT, table_routes
from support.envoy import as_json, extension, free_ports, loopback, static_envoy
from support.splits import fits

ORIGIN = ("HTTPRoute", ir.Key("hello", "route"))
V1, V2, GONE = (ir.Destination(name, 80) for name in ("v1", "v2", "gone"))


def route(action: ir.Action, path: str = "/", **fields: Any) -> ir.Route:
    return ir.Route(
        "r", ORIGIN, ir.Match(path=ir.StringMatch("path-prefix", path), **fields.pop("match", {})), action, **fields
    )


def to(*shares: tuple[ir.Destination, int], **fields: Any) -> ir.Forward:
    weighted = tuple(ir.WeightedDestination(weight, d, d != GONE) for d, weight in shares)
    return ir.Forward(weighted, not_found_status=500, **fields)


def listener(name: str, port: int, routes: dict[str, Any], *, front: bool = False) -> dict[str, Any]:
    filters = [extension("envoy.filters.http.router", "filters.http.router.v3.Router")]
    if front:
        filters.insert(0, as_json(guards.http_content(name, ir.Guard(), of_routes=frozenset({FAULT, CORS}))))
    manager = extension(
        "manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config=routes,
        http_filters=filters,
    )
    return {"name": name, "address": loopback(port), "filter_chains": [{"filters": [manager]}]}


def backend(name: str, port: int) -> dict[str, Any]:
    seen = {"name": name, "path": "%REQ(:PATH)%", "host": "%REQ(:AUTHORITY)%", "x-set": "%REQ(X-SET)%"}
    headers = [{"header": {"key": f"seen-{key}", "value": value}} for key, value in seen.items()]
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "response_headers_to_add": headers}
    return listener(name, port, {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [answer]}]})


def cluster(name: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": loopback(port)}}]}]
    return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


@asynccontextmanager
async def serving(directory: Path, routes: Sequence[ir.Route]) -> AsyncIterator[int]:
    """The port that answers by `routes`."""
    front, first, second = free_ports(3)
    config = table_routes("table", ir.RouteTable("host", 80, tuple(routes)), lambda destination: destination.host)
    bootstrap = {
        "static_resources": {
            "listeners": [
                backend("v1", first),
                backend("v2", second),
                listener("front", front, as_json(config), front=True),
            ],
            "clusters": [cluster("v1", first), cluster("v2", second)],
        }
    }
    async with static_envoy(directory, bootstrap, front):
        yield front


async def get(port: int, *paths: str, method: str = "GET", **headers: str) -> list[tuple[int, dict[str, str], str]]:
    """Requests on one connection: (status, headers, body) of each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    results = []
    for path in paths:
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: asked\r\n{extra}\r\n".encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        found = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(found.get("content-length", 0)))
        results.append((int(lines[0].split(" ")[1]), found, body.decode()))
    writer.close()
    return results


async def test_shares(tmp_path: Path) -> None:
    table = [
        route(to((V1, 1), (GONE, 1)), "/half"),
        route(to((GONE, 1)), "/gone"),
        route(to((V1, 3), (V2, 1))),
    ]
    async with serving(tmp_path, table) as port:
        half = [str(status) for status, _, _ in await get(port, *["/half"] * 400)]
        names = [headers["seen-name"] for _, headers, _ in await get(port, *["/"] * 800)]
        assert {status for status, _, _ in await get(port, "/gone", "/gone")} == {500}
    fits(half, {"200": 50.0, "500": 50.0})
    fits(names, {"v1": 75.0, "v2": 25.0})


async def test_faults(tmp_path: Path) -> None:
    always, never = 1_000_000, 0
    jason = {"headers": (("end-user", ir.StringMatch("exact", "jason")),)}
    table = [
        route(to((V1, 1)), "/never", fault=ir.Fault(ir.Delay(60_000, never), ir.Abort(500, never))),
        route(to((V1, 1)), "/both", fault=ir.Fault(ir.Delay(1, always), ir.Abort(418, always))),
        route(to((V1, 1)), match=jason, fault=ir.Fault(abort=ir.Abort(503, always))),
        route(to((V1, 1))),
    ]
    async with serving(tmp_path, table) as port:
        (never_, both, plain) = await get(port, "/never", "/both", "/")
        ((status, _, body),) = await get(port, "/", end_user="jason")
    assert (never_[0], both[0], plain[0]) == (200, 418, 200)
    assert (status, body) == (503, "fault filter abort")


@pytest.mark.parametrize(
    ("rewrite", "path", "seen"),
    [
        (ir.Rewrite(prefix="/"), "/old/a?q=1", "/a?q=1"),
        (ir.Rewrite(prefix="/"), "/old", "/"),
        (ir.Rewrite(prefix="/new"), "/old/a", "/new/a"),
        (ir.Rewrite(full_path="/whole"), "/old/a?q=1", "/whole?q=1"),
        (ir.Rewrite(regex=("/old/(.*)", r"/\1/x")), "/old/a", "/a/x"),
        (ir.Rewrite(authority="other"), "/old/a", "/old/a"),
    ],
)
async def test_rewrites(tmp_path: Path, rewrite: ir.Rewrite, path: str, seen: str) -> None:
    async with serving(tmp_path, [route(to((V1, 1), rewrite=rewrite), "/old")]) as port:
        ((_, headers, _),) = await get(port, path)
    assert headers["seen-path"] == seen
    assert headers["seen-host"] == (rewrite.authority or "asked")


async def test_matches_redirects_and_headers(tmp_path: Path) -> None:
    change = ir.HeaderChange(set=(("x-set", "here"),), remove=("x-gone",))
    present = {
        "without_headers": (("x-not", ir.StringMatch("present")),),
        "query": (("v", ir.StringMatch("exact", "2")),),
    }
    table = [
        route(ir.Redirect(301, host="example.com", prefix="/new"), "/old"),
        route(ir.DirectResponse(418, "short and stout"), "/tea"),
        route(to((V2, 1)), match=present),
        route(to((V1, 1)), request_headers=change, response_headers=ir.HeaderChange(add=(("x-c", "3"),))),
    ]
    async with serving(tmp_path, table) as port:
        redirect, tea, older, plain, query = await get(port, "/old/a", "/tea", "/older", "/", "/?v=2")
        ((_, refused, _),) = await get(port, "/?v=2", x_not="1")
    assert (redirect[0], redirect[1]["location"]) == (301, "http://example.com/new/a")
    assert (tea[0], tea[2]) == (418, "short and stout")
    assert older[1]["seen-name"] == "v1"  # a prefix of the path's elements, not of its letters
    assert (plain[1]["seen-x-set"], plain[1]["x-c"]) == ("here", "3")
    assert query[1]["seen-name"] == "v2"
    assert refused["seen-name"] == "v1"


async def test_cors(tmp_path: Path) -> None:
    some = ir.Cors(
        (ir.StringMatch("exact", "https://one.example"), ir.StringMatch("regex", r"^https://.*\.two\.example$")),
        methods=("GET", "PUT"),
        headers=("x-asked",),
        exposed_headers=("x-seen",),
        credentials=True,
        max_age_s=50,
        forward_unmatched=False,
    )
    table = [
        route(to((V1, 1)), "/some", cors=some),
        route(to((V1, 1)), "/on", cors=ir.Cors(some.origins)),
        route(ir.Redirect(302, host="moved.example"), "/moved", cors=some),
    ]

    async def preflight(port: int, path: str, origin: str) -> dict[str, str]:
        ((status, headers, _),) = await get(
            port, path, method="OPTIONS", origin=origin, access_control_request_method="PUT"
        )
        assert status == 200
        return {
            name.removeprefix("access-control-"): value
            for name, value in headers.items()
            if name.startswith(("access-control-", "seen-"))
        }

    allowed = {
        "allow-methods": "GET,PUT",
        "allow-headers": "x-asked",
        "allow-credentials": "true",
        "expose-headers": "x-seen",
        "max-age": "50",
    }
    async with serving(tmp_path, table) as port:
        for origin in ("https://one.example", "https://a.two.example"):
            assert await preflight(port, "/some", origin) == {"allow-origin": origin, **allowed}
            ((_, headers, _),) = await get(port, "/some", origin=origin)
            assert headers["access-control-allow-origin"] == origin
            assert headers["access-control-expose-headers"] == "x-seen"
            assert headers["seen-name"] == "v1"
        # what Envoy answers itself carries no such header
        ((status, headers, _),) = await get(port, "/moved", origin="https://one.example")
        assert status == 302
        assert "access-control-allow-origin" not in headers
        # another origin is not allowed, and its preflight gets to the backend only where that is wanted
        refused = await preflight(port, "/some", "https://other.example")
        assert not {"allow-origin", "seen-name"} & set(refused)
        assert "seen-name" in await preflight(port, "/on", "https://other.example")
        ((_, headers, _),) = await get(port, "/some", origin="https://other.example")
        assert "access-control-allow-origin" not in headers


def rules(http: str) -> list[ir.Route]:
    """The routes of a VirtualService, as a waypoint reads its rules."""
    spec = {"hosts": ["host"], "http": yaml.safe_load(http)}
    key = ir.Key("hello", "vs")
    notes: list[Diagnostic] = []
    merged = delegates.merged(key, delegates.rules_of(key, spec, "cluster.local"), lambda other: None, "", notes)
    return [draft.route for rule in merged for _, draft in virtualservice_http.drafts(key, rule, notes)]


async def test_what_virtual_services_answer_themselves(tmp_path: Path) -> None:
    table = rules("""
- match: [{uri: {exact: /text}}]
  directResponse: {status: 200, body: {bytes: "w6k="}}
- match: [{uri: {prefix: /old}}]
  redirect: {prefixRewrite: /new, authority: a.example, port: 8443, scheme: https, redirectCode: 308}
- match: [{uri: {prefix: /same}}]
  redirect: {uri: /else, derivePort: FROM_PROTOCOL_DEFAULT}
- match: [{uri: {exact: /not-modified}}]
  redirect: {uri: /x, redirectCode: 304}
- match:
  - uri: {prefix: /CASE}
    ignoreUriCase: true
    withoutHeaders: {x-no: {exact: "1"}}
    queryParams: {q: {regex: "[0-9]+"}}
  directResponse: {status: 418}
""")
    async with serving(tmp_path, table) as port:
        text, old, same, unmodified, case, letters = await get(
            port, "/text", "/old/a?b=c", "/same", "/not-modified", "/case?q=12", "/case?q=a"
        )
        ((refused, _, _),) = await get(port, "/case?q=12", x_no="1")
    assert (text[0], text[2]) == (200, "é")
    assert (old[0], old[1]["location"]) == (308, "https://a.example:8443/new/a?b=c")
    assert (same[0], same[1]["location"]) == (301, "http://asked/else")
    assert (unmodified[0], case[0], letters[0], refused) == (500, 418, 404, 404)


async def test_ten_thousand_rules_are_served(tmp_path: Path) -> None:
    text = "\n".join(f"- {{match: [{{uri: {{exact: /{n}}}}}], directResponse: {{status: 204}}}}" for n in range(9_999))
    async with serving(tmp_path, rules(text + "\n- {directResponse: {status: 418}}")) as port:
        first, last, other = await get(port, "/0", "/9998", "/9999")
    assert (first[0], last[0], other[0]) == (204, 204, 418)
