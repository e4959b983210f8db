"""Policies of action CUSTOM in a real Envoy, with real providers: what those are asked, and what their answers do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationServicer, add_AuthorizationServicer_to_server

from ambientlab.mesh.index import authorization, extensionproviders
from ambientlab.mesh.ir import Guard, Key
from support.envoy import free_ports
from support.guarded_envoy import Ask, Guarded, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
extensionProviders:
- name: http
  envoyExtAuthzHttp:
    service: provider
    port: 80
    pathPrefix: /check
    includeRequestHeadersInCheck: [x-ext]
    includeAdditionalHeadersInCheck: {x-mesh: lab}
    includeRequestBodyInCheck: {maxRequestBytes: 100}
    headersToUpstreamOnAllow: [x-user]
    headersToDownstreamOnDeny: [x-reason]
    headersToDownstreamOnAllow: [x-seen]
- name: grpc
  envoyExtAuthzGrpc: {service: provider, port: 80}
- name: open
  envoyExtAuthzHttp: {service: provider, port: 80, failOpen: true}
- name: down
  envoyExtAuthzHttp: {service: provider, port: 80, statusOnError: "503"}
"""
PROVIDERS = extensionproviders.read(yaml.safe_load(CONFIG))


def guard(name: str, *others: dict[str, Any]) -> Guard:
    """Of a policy that asks `name` about /admin, and of others."""
    rules = [{"to": [{"operation": {"paths": ["/admin*"]}}]}]
    custom = {"action": "CUSTOM", "provider": {"name": name}, "rules": rules}
    policies = tuple(
        authorization.read(Key("hello", f"p{number}"), {"metadata": {}, "spec": spec}).policy
        for number, spec in enumerate([custom, *others])
    )
    try:
        return Guard(policies, provider=extensionproviders.choose({name}, PROVIDERS, lambda _: True))
    except extensionproviders.ProviderError as error:
        return Guard(policies, provider_problem=str(error))


DENY_DELETE = {"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["DELETE"]}}]}]}
ALLOW_NONE: dict[str, Any] = {}


class Provider(AuthorizationServicer):
    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], str]] = []

    async def http(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, {k.lower(): v for k, v in request.headers.items()}, await request.text()))
        if request.headers.get("x-ext") == "allow":
            return web.Response(headers={"x-user": "ada", "x-seen": "yes", "x-other": "no"})
        return web.Response(status=401, text="not you", headers={"x-reason": "unknown", "x-other": "no"})

    async def Check(self, request: CheckRequest, _: Any) -> CheckResponse:
        seen = request.attributes.request.http
        self.asked.append((seen.path, dict(seen.headers), seen.body))
        response = CheckResponse()
        if seen.headers.get("x-ext") != "allow":
            response.status.code = 7
            response.denied_response.status.code = 418
            response.denied_response.body = "never"
        return response


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Guarded, Provider]]:
    provider = Provider()
    http_port, grpc_port, nobody = free_ports(3)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.http)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", http_port).start()
    server = grpc.aio.server()
    add_AuthorizationServicer_to_server(provider, server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    guards = {
        "http": guard("http"),
        "grpc": guard("grpc"),
        "open": guard("open"),
        "down": guard("down"),
        "unknown": guard("unknown"),
        "and-deny": guard("http", DENY_DELETE),
        "and-allow": guard("http", ALLOW_NONE),
    }
    clusters = [
        _cluster("http", http_port),
        _cluster("grpc", grpc_port, http2=True),
        _cluster("open", nobody),
        _cluster("down", nobody),
    ]
    # of a connection, there is no telling its path: every one is asked about
    connections = {f"tcp-{name}": guard(name) for name in ("http", "grpc", "unknown")}
    async with running(tmp_path_factory.mktemp("envoy"), guards, connections, clusters) as envoy:
        yield envoy, provider
    await server.stop(None)
    await runner.cleanup()


def _cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    made: dict[str, Any] = {
        "name": name,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if http2:
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return made


ALLOWED = {"x-ext": "allow", "x-hidden": "1"}


async def test_an_http_provider(world: tuple[Guarded, Provider]) -> None:
    envoy, provider = world
    provider.asked.clear()
    assert (await envoy.ask("http", Ask("/open"))).status == 200
    assert provider.asked == []
    allowed = await envoy.ask("http", Ask("/admin/x?q=1", "POST", headers=ALLOWED, body="hello"))
    assert (allowed.status, allowed.headers["x-seen"], allowed.headers["seen-x-user"]) == (200, "yes", "ada")
    assert "x-other" not in allowed.headers
    ((path, headers, body),) = provider.asked
    assert (path, body, headers["x-mesh"], headers["x-ext"]) == ("/check/admin/x", "hello", "lab", "allow")
    assert "x-hidden" not in headers
    denied = await envoy.ask("http", Ask("/admin"))
    assert (denied.status, denied.body, denied.headers["x-reason"]) == (401, "not you", "unknown")
    assert "x-other" not in denied.headers


async def test_a_grpc_provider(world: tuple[Guarded, Provider]) -> None:
    envoy, provider = world
    provider.asked.clear()
    assert (await envoy.ask("grpc", Ask("/admin", headers=ALLOWED))).status == 200
    assert provider.asked[0][1]["x-hidden"] == "1"
    denied = await envoy.ask("grpc", Ask("/admin"))
    assert (denied.status, denied.body) == (418, "never")


async def test_a_provider_that_does_not_answer(world: tuple[Guarded, Provider]) -> None:
    envoy, _ = world
    assert (await envoy.ask("open", Ask("/admin"))).status == 200
    assert (await envoy.ask("down", Ask("/admin"))).status == 503


async def test_a_provider_that_is_not_configured(world: tuple[Guarded, Provider]) -> None:
    envoy, _ = world
    assert (await envoy.ask("unknown", Ask("/open"))).status == 200
    refused = await envoy.ask("unknown", Ask("/admin"))
    assert (refused.status, refused.body) == (403, "RBAC: access denied")


async def test_the_other_actions_come_after_it(world: tuple[Guarded, Provider]) -> None:
    envoy, provider = world
    provider.asked.clear()
    assert (await envoy.ask("and-deny", Ask("/admin", "DELETE"))).status == 401
    assert (await envoy.ask("and-deny", Ask("/admin", "DELETE", headers=ALLOWED))).status == 403
    assert (await envoy.ask("and-allow", Ask("/admin", headers=ALLOWED))).status == 403
    assert len(provider.asked) == 3


async def test_connections(world: tuple[Guarded, Provider]) -> None:
    envoy, provider = world
    provider.asked.clear()
    assert [await envoy.passes(name) for name in ("tcp-http", "tcp-grpc", "tcp-unknown")] == [True, False, False]
    assert len(provider.asked) == 1
