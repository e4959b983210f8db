"""Fetching the keys of token issuers from real servers: by URL, by discovery, and what becomes of failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from ambientlab.mesh.index.authentication import KeySet, KeySource
from ambientlab.mesh.serve import keys
from ambientlab.mesh.serve.keys import KeyFetcher
from support.waiting import until

TEXT = '{"keys": []}'


class Issuer:
    def __init__(self) -> None:
        self.status = 200
        self.body = TEXT
        self.asked = 0
        self.base = ""

    async def keys(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status, text=self.body)

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"jwks_uri": f"{self.base}/keys"})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    app = web.Application()
    app.router.add_get("/keys", made.keys)
    app.router.add_get("/.well-known/openid-configuration", made.discovery)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0][:2]
    made.base = f"http://keys.hello:{port}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def fetcher(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[KeyFetcher, dict[KeySource, KeySet]]]:
    monkeypatch.setattr(keys, "RETRY", 0.01)
    found: dict[KeySource, KeySet] = {}
    made = KeyFetcher(found.__setitem__, {"keys.hello": "127.0.0.1"}.get)
    yield made, found
    await made.stop()


async def test_by_url_and_by_discovery(issuer: Issuer, fetcher: tuple[KeyFetcher, dict[KeySource, KeySet]]) -> None:
    made, found = fetcher
    by_url, by_issuer = KeySource(f"{issuer.base}/keys", ""), KeySource("", issuer.base)
    made.want({by_url: 1000, by_issuer: 1000})
    await until(lambda: len(found) == 2, "both fetched")
    assert found == {by_url: KeySet(TEXT), by_issuer: KeySet(TEXT)}
    made.want({by_url: 1000, by_issuer: 1000})
    await asyncio.sleep(0)
    assert issuer.asked == 2


@pytest.mark.parametrize(
    ("status", "body", "said"), [(500, "", "500"), (200, "[]", "no"), (200, "x", ""), (200, "[" * 50_000, "recursion")]
)
async def test_a_failure_is_told_and_tried_again(
    issuer: Issuer, fetcher: tuple[KeyFetcher, dict[KeySource, KeySet]], status: int, body: str, said: str
) -> None:
    made, found = fetcher
    source = KeySource(f"{issuer.base}/keys", "")
    issuer.status, issuer.body = status, body
    made.want({source: 1000})
    await until(lambda: source in found, "a first outcome")
    assert found[source].keys == ""
    assert said in found[source].problem
    issuer.status, issuer.body = 200, TEXT
    await until(lambda: found[source] == KeySet(TEXT), "keys after all")


async def test_a_host_that_is_not_there(fetcher: tuple[KeyFetcher, dict[KeySource, KeySet]]) -> None:
    made, found = fetcher
    source = KeySource("http://127.0.0.1:1/keys", "")
    made.want({source: 1000})
    await until(lambda: source in found, "a first outcome")
    assert "127.0.0.1" in found[source].problem


async def test_a_host_beyond_the_machine(fetcher: tuple[KeyFetcher, dict[KeySource, KeySet]]) -> None:
    made, found = fetcher
    source = KeySource("https://keys.example.com/keys", "")
    made.want({source: 1000})
    await until(lambda: source in found, "a first outcome")
    assert "nothing leads to keys.example.com" in found[source].problem
    assert "jwks takes the keys themselves" in found[source].problem
